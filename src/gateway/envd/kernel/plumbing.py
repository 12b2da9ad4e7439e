"""Runs code for one context of the interpreter. Sent over the connection to python3, which reads it from its standard input; nothing of it is
written to the guest.

Requests are lines of JSON on standard input, answers lines of JSON on standard output:
    {"op": "execute", "id": 1, "code": "...", "env": {}}    {"op": "interrupt", "id": 1}
    {"type": "ready"}    {"id": 1, "type": "stdout" | "stderr" | "result" | "error" | "number_of_executions" | "done", ...}

Descriptors 1 and 2 become pipes that a thread reads, so that what a child or a library in C prints comes the same way as what Python prints;
both streams are read empty before a result, an error, or the end of a cell goes out. Input is /dev/null, and input() says so.
"""

import ast
import base64
import builtins
import codecs
import datetime
import fcntl
import importlib.abc
import importlib.util
import io
import json
import linecache
import os
import queue
import select
import signal
import subprocess
import sys
import termios
import threading
import time
import tokenize
import traceback
import types

HERE = "<kernel>"
READ_BYTES = 65536
TEXT_KEPT = 8192
PAUSE_S = 0.1
TOGETHER_S = 0.003
PIPE_BYTES = 1024 * 1024
F_SETPIPE_SZ = 1031  # of Linux; not in fcntl before Python 3.10
RESULT_MAX_BYTES = 32 * 1024 * 1024
TOP_LEVEL_AWAIT = ast.PyCF_ALLOW_TOP_LEVEL_AWAIT
CO_COROUTINE = 0x80

requests_fd = os.dup(0)
answers_fd = os.dup(1)
pid = os.getpid()
current = None  # id of the execution under way
interruptible = False
interrupted = False
holding = 0  # depth of what must not be interrupted half-way: a line
postponed = False
counter = 0
work = queue.SimpleQueue()
answering = threading.Lock()
reading = threading.Lock()
outputs = {}  # read end -> (name, decoder, stream)


def is_child():
    """Of a cell that forked: it has no say here, and nothing to read."""
    return os.getpid() != pid


class Held:
    """An interrupt comes when this is over, so that no line goes out in half."""

    def __enter__(self):
        global holding
        if threading.current_thread() is threading.main_thread():
            holding += 1

    def __exit__(self, *_error):
        global holding, postponed, interrupted
        if threading.current_thread() is threading.main_thread():
            holding -= 1
            if holding == 0 and postponed:
                postponed = False
                if interruptible:
                    interrupted = True
                    raise KeyboardInterrupt


def answer(kind, **fields):
    if is_child():
        return
    line = json.dumps({"id": current, "type": kind, **fields}, default=str).encode() + b"\n"
    with Held(), answering:
        view = memoryview(line)
        while view:
            view = view[os.write(answers_fd, view) :]


class Stream(io.TextIOBase):
    """What sys.stdout and sys.stderr are: lines go out whole; the beginning of one after a moment, by the thread that reads."""

    encoding = "utf-8"
    errors = "backslashreplace"

    def __init__(self, fd, name):
        self.fd, self.name = fd, f"<{name}>"
        self.lock = threading.RLock()
        self.text = ""
        self.buffer = Bytes(self)

    def write(self, text):
        if not isinstance(text, str):
            raise TypeError(f"write() argument must be str, not {type(text).__name__}")
        with self.lock:
            self.text += text
            if "\n" in text or "\r" in text or len(self.text) >= TEXT_KEPT:
                self.flush()
        return len(text)

    def flush(self):
        with self.lock:
            view, self.text = memoryview(self.text.encode(self.encoding, self.errors)), ""
            while view:
                view = view[os.write(self.fd, view) :]

    def fileno(self):
        return self.fd

    def writable(self):
        return True

    def reconfigure(self, **_options):
        pass


class Bytes(io.RawIOBase):
    """sys.stdout.buffer: after the text that was printed before."""

    def __init__(self, stream):
        self.stream = stream

    def write(self, data):
        with self.stream.lock:
            self.stream.flush()
            return os.write(self.stream.fd, data)

    def fileno(self):
        return self.stream.fd

    def writable(self):
        return True


