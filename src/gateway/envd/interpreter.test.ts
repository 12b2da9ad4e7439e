/** The unmodified code interpreter's SDK runs cells in kernels of a guest behind a real SSH server. */
import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { mkdirSync, writeFileSync } from "node:fs";
import type { Execution, Sandbox } from "@e2b/code-interpreter";
import { openTestGuest, type TestGuest } from "../../guest/testing.ts";
import { serveEnvd, type ServedEnvd } from "./envd.testing.ts";

let guest: TestGuest;
let served: ServedEnvd;
let sandbox: Sandbox;

beforeAll(async () => {
  guest = await openTestGuest();
  await guest.guest.connect();
  served = await serveEnvd(guest.guest, { limits: { contextsMax: 8, executionsQueuedMax: 2 } });
  sandbox = await served.sandbox();
});

afterAll(async () => {
  await served.close();
  await guest.close();
});

const run = async (code: string): Promise<Execution> => await sandbox.runCode(code, { timeoutMs: 20_000 });
const out = (execution: Execution): string => execution.logs.stdout.join("");

/** The lines of an execution as they stand on the wire. */
async function post(path: string, body: object | string, signal?: AbortSignal, to = served): Promise<Response> {
  return await fetch(`${to.url}${path}`, {
    method: "POST",
    headers: { "content-type": "application/json" },
    body: typeof body === "string" ? body : JSON.stringify(body),
    ...(signal === undefined ? {} : { signal }),
  });
}

async function refusal(response: Response): Promise<{ readonly status: number; readonly text: string }> {
  return { status: response.status, text: await response.text() };
}

describe("cells of Python", () => {
  test("state, output, and the value of the last expression", async () => {
    const first = await run("x = 41\nprint('hello')\nx + 1");
    expect([first.text, out(first), first.error]).toEqual(["42", "hello\n", undefined]);
    const second = await run("x * 2");
    expect([second.text, second.results[0]?.isMainResult]).toEqual(["82", true]);
    expect(second.executionCount).toBe((first.executionCount ?? 0) + 1);
  });

  test("each line of an answer is one document, the first the count, the last the end", async () => {
    const response = await post("/execute", { code: "import sys\nn = sys.stdout.write('a\\nb\\n')\n'c\\nd'" });
    const lines = (await response.text())
      .trimEnd()
      .split("\n")
      .map((line): unknown => JSON.parse(line));
    expect(lines).toMatchObject([
      { type: "number_of_executions", execution_count: expect.any(Number) },
      { type: "stdout", text: "a\nb\n", timestamp: expect.any(String) },
      { type: "result", text: "c\\nd", is_main_result: true },
      { type: "end_of_execution" },
    ]);
  });

  test("output as it comes, also the beginning of a line", async () => {
    const pieces: string[] = [];
    const fifo = `${guest.directory}/go`;
    await guest.guest.run({ argv: ["mkfifo", fifo] });
    await sandbox.runCode(`import sys\nprint('half', end='')\nopen(${JSON.stringify(fifo)}).read()\nprint(' line')`, {
      onStdout: ({ line }) => {
        pieces.push(line);
        // The cell waits for this.
        if (pieces.length === 1) writeFileSync(fifo, "");
      },
    });
    expect(pieces).toEqual(["half", " line\n"]);
  });

  test.each([
    ["a text without its quotes", "'it\\'s'", "it's"],
    ["a number", "1.5", "1.5"],
    ["a list", "['a', 1]", "['a', 1]"],
    ["nothing", "None", undefined],
    ["an assignment", "y = 1", undefined],
    ["muted before a comment", "5; # really", undefined],
    ["muted", "5;", undefined],
    ["awaited", "import asyncio\nawait asyncio.sleep(0, 'done')", "done"],
    ["letters of every script", "'ü€𝄞'", "ü€𝄞"],
  ])("%s", async (_name, code, text) => {
    const execution = await run(code);
    expect([execution.text, execution.error]).toEqual([text, undefined]);
  });

  test("errors: their name, value, and the lines of the cell", async () => {
    const { error } = await run("def f():\n    return 1 / 0\nf()");
    expect([error?.name, error?.value]).toEqual(["ZeroDivisionError", "division by zero"]);
    expect(error?.traceback).toContain("return 1 / 0");
    expect(error?.traceback).not.toContain("<kernel>");
    expect((await run("x = (")).error?.name).toBe("SyntaxError");
    expect((await run("import sys; sys.exit(3)")).error).toMatchObject({ name: "SystemExit", value: "3" });
    expect((await run("class E(Exception):\n  def __str__(self): raise ValueError()\nraise E()")).error?.name).toBe("E");
    expect((await run("class R:\n  def __repr__(self): raise KeyError('r')\nR()")).error?.name).toBe("KeyError");
  });

  test("what was printed before an error comes before it", async () => {
    const text = await (await post("/execute", { code: "print('one')\nimport os\nos.system('echo two')\n1/0" })).text();
    expect(text.indexOf("one")).toBeLessThan(text.indexOf("two"));
    expect(text.indexOf("two")).toBeLessThan(text.indexOf("ZeroDivisionError"));
  });

  test("a child's output and C's, on both channels; its input is empty", async () => {
    const execution = await run(
      "import os, sys\nos.system('cat; echo child; echo bad >&2')\nprint('err', file=sys.stderr)\nsys.stdout.buffer.write(b'raw\\n')\nNone",
    );
    expect([out(execution), execution.logs.stderr.join("")]).toEqual(["child\nraw\n", "bad\nerr\n"]);
  });

  test("nobody can be asked", async () => {
    expect((await run("input('name? ')")).error).toMatchObject({
      name: "RuntimeError",
      value: expect.stringContaining("input()"),
    });
  });

  test("variables of one execution are gone after it; the sandbox's stay", async () => {
    const code = "import os\nos.environ.get('ONCE'), os.environ.get('FROM_SANDBOX')";
    expect((await sandbox.runCode(code, { envs: { ONCE: "1" } })).text).toBe("('1', 'sandbox')");
    expect((await run(code)).text).toBe("(None, 'sandbox')");
  });

  test("megabytes of output, whole", async () => {
    const execution = await run("for i in range(30000): print('x' * 99)");
    const text = out(execution);
    expect([text.length, text.replaceAll(/x{99}\n/g, "")]).toEqual([3_000_000, ""]);
  });

  test("a cell that forks goes on once", async () => {
    const execution = await run("import os\nchild = os.fork()\nprint('here')\nif child: os.waitpid(child, 0)\n'end'");
    expect([execution.text, out(execution), execution.results.length]).toEqual(["end", "here\nhere\n", 1]);
    expect(
      (
        await run(
          "from multiprocessing import Pool\ndef sq(n): return n * n\nwith Pool(2) as pool: r = pool.map(sq, [1, 2, 3])\nr",
        )
      ).text,
    ).toBe("[1, 4, 9]");
    expect((await run("1 + 1")).text).toBe("2");
  });

  test("lines for a shell, as notebooks have them", async () => {
    expect(out(await run("!echo shell\n%matplotlib inline\nprint('python')"))).toBe("shell\npython\n");
  });
});

