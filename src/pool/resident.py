# Waits in a guest for what the pool has to say, over the virtio port that is named on the command line; one JSON document a line.
#
#   {"id": 1, "do": "ping"}                         answered at once: the guest runs
#   {"id": 2, "do": "identity", "hostname": ...}    makes the guest itself: a clone of a snapshot is another guest until then
#   {"id": 3, "do": "rest"}                         answered when nothing else in the guest wants to run
#
# It runs before the snapshot is taken, so that a clone need not start anything to answer: under emulation a process takes a tenth
# of a second. It sleeps until a signal says that there is something on the port. Python 3.7 and later, nothing beside.
import base64, ctypes, fcntl, glob, json, os, re, signal, socket, struct, subprocess, sys, time

RNDADDENTROPY, RNDRESEEDCRNG = 0x40085203, 0x5207
SIOCSIFADDR, SIOCSIFNETMASK, SIOCSIFHWADDR, SIOCADDRT, SIOCGIFHWADDR = 0x8916, 0x891C, 0x8924, 0x890B, 0x8927
RTF_UP, RTF_GATEWAY = 1, 2
MS_BIND = 4096
# Where an address may be written down, by whatever set it up at the first boot.
NETWORK_FILES = (
    "/etc/network/interfaces", "/etc/network/interfaces.d/*", "/etc/netplan/*", "/etc/systemd/network/*",
    "/run/systemd/network/*", "/run/network/interfaces.d/*",
)


def write(path, data, mode=0o644):
    with open(os.open(path + ".new", os.O_WRONLY | os.O_CREAT | os.O_TRUNC, mode), "wb") as file:
        file.write(data if isinstance(data, bytes) else data.encode())
    os.chmod(path + ".new", mode)
    os.rename(path + ".new", path)


def entropy(seed):
    # What the clones of one memory have in common is their generator of random numbers, above all.
    with open("/dev/urandom", "wb", 0) as device:
        fcntl.ioctl(device, RNDADDENTROPY, struct.pack("ii", len(seed) * 8, len(seed)) + seed)
        fcntl.ioctl(device, RNDRESEEDCRNG)
    for path in ("/var/lib/systemd/random-seed", "/var/lib/urandom/random-seed"):
        if os.path.exists(path):
            os.unlink(path)


def machine_id(text):
    write("/etc/machine-id", text + "\n", 0o444)
    bus = "/var/lib/dbus/machine-id"
    if os.path.isfile(bus) and not os.path.islink(bus):
        write(bus, text + "\n", 0o644)


def boot_id(text):
    # The kernel makes it once and takes no other; who reads the file reads ours.
    os.makedirs("/run/garth", exist_ok=True)
    write("/run/garth/boot_id", text + "\n", 0o444)
    ctypes.CDLL(None).mount(b"/run/garth/boot_id", b"/proc/sys/kernel/random/boot_id", None, MS_BIND, None)


def hostname(name, before):
    socket.sethostname(name)
    write("/etc/hostname", name + "\n")
    try:
        with open("/etc/hosts") as file:
            text = file.read()
        if before:
            text = re.sub(r"(?<![\w.-])%s(?![\w-])" % re.escape(before), name, text)
        write("/etc/hosts", text)
    except OSError:
        pass


def interface_of(mac):
    for path in sorted(glob.glob("/sys/class/net/*")):
        if os.path.exists(path + "/device"):
            with open(path + "/address") as file:
                if mac is None or file.read().strip() == mac:
                    return os.path.basename(path)
    return interface_of(None) if mac is not None else None


def address(text):
    return struct.pack("HH4s8x", socket.AF_INET, 0, socket.inet_aton(text))


