import { Problem } from "../base/index.ts";

export function unsupported(template: string, why: string): Problem {
  return new Problem({
    code: "E_SNAPSHOT_UNSUPPORTED",
    message: `taking a snapshot of ${template}: ${why}`,
    hint: "choose the tier cold, or hot: its machines are booted one by one then",
  });
}

export function noEntry(id: string, known: readonly string[]): Problem {
  return new Problem({
    code: "E_NO_ENTRY",
    message: `there is no machine ${JSON.stringify(id)} in any pool`,
    ...(known.length === 0 ? {} : { details: known.slice(0, 20) }),
    hint: "`garth pool list` lists those there are",
    exit: 2,
  });
}

export function noPool(name: string, known: readonly string[]): Problem {
  return new Problem({
    code: "E_NO_POOL",
    message: `there is no pool ${JSON.stringify(name)}`,
    ...(known.length === 0 ? {} : { details: known }),
    hint: "`garth pool init NAME` makes one of the template of that name",
    exit: 2,
  });
}

export function wrongState(id: string, state: string, wanted: string): Problem {
  return new Problem({
    code: "E_ENTRY_STATE",
    message: `the machine ${id} is ${state}, not ${wanted}`,
    hint: "`garth pool list` shows the state of each",
  });
}

export function alreadyHeld(id: string, holder: string): Problem {
  return new Problem({
    code: "E_ALREADY_HELD",
    message: `${JSON.stringify(holder)} has the machine ${id} already, and gets no second one`,
    hint: `\`garth pool return ${id}\` gives it back; somebody with another name may have another`,
    exit: 2,
  });
}