describe("rich results", () => {
  // One red dot.
  const PNG = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mP8z8BQDwAEhQGAhKmMIQAAAABJRU5ErkJggg==";

  test("every form that a value offers", async () => {
    const code = `import base64
class Rich:
    def __repr__(self): return 'rich'
    def _repr_html_(self): return '<b>rich</b>'
    def _repr_markdown_(self): return '**rich**'
    def _repr_svg_(self): return '<svg/>'
    def _repr_png_(self): return base64.b64decode('${PNG}')
    def _repr_jpeg_(self): return b'jpeg'
    def _repr_latex_(self): return '$rich$'
    def _repr_json_(self): return {'rich': True}
    def _repr_javascript_(self): return 'rich()'
    def _repr_pdf_(self): return b'%PDF'
    def _repr_mimebundle_(self, include=None, exclude=None): return {'application/x-own': 'own'}
Rich()`;
    const [result] = (await run(code)).results;
    expect(result).toMatchObject({
      text: "rich",
      html: "<b>rich</b>",
      markdown: "**rich**",
      svg: "<svg/>",
      png: PNG,
      jpeg: Buffer.from("jpeg").toString("base64"),
      latex: "$rich$",
      json: { rich: true },
      javascript: "rich()",
      pdf: Buffer.from("%PDF").toString("base64"),
      extra: { "application/x-own": "own" },
    });
  });

  test("a form that fails is left out, and a class is not one of its values", async () => {
    const code = "class Half:\n  def _repr_html_(self): raise ValueError()\n  def _repr_svg_(self): return '<svg/>'\nHalf()";
    const [half] = (await run(code)).results;
    expect([half?.html, half?.svg]).toEqual([undefined, "<svg/>"]);
    expect((await run("Half")).results[0]?.svg).toBeUndefined();
  });

  test("display() shows in between, with and without IPython", async () => {
    const execution = await run("display(1)\nfrom IPython.display import display, HTML\ndisplay(HTML('<i>x</i>'))\n2");
    expect(execution.results.map(({ text, html, isMainResult }) => html ?? [text, isMainResult])).toEqual([
      ["1", false],
      "<i>x</i>",
      ["2", true],
    ]);
  });

  test("a plot is a PNG: shown, left open, or the value; a frame is a table", async () => {
    const execution = await run(
      "import matplotlib.pyplot as plt, pandas\nplt.plot([1, 2]); plt.show()\nplt.figure(); plt.plot([2, 1])\npandas.DataFrame({'a': [1]})",
    );
    const pictures = execution.results.filter(({ png }) => png !== undefined);
    expect(
      pictures.map(({ png }) =>
        Buffer.from(png ?? "", "base64")
          .subarray(1, 4)
          .toString(),
      ),
    ).toEqual(["PNG", "PNG"]);
    expect(execution.results.find(({ html }) => html?.includes("<table"))).toMatchObject({ data: { a: [1] } });
    expect((await run("f = plt.figure(); plt.plot([1]); f")).results).toHaveLength(1);
  });
});

