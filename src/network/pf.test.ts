/** The network on FreeBSD: as text, by shellcheck, and by running the script under dash with stand-ins for FreeBSD's tools. */
import { afterEach, describe, expect, test } from "bun:test";
import { existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import fc from "fast-check";
import { golden, thrownProblem } from "../base/testing.ts";
import { contains, formatAddress } from "./address.ts";
import { pfAnchor, pfMachineRules, pfNetworkRules, pfScript, pfSteps } from "./pf.ts";
import { gatewayMac, interfaceName, INTERFACE_NAME_MAX } from "./plan.ts";
import type { BridgeSpec, EgressPolicy, Port } from "./types.ts";

const spec: BridgeSpec = { pool: "debian-12", subnet: "10.77.0.0/24", dns: ["9.9.9.9"], reachable: ["10.1.2.0/24"] };
const port: Port = { interface: interfaceName(spec, "debian-12-1"), mac: "02:00:00:00:00:01", address: "10.77.0.50" };
const AIR_GAP: EgressPolicy = { allowInternetAccess: false, allowOut: ["10.1.2.3", "203.0.113.0/24"], denyOut: ["203.0.113.7"] };
const at = (name: string): string => join(import.meta.dir, "golden", name);

test("the script, the rules of the network and of machines, as they were read", () => {
  const found: Readonly<Record<string, string>> = {
    "pf-network.sh": pfScript(spec),
    "pf-network-realm.sh": pfScript({ pool: "micro", subnet: "192.168.7.64/26", realm: "/home/a/garth" }),
    "pf-machine-closed.conf": pfMachineRules(spec, port, AIR_GAP),
    "pf-machine-open.conf": pfMachineRules({ ...spec, dns: [] }, port, {
      allowInternetAccess: true,
      allowOut: [],
      denyOut: ["198.51.100.1", "198.51.100.2"],
    }),
  };
  for (const [name, text] of Object.entries(found)) expect(text).toBe(golden(at(name), text));
});

test("the air gap's order: name servers, allowed, denied, nothing", () => {
  const rules = pfMachineRules(spec, port, AIR_GAP).split("\n");
  const order = ["to <dns>", "to <allow>", "to <deny>", "to any"].map((part) =>
    rules.findIndex((rule) => rule.includes(part) && rule.includes(" in quick on ") && !rule.includes(port.interface)),
  );
  expect(order).toEqual(order.toSorted((a, b) => a - b));
  expect(order).not.toContain(-1);
  expect(rules.at(-2)).toStartWith("block return in quick");
});

test("NAT is the outward interface's, and machines are translated before any rule passes them", () => {
  const rules = pfNetworkRules(spec, "vm-public").split("\n");
  expect(rules[0]).toStartWith("nat on vm-public inet from 10.77.0.0/24 ");
  expect(rules[1]).toBe('anchor "*"');
});

test("names fit, differ, and nothing odd comes through", () => {
  const names = new Set<string>();
  fc.assert(
    fc.property(fc.string(), fc.string(), (machine, realm) => {
      const name = interfaceName({ pool: "p", realm }, machine);
      names.add(`${machine}\0${realm}\0${name}`);
      return name.length <= INTERFACE_NAME_MAX && /^gth[a-z0-9]+$/.test(name);
    }),
  );
  expect(new Set([...names].map((name) => name.split("\0")[2])).size).toBe(names.size);
  const long = "x".repeat(50);
  for (const component of pfAnchor({ pool: long, realm: "/r" }).split("/")) expect(component.length).toBeLessThan(64);
  for (const pool of ["$(reboot)", "a'b", 'a"b', "a b", "a\nb", "a/b", "a*", ""]) {
    expect(thrownProblem(() => pfScript({ ...spec, pool })).code).toBe("E_BAD_NETWORK");
  }
  expect(thrownProblem(() => pfScript({ ...spec, subnet: "10.77.0.0/24; reboot" })).code).toBe("E_BAD_SUBNET");
  const steps = pfSteps(spec);
  for (const bad of [{ interface: "em0" }, { interface: "gthbr" }, { mac: "x" }, { address: "10.77.0.50 " }])
    expect(thrownProblem(() => steps.addPort({ ...port, ...bad })).code).toBe("E_BAD_PORT");
  expect(thrownProblem(() => steps.setPolicy(port, { ...AIR_GAP, allowOut: ["<self>"] })).code).toBe("E_BAD_POLICY");
});

test("tables take blocks: a range of addresses is cut into the same addresses", () => {
  const address = fc.integer({ min: 0xcb007100, max: 0xcb0071ff }).map(formatAddress);
  fc.assert(
    fc.property(fc.array(address, { minLength: 1, maxLength: 40 }), address, (list, probe) => {
      const rules = pfMachineRules(spec, port, { allowInternetAccess: false, allowOut: list, denyOut: [] });
      const table = /<allow> persist \{ (.*) \}/.exec(rules)?.[1]?.split(" ") ?? [];
      return (
        table.some((block) => contains(block, probe)) === list.includes(probe) && table.every((block) => !block.includes("-"))
      );
    }),
  );
});

test("shellcheck finds nothing", () => {
  for (const name of ["pf-network.sh", "pf-network-realm.sh"]) {
    const done = Bun.spawnSync(["shellcheck", "-s", "sh", at(name)]);
    expect(done.stdout.toString()).toBe("");
  }
});

/** FreeBSD's tools as functions of the shell: interfaces are directories, anchors are files, and what changes something is written down. */
const TOOLS = `
state=$GARTH_TEST_STATE
log() { printf '%s\\n' "$*" >>"$state/log"; }
id() { cat "$state/uid" 2>/dev/null || echo 0; }
kldload() { [ ! -e "$state/no-module" ]; }
route() { echo '   route to: 0.0.0.0'; echo '  interface: em0'; }
arp() { log "arp $*"; }
sysctl() {
  case $1 in
  -n) cat "$state/sysctl/$2" 2>/dev/null || echo 0 ;;
  *) log "sysctl $1"; printf '%s\\n' "\${1#*=}" >"$state/sysctl/\${1%%=*}" ;;
  esac
}
ifconfig() {
  case $1 in
  -l) ls "$state/if"; return ;;
  -g) [ ! -e "$state/if/vm-public" ] || echo vm-public; return ;;
  bridge | tap)
    log "ifconfig $*"
    mkdir "$state/if/$4"
    shift 4
    while [ $# -gt 0 ]; do [ "$1" != description ] || printf '\\tdescription: %s\\n' "$2" >"$state/if/$name/text"; shift; done 
    return ;;
  esac
  [ -d "$state/if/$1" ] || { echo "ifconfig: interface $1 does not exist" >&2; return 1; }
  if [ $# -eq 1 ]; then cat "$state/if/$1/text" 2>/dev/null || :; return; fi
  log "ifconfig $*"
  case $2 in
  destroy) rm -r "$state/if/$1" ;;
  addm) printf '\\tmember: %s flags=0\\n' "$3" >>"$state/if/$1/text" ;;
  esac
}
pfctl() {
  case "$*" in
  -si) [ -e "$state/no-pf" ] || echo 'Status: Enabled for 1 days' ;;
  -sr) echo 'anchor "garth/*" all' ;;
  -sn) [ -e "$state/no-nat" ] || echo 'nat-anchor "garth/*" all' ;;
  *"-s Anchors"*) cat "$state/anchors" 2>/dev/null || : ;;
  *"-f -") log "pfctl $*"; cat >"$state/rules-$(printf %s "$3" | tr / _)"; [ ! -e "$state/bad-rules" ] ;;
  *) log "pfctl $*" ;;
  esac
}
`.replace('    mkdir "$state/if/$4"\n    shift 4', '    mkdir "$state/if/$4"\n    name=$4\n    shift 4');

describe("the script, with stand-ins for the tools", () => {
  let directory = "";
  afterEach(() => rmSync(directory, { recursive: true, force: true }));

  function prepare(...marks: readonly string[]): void {
    directory = mkdtempSync(join(tmpdir(), "garth-pf-"));
    mkdirSync(join(directory, "if"));
    mkdirSync(join(directory, "sysctl"));
    writeFileSync(join(directory, "sysctl/net.inet.ip.forwarding"), "1\n");
    writeFileSync(join(directory, "network.sh"), pfScript(spec));
    for (const mark of marks) writeFileSync(join(directory, mark), "");
  }

  function run(words: readonly string[], stdin = "") {
    const log = join(directory, "log");
    rmSync(log, { force: true });
    const child = Bun.spawnSync(["dash", "-c", `${TOOLS}\n. ${directory}/network.sh`, "network.sh", ...words], {
      env: { GARTH_TEST_STATE: directory, PATH: "/usr/bin:/bin" },
      stdin: Buffer.from(stdin),
    });
    return {
      status: child.exitCode,
      stdout: child.stdout.toString(),
      stderr: child.stderr.toString(),
      log: existsSync(log) ? readFileSync(log, "utf8").trimEnd().split("\n") : [],
    };
  }
  const steps = pfSteps(spec);
  const bridge = interfaceName(spec, "bridge");
  const carryOut = (all: ReturnType<typeof steps.up>) => all.map(({ words, stdin }) => run(words, stdin));

  test("made, a port added and raised, its policy changed, dropped; removed", () => {
    prepare();
    const [made, added] = carryOut(steps.addPort(port));
    expect(made).toMatchObject({ status: 0, stderr: "" });
    expect(made?.log).toContain("sysctl net.link.bridge.pfil_member=1");
    expect(made?.log.slice(-3)).toEqual([
      "pfctl -q -a garth/debian-12 -f -",
      `ifconfig bridge create name ${bridge} description garth/debian-12 ether ${gatewayMac(spec.pool)}`,
      `ifconfig ${bridge} inet 10.77.0.1/24 up`,
    ]);
    expect(readFileSync(join(directory, "rules-garth_debian-12"), "utf8")).toBe(pfNetworkRules(spec, "em0"));
    expect(added).toMatchObject({ status: 0, stderr: "" });
    expect(added?.log).toEqual([
      `ifconfig tap create name ${port.interface} description garth/debian-12`,
      `ifconfig ${port.interface} down`,
      "sysctl net.link.tap.up_on_open=0",
      `ifconfig ${bridge} addm ${port.interface}`,
      `ifconfig ${bridge} private ${port.interface} -learn ${port.interface} -discover ${port.interface}`,
      `ifconfig ${bridge} static ${port.interface} ${port.mac}`,
    ]);
    const again = carryOut(steps.addPort(port));
    expect(again.flatMap(({ log }) => log).filter((line) => /create|addm|pfctl/.test(line))).toEqual([]);
    expect(carryOut(steps.up(port))[0]?.log).toEqual([`arp -S 10.77.0.50 ${port.mac}`, `ifconfig ${port.interface} up`]);
    expect(run(["ports"]).stdout).toBe(`${port.interface}\n`);

    const [changed] = carryOut(steps.setPolicy(port, AIR_GAP));
    expect(changed?.log).toEqual([
      `pfctl -q -a garth/debian-12/${port.interface} -f -`,
      "pfctl -q -k 10.77.0.50",
      "pfctl -q -k 0.0.0.0/0 -k 10.77.0.50",
    ]);
    expect(readFileSync(join(directory, `rules-garth_debian-12_${port.interface}`), "utf8")).toBe(
      pfMachineRules(spec, port, AIR_GAP),
    );

    const [dropped] = carryOut(steps.removePort(port));
    expect(dropped?.log.at(-1)).toBe(`ifconfig ${port.interface} destroy`);
    expect(carryOut(steps.removePort(port))[0]).toMatchObject({ status: 0, stderr: "" });
    expect(carryOut(steps.remove())[0]?.log).toContain(`ifconfig ${bridge} destroy`);
    expect(Array.from(run(["ports"]).stdout)).toEqual([]);
    expect(carryOut(steps.remove())[0]).toMatchObject({ status: 0, stderr: "" });
  });

  test("remove finds a tap that never came to the bridge, and anchors whose taps are gone; others' stay", () => {
    prepare();
    for (const [name, text] of [
      [port.interface, "\tdescription: garth/debian-12\n"],
      ["gthother", "\tdescription: garth/debian-120\n"],
      ["em0", ""],
    ] as const) {
      mkdirSync(join(directory, "if", name));
      writeFileSync(join(directory, "if", name, "text"), text);
    }
    writeFileSync(join(directory, "anchors"), "  garth/debian-12/gthold\n");
    const { status, log } = run(["remove"]);
    expect(status).toBe(0);
    expect(log.filter((line) => line.startsWith("ifconfig"))).toEqual([`ifconfig ${port.interface} destroy`]);
    expect(log).toContain("pfctl -q -a garth/debian-12/gthold -F rules");
    expect(log.slice(-2)).toEqual(["pfctl -q -k 10.77.0.0/24", "pfctl -q -k 0.0.0.0/0 -k 10.77.0.0/24"]);
  });

  test("NAT goes to the bridge that the interface of the default route is a member of", () => {
    prepare();
    mkdirSync(join(directory, "if/vm-public"));
    writeFileSync(join(directory, "if/vm-public/text"), "\tmember: em0 flags=143\n");
    expect(run(["make"]).status).toBe(0);
    expect(readFileSync(join(directory, "rules-garth_debian-12"), "utf8")).toStartWith("nat on vm-public ");
  });

  test.each([
    ["no-module", "a kernel module is missing"],
    ["no-pf", "pf is not enabled"],
    ["no-nat", '/etc/pf.conf has no line: nat-anchor "garth/*" all'],
  ])("a host with %s is told, and nothing is made", (mark, words) => {
    prepare(mark);
    const { status, stderr, log } = run(["make"]);
    expect(status).toBe(3);
    expect(stderr).toContain(words);
    expect(log).toEqual([]);
  });

  test("rules that pf refuses: what was made is undone", () => {
    prepare("bad-rules");
    expect(run(["make"]).status).not.toBe(0);
    expect(run(["ports"]).stdout).toBe("");
    expect(existsSync(join(directory, "if", bridge))).toBe(false);
  });

  test("a host that does not forward, a user who is not root, words that are none", () => {
    prepare();
    writeFileSync(join(directory, "sysctl/net.inet.ip.forwarding"), "0\n");
    expect(run(["make"]).stderr).toContain("gateway_enable=YES");
    writeFileSync(join(directory, "uid"), "1001\n");
    expect(run(["make"]).stderr).toContain("this needs root");
    expect(run([])).toMatchObject({ status: 2 });
  });
});
