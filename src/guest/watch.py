# Tells what changes in a directory, by inotify(7), until its input ends.
#
#   python3 -ISc "import sys; exec(sys.stdin.buffer.read(SIZE))" SIZE DIRECTORY recursive|flat MADE REPLACED
#
# Prints words that end in a zero byte: "!ready", or "!" and an errno name, once; then a letter and a name below the directory for each
# change: c create, w write, r remove, n rename (the old name; a create of the new one follows), m chmod.
# Names that begin with MADE or REPLACED are files that are being uploaded: their renaming is the upload.
import ctypes, errno, os, select, struct, sys

MODIFY, ATTRIB, MOVED_FROM, MOVED_TO, CREATE, DELETE = 0x2, 0x4, 0x40, 0x80, 0x100, 0x200
DELETE_SELF, MOVE_SELF, UNMOUNT, OVERFLOW, IGNORED = 0x400, 0x800, 0x2000, 0x4000, 0x8000
ONLYDIR, DONT_FOLLOW, ISDIR = 0x01000000, 0x02000000, 0x40000000
CHANGES = MODIFY | ATTRIB | MOVED_FROM | MOVED_TO | CREATE | DELETE
# How long the second half of a renaming may be late.
PAIR_MS = 100

root, recursive = os.fsencode(sys.argv[2]), sys.argv[3] == "recursive"
made, replaced = os.fsencode(sys.argv[4]), os.fsencode(sys.argv[5])
libc = ctypes.CDLL(None, use_errno=True)
queue = libc.inotify_init1(os.O_CLOEXEC | os.O_NONBLOCK)
names = {}  # watch -> name of the directory, b"" for the root
watches = {}  # the other way
found = set()  # told from a listing; the event that says the same may follow
leaving = {}  # cookie -> name of a directory of which we know only that it left
uploads = {}  # cookie -> letters
out = []


def say(letter, name):
    out.append(letter + name + b"\0")


def flush():
    data = b"".join(out)
    out.clear()
    while data:
        data = data[os.write(1, data):]


def fail(number):
    out.append(b"!" + errno.errorcode.get(number, "EIO").encode() + b"\0")
    flush()
    sys.exit(0)


def below(directory, name):
    return directory + b"/" + name if directory else name


def watch(name, tell):
    flags = CHANGES | ONLYDIR | (DONT_FOLLOW if name else DELETE_SELF | MOVE_SELF)
    path = below(root, name) if name else root
    one = libc.inotify_add_watch(queue, path, flags)
    if one < 0:
        number = ctypes.get_errno()
        # Gone again, or closed to us: what is above it is watched all the same.
        if name and number in (errno.ENOENT, errno.ENOTDIR, errno.EACCES, errno.ELOOP):
            return
        fail(number)
    names[one], watches[name] = name, one
    if not recursive:
        return
    try:
        entries = list(os.scandir(path))
    except OSError:
        return
    for entry in entries:
        inside = below(name, entry.name)
        if tell and not entry.name.startswith((made, replaced)):
            found.add(inside)
            say(b"c", inside)
        if entry.is_dir(follow_symlinks=False):
            watch(inside, tell)


def tree(name):
    return [(one, at) for at, one in watches.items() if at == name or at.startswith(name + b"/")]


def moved(old, new):
    for one, name in tree(old):
        del watches[name]
        names[one] = new + name[len(old):]
        watches[names[one]] = one


def left():
    for name in leaving.values():
        for one, _ in tree(name):
            libc.inotify_rm_watch(queue, one)
    leaving.clear()


def change(one, mask, cookie, base):
    if mask & OVERFLOW:
        return
    directory = names.get(one)
    if directory is None:
        return
    if mask & IGNORED:
        del names[one]
        if watches.get(directory) == one:
            del watches[directory]
    if mask & (DELETE_SELF | MOVE_SELF | UNMOUNT | IGNORED):
        if directory == b"":
            flush()
            sys.exit(0)
        return
    if not base:
        return
    name = below(directory, base)
    if base.startswith((made, replaced)):
        if mask & MOVED_FROM:
            uploads[cookie] = (b"c", b"w") if base.startswith(made) else (b"w",)
        return
    if mask & MOVED_TO and cookie in uploads:
        for letter in uploads.pop(cookie):
            say(letter, name)
    elif mask & MOVED_FROM:
        found.discard(name)
        say(b"n", name)
        if recursive and mask & ISDIR:
            leaving[cookie] = name
    elif mask & MOVED_TO:
        say(b"c", name)
        if recursive and mask & ISDIR:
            if cookie in leaving:
                moved(leaving.pop(cookie), name)
            else:
                watch(name, False)
    elif mask & CREATE:
        if name in found:
            found.discard(name)
        else:
            say(b"c", name)
            if recursive and mask & ISDIR:
                watch(name, True)
    elif mask & DELETE:
        found.discard(name)
        say(b"r", name)
    elif mask & MODIFY:
        say(b"w", name)
    elif mask & ATTRIB:
        say(b"m", name)


if queue < 0:
    fail(ctypes.get_errno())
watch(b"", False)
out.insert(0, b"!ready\0")
flush()
poll = select.poll()
poll.register(0, select.POLLIN)
poll.register(queue, select.POLLIN)
while True:
    ready = dict(poll.poll(PAIR_MS if leaving else None))
    if not ready:
        left()
    if 0 in ready:
        # The end of the input, or whoever wanted to know is gone.
        sys.exit(0)
    if queue in ready:
        data, at = os.read(queue, 65536), 0
        while at < len(data):
            one, mask, cookie, size = struct.unpack_from("iIII", data, at)
            at += 16 + size
            change(one, mask, cookie, data[at - size:at].rstrip(b"\0"))
        flush()