describe("contexts", () => {
  test("each has its own state and directory; they are listed, restarted and removed", async () => {
    mkdirSync(`${guest.directory}/root/work`);
    const one = await sandbox.createCodeContext({ cwd: "work" });
    const two = await sandbox.createCodeContext();
    expect([one.language, one.cwd]).toEqual(["python", `${guest.directory}/root/work`]);
    const text = async (code: string, context: typeof one) => (await sandbox.runCode(code, { context })).text;
    await text("x = 'one'", one);
    await text("x = 'two'", two);
    expect([await text("x", one), await text("x", two)]).toEqual(["one", "two"]);
    expect(await text("import os; os.getcwd()", one)).toBe(one.cwd);
    expect((await sandbox.listCodeContexts()).map(({ id }) => id)).toContain(one.id);
    await sandbox.restartCodeContext(one);
    expect((await sandbox.runCode("x", { context: one })).error?.name).toBe("NameError");
    await sandbox.removeCodeContext(one);
    await sandbox.removeCodeContext(two);
    expect(sandbox.runCode("x", { context: one })).rejects.toThrow(`Context ${one.id} not found`);
    expect(sandbox.removeCodeContext(one)).rejects.toThrow("not found");
    expect(sandbox.restartCodeContext(one)).rejects.toThrow("not found");
  });

  test("bash keeps its variables and directory; a status that is not 0 is an error", async () => {
    const bash = async (code: string, envs: Record<string, string> = {}) =>
      await sandbox.runCode(code, { language: "bash", envs });
    await bash('cd /tmp; a=5; f() { echo "f $1"; }');
    expect(out(await bash('pwd; echo $a "$ONCE"; f x', { ONCE: "it's" }))).toBe("/tmp\n5 it's\nf x\n");
    expect(out(await bash('echo "[$ONCE]"; cat'))).toBe("[]\n");
    expect((await bash("echo x >&2; (exit 3)")).error).toMatchObject({ name: "ExitStatus", value: "3" });
    expect((await bash("exit 4")).error?.value).toBe("4");
    expect(out(await bash('echo "[$a]"'))).toBe("[]\n");
  });

  test("JavaScript keeps its constants, and awaits", async () => {
    const js = async (code: string) => await sandbox.runCode(code, { language: "js" });
    expect(out(await js("const a = [1, 2]; console.log('hi')"))).toBe("hi\n");
    expect((await js("a.map((n) => n * 2)")).text).toBe("[ 2, 4 ]");
    expect((await js("const b = await Promise.resolve('text'); b")).text).toBe("text");
    expect((await js("null.x")).error).toMatchObject({ name: "TypeError" });
    expect((await js("b")).text).toBe("text");
  });

  test("what is asked for wrongly is refused in words", async () => {
    const refused = async (path: string, body: object | string) => await refusal(await post(path, body));
    expect(await refused("/execute", { code: "1", language: "cobol" })).toEqual({
      status: 400,
      text: 'unknown language "cobol"; there are python, bash, javascript',
    });
    expect((await refused("/execute", { code: "1", language: "constructor" })).status).toBe(400);
    expect(await refused("/execute", { code: "1", language: "python", context_id: "x" })).toEqual({
      status: 400,
      text: "Only one of context_id or language can be provided",
    });
    expect(await refused("/execute", { code: "1", context_id: "nobody" })).toEqual({
      status: 404,
      text: "Context nobody not found",
    });
    expect((await refused("/execute", {})).status).toBe(400);
    expect((await refused("/execute", "{")).status).toBe(400);
    expect((await refused("/execute", { code: "1", env_vars: { "A=B": "1" } })).status).toBe(400);
    expect(await refused("/contexts", { cwd: "/nowhere/at/all" })).toEqual({
      status: 400,
      text: "cwd '/nowhere/at/all' does not exist",
    });
    expect((await refused("/contexts", { cwd: "a\0b" })).status).toBe(400);
    expect((await refused("/contexts/x/y", {})).status).toBe(404);
    expect((await fetch(`${served.url}/execute`)).status).toBe(404);
  });

  test("only so many contexts", async () => {
    const made = [];
    for (;;) {
      const response = await post("/contexts", { language: "python" });
      if (response.status !== 200) {
        expect(await refusal(response)).toMatchObject({ status: 429 });
        break;
      }
      const context: unknown = await response.json();
      if (typeof context === "object" && context !== null && "id" in context && typeof context.id === "string")
        made.push(context.id);
    }
    expect(made.length).toBeGreaterThan(0);
    for (const id of made) await sandbox.removeCodeContext(id);
  });
});

