/**
 * CMake with its makefile generator, outside the source. Programs find the libraries they were linked with by their store paths;
 * package registries of the user and the system are not looked at.
 */
import type { CmakeFields } from "./options.ts";
import type { Bodies } from "./phases.ts";
import { words } from "./sh.ts";

export const cmakePrologue = "";

export function cmakeBodies(options: CmakeFields): Bodies {
  return {
    configure: `  cmake -S . -B "$_top/cmake" -G 'Unix Makefiles' --no-warn-unused-cli \\
    -DCMAKE_BUILD_TYPE=${options.buildType ?? "Release"} \\
    -DCMAKE_INSTALL_PREFIX="$out" -DCMAKE_INSTALL_LIBDIR=lib \\
    -DCMAKE_INSTALL_RPATH="$out/lib" -DCMAKE_INSTALL_RPATH_USE_LINK_PATH=ON \\
    -DCMAKE_FIND_USE_PACKAGE_REGISTRY=OFF -DCMAKE_FIND_USE_SYSTEM_PACKAGE_REGISTRY=OFF${words(options.cmakeFlags ?? [])}`,
    build: `  cmake --build "$_top/cmake" --parallel "$_cores"`,
    check: `  (cd "$_top/cmake" && ctest --output-on-failure --no-tests=error --parallel "$_cores")`,
    install: `  cmake --install "$_top/cmake"`,
  };
}