def redirect():
    null = os.open(os.devnull, os.O_RDONLY)
    os.dup2(null, 0)
    os.close(null)
    for target, name in ((1, "stdout"), (2, "stderr")):
        mine, theirs = os.pipe()
        os.set_blocking(mine, False)
        if sys.platform == "linux":
            try:
                fcntl.fcntl(mine, F_SETPIPE_SZ, PIPE_BYTES)
            except OSError:
                pass  # more than an ordinary user may have
        os.dup2(theirs, target)
        os.close(theirs)
        stream = Stream(target, name)
        outputs[mine] = (name, codecs.getincrementaldecoder("utf-8")("replace"), stream)
        setattr(sys, name, stream)
        setattr(sys, f"__{name}__", stream)
    sys.stdin = sys.__stdin__ = open(0, closefd=False)


def tell(name, text):
    if text:
        answer(name, text=text, timestamp=datetime.datetime.now(datetime.timezone.utc).isoformat())


def read_some(fd):
    """Passes on what one read gives. How many bytes that were."""
    try:
        data = os.read(fd, READ_BYTES)
    except BlockingIOError:
        return 0
    name, decoder, _ = outputs[fd]
    if not data:
        del outputs[fd]  # somebody closed the descriptor
    tell(name, decoder.decode(data))
    return len(data)


def read_all(fd):
    """What is there now: a child that goes on printing does not hold this up."""
    left = int.from_bytes(fcntl.ioctl(fd, termios.FIONREAD, b"\0\0\0\0"), sys.byteorder)
    while left > 0 and fd in outputs:
        taken = read_some(fd)
        if taken == 0:
            break
        left -= taken


def read_outputs():
    while outputs:
        ready, _, _ = select.select(list(outputs), [], [], PAUSE_S)
        if ready:
            # What belongs together comes together: print() writes its end by itself.
            time.sleep(TOGETHER_S)
        with reading:
            for fd in ready:
                if fd in outputs and read_some(fd) > 0:
                    read_all(fd)
            if ready:
                continue
            for fd, (name, _, stream) in list(outputs.items()):
                # Not through the pipe, which nobody else would empty; and not while somebody writes.
                if stream.text and stream.lock.acquire(blocking=False):
                    try:
                        read_all(fd)
                        text, stream.text = stream.text, ""
                        tell(name, text)
                    finally:
                        stream.lock.release()


def flush():
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except Exception:
            pass


def drain():
    """All that was printed until now goes out before what follows."""
    flush()
    if is_child():
        return
    with Held(), reading:
        for fd in list(outputs):
            read_all(fd)


def before_fork():
    flush()
    reading.acquire()
    answering.acquire()


def after_fork():
    answering.release()
    reading.release()


def in_child():
    after_fork()
    for _, _, stream in outputs.values():
        stream.lock = threading.RLock()
    os.close(requests_fd)
    os.close(answers_fd)


def interrupt(id):
    """Children too. Again, while it is not taken: system(3) leaves it to the child it waits for, and a finalizer swallows it."""
    while current == id and interruptible:
        if not interrupted:
            try:
                os.killpg(0, signal.SIGINT)
            except OSError:
                pass
            # The main thread is woken by a signal of its own, out of whatever call it waits in.
            signal.pthread_kill(threading.main_thread().ident, signal.SIGINT)
        time.sleep(PAUSE_S)


def read_requests():
    for line in open(requests_fd, "rb", closefd=False):
        request = json.loads(line)
        if request["op"] == "execute":
            work.put(request)
        elif request["id"] == current:
            interrupt(request["id"])
    os._exit(0)


def on_interrupt(_number, _frame):
    global interrupted, postponed
    if not interruptible or interrupted:
        return
    if holding > 0:
        postponed = True
        return
    interrupted = True
    raise KeyboardInterrupt


def on_unraisable(unraisable):
    """Raised where nobody can catch it, in a finalizer or while a module is imported: it has not reached the cell."""
    global interrupted
    if unraisable.exc_type is KeyboardInterrupt:
        interrupted = False
    else:
        sys.__unraisablehook__(unraisable)
