"""Cells: of Python here, of other languages in a process beside."""

main_module = types.ModuleType("__main__")
main_module.__dict__.update(__builtins__=builtins, display=display)
loop = None


def no_input(*_arguments):
    raise RuntimeError("input() is not supported: there is nobody to ask")


def run_code(code):
    """Of a coroutine, until it is done; it is cancelled when it is interrupted."""
    global loop
    value = eval(code, main_module.__dict__)
    if not code.co_flags & CO_COROUTINE:
        return value
    import asyncio

    if loop is None or loop.is_closed():
        loop = asyncio.new_event_loop()
        asyncio.set_event_loop(loop)
    task = loop.create_task(value)
    try:
        return loop.run_until_complete(task)
    except KeyboardInterrupt:
        task.cancel()
        loop.run_until_complete(asyncio.gather(task, return_exceptions=True))
        raise


def plain(code):
    """Lines for a shell and magic ones, as notebooks have them, in Python."""
    lines = []
    for line in code.split("\n"):
        text = line.lstrip()
        indent = line[: len(line) - len(text)]
        if text.startswith("%pip "):
            text = "!" + sys.executable + " -m " + text[1:]
        if text.startswith("!"):
            line = f'{indent}__import__("os").system({text[1:]!r})'
        elif text.startswith("%matplotlib"):
            line = indent + "pass"
        lines.append(line)
    return "\n".join(lines)


def parse(code, name):
    try:
        return compile(code, name, "exec", ast.PyCF_ONLY_AST | TOP_LEVEL_AWAIT)
    except SyntaxError:
        changed = plain(code)
        if changed == code:
            raise
        return compile(changed, name, "exec", ast.PyCF_ONLY_AST | TOP_LEVEL_AWAIT)


def muted(code):
    """A semicolon at the end keeps a value to itself."""
    skipped = (tokenize.COMMENT, tokenize.NL, tokenize.NEWLINE, tokenize.ENDMARKER)
    try:
        tokens = [token for token in tokenize.generate_tokens(io.StringIO(code).readline) if token.type not in skipped]
    except (tokenize.TokenError, SyntaxError):
        return False
    return bool(tokens) and tokens[-1].string == ";"


def run_python(code):
    name = f"<cell {counter}>"
    linecache.cache[name] = (len(code), None, code.splitlines(True), name)
    tree = parse(code, name)
    last = tree.body.pop() if tree.body and isinstance(tree.body[-1], ast.Expr) else None
    if tree.body:
        run_code(compile(tree, name, "exec", TOP_LEVEL_AWAIT))
    if last is not None:
        value = run_code(compile(ast.Expression(last.value), name, "eval", TOP_LEVEL_AWAIT))
        if value is not None and not muted(code):
            main_module._ = value
            show(value, main=True)
    show_figures()


class Other:
    """A language whose interpreter runs beside, and is given cells over a pipe. Interrupted, it ends; the next cell gets another."""

    def __init__(self, argv):
        self.argv = argv
        self.process = None

    def start(self):
        theirs_in, self.to = os.pipe()
        self.back, theirs_out = os.pipe()
        argv = [part.format(input=theirs_in, output=theirs_out) if part in ("{input}", "{output}") else part for part in self.argv]
        self.process = subprocess.Popen(argv, stdin=subprocess.DEVNULL, pass_fds=(theirs_in, theirs_out))
        os.close(theirs_in)
        os.close(theirs_out)

    def stop(self):
        self.process.kill()
        self.process.wait()
        os.close(self.to)
        os.close(self.back)
        self.process = None

    def run(self, code):
        if self.process is None:
            self.start()
        reply = b""
        try:
            data = memoryview(code.replace("\0", "").encode() + b"\0")
            while data:
                data = data[os.write(self.to, data) :]
            while not reply.endswith(b"\n"):
                piece = os.read(self.back, READ_BYTES)
                if not piece:
                    break
                reply += piece
        except BrokenPipeError:
            pass
        except KeyboardInterrupt:
            self.stop()
            raise
        if reply.endswith(b"\n"):
            return json.loads(reply)
        status = self.process.wait()
        self.stop()
        return {"status": status}


def run_other(other, code, env):
    if other.argv[0] == "bash":
        words = "".join(f"{name}={quoted(value)} " for name, value in env.items())
        code = f"{words}eval {quoted(code)}"
    reply = other.run(code)
    if reply.get("text") is not None:
        drain()
        answer("result", text=reply["text"], is_main_result=True)
    if reply.get("error") is not None:
        drain()
        answer("error", **reply["error"])
    elif reply.get("status", 0) != 0:
        drain()
        answer("error", name="ExitStatus", value=str(reply["status"]), traceback=f"exit status {reply['status']}")


def quoted(text):
    return "'" + text.replace("'", "'\\''") + "'"


def without_us(trace):
    """The frames of this program say nothing to whoever wrote the cell."""
    seen = set()
    while trace is not None and id(trace) not in seen:
        seen.add(id(trace))
        trace.stack = traceback.StackSummary.from_list([frame for frame in trace.stack if frame.filename != HERE])
        trace = trace.__cause__ or trace.__context__


def report(error):
    try:
        value = str(error)
    except Exception:
        value = f"<{type(error).__name__} that cannot be printed>"
    trace = traceback.TracebackException.from_exception(error)
    without_us(trace)
    drain()
    answer("error", name=type(error).__name__, value=value, traceback="".join(trace.format()))


def execute(request, other):
    global current, counter, interruptible, interrupted, postponed
    counter += 1
    current, interrupted, postponed = request["id"], False, False
    answer("number_of_executions", execution_count=counter)
    env = request.get("env") or {}
    saved = {name: os.environ.get(name) for name in env}
    try:
        try:
            interruptible = True
            os.environ.update(env)
            if other is None:
                run_python(request["code"])
            else:
                run_other(other, request["code"], env)
        finally:
            interruptible = False
    except BaseException as error:
        interruptible = False
        if is_child():
            traceback.print_exc()
        else:
            report(error)
            drop_figures()
    if is_child():
        # It has come to the end of the cell: its life ends here, not in a second kernel.
        flush()
        os._exit(0)
    for name, value in saved.items():
        if value is None:
            os.environ.pop(name, None)
        else:
            os.environ[name] = value
    drain()
    answer("done")
    current = None


def serve():
    other = Other(json.loads(sys.argv[1])) if len(sys.argv) > 1 else None
    os.environ.setdefault("MPLBACKEND", "Agg")
    redirect()
    os.register_at_fork(before=before_fork, after_in_parent=after_fork, after_in_child=in_child)
    signal.signal(signal.SIGINT, on_interrupt)
    sys.unraisablehook = on_unraisable
    builtins.input = no_input
    builtins.display = display
    sys.meta_path.insert(0, Imports())
    sys.modules["__main__"] = main_module
    sys.argv = [""]
    for target in (read_outputs, read_requests):
        threading.Thread(target=target, daemon=True).start()
    answer("ready")
    while True:
        execute(work.get(), other)


serve()