describe("cells that do not end well", () => {
  test("a client that goes away interrupts its cell, and the state stays", async () => {
    await run("mark = 'kept'");
    const gone = sandbox.runCode("import time\ntime.sleep(1000)", { timeoutMs: 300 });
    expect(await gone.catch((error: unknown) => error)).toMatchObject({ name: "TimeoutError" });
    expect((await run("mark")).text).toBe("kept");
  });

  test.each([
    ["a loop that prints", "while True: print('x' * 1000)"],
    ["a child that is waited for", "import os\nos.system('sleep 1000')\nNone"],
    ["something awaited", "import asyncio\nawait asyncio.sleep(1000)"],
    ["a finalizer that swallows it", "import time\nclass Last:\n  def __del__(self): time.sleep(1)\nLast()\ntime.sleep(1000)"],
  ])("interrupted: %s", async (_name, code) => {
    const abort = new AbortController();
    const response = await post("/execute", { code }, abort.signal);
    await response.body?.getReader().read();
    abort.abort();
    expect((await run("mark")).text).toBe("kept");
  });

  test("a cell that takes no notice loses its kernel", async () => {
    // A grace that a busy machine may use up, where nothing else depends on it.
    const impatient = await serveEnvd(guest.guest, { limits: { interruptGraceMs: 200 } });
    const client = await impatient.sandbox();
    await client.runCode("mark = 'gone'");
    const abort = new AbortController();
    const stubborn = "while True:\n  try:\n    import time; time.sleep(1000)\n  except BaseException: pass";
    const response = await post("/execute", { code: stubborn }, abort.signal, impatient);
    await response.body?.getReader().read();
    abort.abort();
    expect((await client.runCode("mark")).error?.name).toBe("NameError");
    await impatient.close();
  });

  test("a kernel that dies is an error, and another one next time", async () => {
    await run("mark = 'gone'");
    expect((await run("import os; os._exit(3)")).error).toMatchObject({
      name: "KernelDied",
      value: expect.stringContaining("status 3"),
    });
    expect((await run("import os, signal; os.kill(os.getpid(), signal.SIGKILL)")).error).toMatchObject({
      name: "KernelDied",
      value: expect.stringContaining("SIGKILL"),
    });
    expect((await run("mark")).error?.name).toBe("NameError");
  });

  test("restarted in the middle of a cell", async () => {
    const context = await sandbox.createCodeContext();
    const running = sandbox.runCode("print('on', flush=True)\nimport time; time.sleep(1000)", {
      context,
      onStdout: async () => await sandbox.restartCodeContext(context),
    });
    expect((await running).error).toMatchObject({ name: "KernelDied", value: "the context was restarted" });
    await sandbox.removeCodeContext(context);
  });

  test("cells of one context wait for each other, and only so many", async () => {
    const order: string[] = [];
    const context = await sandbox.createCodeContext();
    const cell = async (name: string) => {
      await sandbox.runCode(`import time; time.sleep(0.1); print('${name}')`, {
        context,
        onStdout: ({ line }) => void order.push(line),
      });
    };
    const both = [cell("one"), cell("two")];
    while ((await refusal(await post("/execute", { code: "3", context_id: context.id }))).status !== 429);
    await Promise.all(both);
    expect(order).toEqual(["one\n", "two\n"]);
    await sandbox.removeCodeContext(context);
  });

  test("a sandbox that is killed cuts its cells off, so that no client takes that for an end", async () => {
    const doomed = await serveEnvd(guest.guest);
    const client = await doomed.sandbox();
    const running = client.runCode("print('on', flush=True)\nimport time; time.sleep(1000)", { onStdout: () => doomed.kill() });
    expect(await running.catch((error: unknown) => error)).toMatchObject({
      name: "TimeoutError",
      message: expect.stringContaining("killed"),
    });
    await doomed.close();
  });
});