def network(order, before):
    name = interface_of(before.get("mac"))
    if name is None:
        return
    for pattern in NETWORK_FILES:
        for path in glob.glob(pattern):
            try:
                with open(path) as file:
                    text = file.read()
                changed = text
                if before.get("address"):
                    changed = re.sub(r"(?<![\d.])%s(?![\d.])" % re.escape(before["address"]), order["address"], changed)
                if before.get("mac"):
                    # What the device came with is the MAC address of the machine before until this one boots again.
                    changed = re.sub(r"(?im)^PermanentMACAddress(?=\s*=.*%s)" % re.escape(before["mac"]), "MACAddress", changed)
                    changed = re.sub(re.escape(before["mac"]), order["mac"], changed, flags=re.I)
                if changed != text:
                    write(path, changed, os.stat(path).st_mode & 0o7777)
            except (OSError, UnicodeDecodeError):
                pass
    interface = name.encode().ljust(16, b"\0")
    mask = socket.inet_ntoa(struct.pack(">I", (0xFFFFFFFF << (32 - order["prefix"])) & 0xFFFFFFFF))
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as control:
        fcntl.ioctl(control, SIOCSIFHWADDR, interface + struct.pack("H6s8x", 1, bytes.fromhex(order["mac"].replace(":", ""))))
        fcntl.ioctl(control, SIOCSIFADDR, interface + address(order["address"]))
        fcntl.ioctl(control, SIOCSIFNETMASK, interface + address(mask))
        # struct rtentry of linux/route.h: the default route by the gateway.
        anywhere, gateway, flags = address("0.0.0.0"), address(order["gateway"]), RTF_UP | RTF_GATEWAY
        route = struct.pack("L16s16s16sHhLPhPLLH", 0, anywhere, gateway, anywhere, flags, 0, 0, 0, 0, 0, 0, 0, 0)
        try:
            fcntl.ioctl(control, SIOCADDRT, route)
        except FileExistsError:
            pass
    # Its link-local address was made of the MAC before.
    again = "/proc/sys/net/ipv6/conf/%s/disable_ipv6" % name
    if os.path.exists(again):
        for value in ("1", "0"):
            with open(again, "w") as file:
                file.write(value)
    if os.path.isdir("/run/systemd/netif"):
        # It goes by the files from now on, also when the link comes and goes.
        subprocess.run(["networkctl", "reload"], stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    if order.get("announce"):
        announce(name, order)


def announce(name, order):
    # Who has the address now: neighbours that knew the machine it was cloned from look again (RFC 5227, 3).
    mac, ip = bytes.fromhex(order["mac"].replace(":", "")), socket.inet_aton(order["address"])
    try:
        with socket.socket(socket.AF_PACKET, socket.SOCK_RAW) as raw:
            raw.bind((name, 0x0806))
            raw.send(b"\xff" * 6 + mac + b"\x08\x06" + struct.pack(">HHBBH", 1, 0x0800, 6, 4, 1) + mac + ip + b"\0" * 6 + ip)
    except OSError:
        pass


def host_key(private, public):
    # sshd reads its keys again for each connection: nothing has to be restarted.
    for path in glob.glob("/etc/ssh/ssh_host_*"):
        if "ed25519" not in path:
            os.unlink(path)
    write("/etc/ssh/ssh_host_ed25519_key.pub", public + "\n")
    write("/etc/ssh/ssh_host_ed25519_key", private, 0o600)


def identity(order):
    before = order.get("before") or {}
    entropy(base64.b64decode(order["seed"]))
    time.clock_settime(time.CLOCK_REALTIME, order["time"])
    machine_id(order["machineId"])
    boot_id(order["bootId"])
    hostname(order["hostname"], before.get("hostname"))
    host_key(order["hostKey"]["privateKey"], order["hostKey"]["publicKey"])
    network(order, before)


def announced(order):
    name = interface_of(order["mac"])
    if name is not None:
        announce(name, order)


def rest():
    # Of the lowest priority it comes last; what waits for a disk meanwhile is behind it when it has waited as well.
    os.sched_setscheduler(0, os.SCHED_IDLE, os.sched_param(0))
    try:
        for _ in range(3):
            time.sleep(0.005)
            os.sched_yield()
    finally:
        os.sched_setscheduler(0, os.SCHED_OTHER, os.sched_param(0))


def obey(order):
    what = order.get("do")
    if what == "identity":
        identity(order)
    elif what == "announce":
        announced(order)
    elif what == "rest":
        rest()
    elif what == "clock":
        time.clock_settime(time.CLOCK_REALTIME, order["time"])
    elif what != "ping":
        raise ValueError("what is %r?" % what)


def say(port, data):
    # What is said may come in before the kernel was told that somebody listens, or is there again: it takes no answer until then.
    for _ in range(200):
        try:
            data = data[os.write(port, data):]
            if not data:
                return
        except BlockingIOError:
            signal.sigtimedwait([signal.SIGIO], 0.02)


def main(path):
    signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGIO])
    port = os.open(path, os.O_RDWR | os.O_NONBLOCK)
    fcntl.fcntl(port, fcntl.F_SETOWN, os.getpid())
    fcntl.fcntl(port, fcntl.F_SETFL, os.O_NONBLOCK | os.O_ASYNC)
    held = b""
    while True:
        try:
            data = os.read(port, 65536)
        except BlockingIOError:
            data = b""
        if not data:
            # The other end is not there, or says nothing. Signals come when either changes; a look now and then costs next to nothing.
            signal.sigtimedwait([signal.SIGIO], 10)
            continue
        held += data
        *lines, held = held.split(b"\n")
        for line in lines:
            answer = {"id": None}
            try:
                order = json.loads(line)
                answer["id"] = order.get("id")
                obey(order)
                answer["ok"] = True
            except Exception as error:
                answer["error"] = "%s: %s" % (type(error).__name__, error)
            say(port, (json.dumps(answer) + "\n").encode())


if __name__ == "__main__":
    main(sys.argv[1])
