# SPDX-License-Identifier: GPL-2.0-or-later
"""The far ends of migrated's sockets for tests/migrated/test-move: a hypervisord with one domain, an ha-agentd, and a proxy that
cuts, stalls and garbles.  Real memory (a sealed memfd), real descriptors, docs/specs/messages.md; the guest is a thread that
writes pages and marks them dirty."""
import contextlib
import fcntl
import glob
import hashlib
import json
import mmap
import os
import random
import socket
import struct
import subprocess
import sys
import threading
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), ".."))
from hostclock import comes  # noqa: E402

PAGE = 4096
SLOW = int(os.environ.get("HAVEN_TEST_SLOW", "1"))     # of sanitizers and crowded machines: stretches every time limit
F_ADD_SEALS, SEALS = 1033, 2 | 4          # shrink, grow


def send(sock, obj, fds=()):
    socket.send_fds(sock, [json.dumps(obj).encode()], list(fds))


def recv(sock):
    data, fds, _, _ = socket.recv_fds(sock, 1 << 17, 8)
    return (json.loads(data), list(fds)) if data else (None, list(fds))


def memfd(data, name="double"):
    fd = os.memfd_create(name)
    os.write(fd, data)
    return fd


def code_list(*frames):
    """Pages of code, two blocks each, as docs/specs/migration-stream.md has them."""
    pages = b"".join(struct.pack("<QQHHI2H", frame << 12, frame, 0, 2, 0, 0, 16) for frame in frames)
    return struct.pack("<II", len(frames), 0) + pages


def code_frames(listed):
    return [struct.unpack_from("<Q", listed, at + 8)[0] for at in range(8, len(listed), 28)]


class Domain:
    """One copy of a domain on one node."""

    def __init__(self, node, config, domid, copy, ram_pages, special_pages=8):
        self.node, self.config, self.domid, self.copy = node, config, domid, copy
        self.ram, self.special = ram_pages, special_pages
        self.frames = ram_pages + special_pages
        self.fd = os.memfd_create("ram", os.MFD_ALLOW_SEALING | os.MFD_CLOEXEC)
        os.ftruncate(self.fd, self.frames * PAGE)
        fcntl.fcntl(self.fd, F_ADD_SEALS, SEALS)
        self.mm = mmap.mmap(self.fd, self.frames * PAGE)
        self.lock = threading.RLock()
        self.dirty = set()
        self.attempt, self.counter, self.hot, self.pages_per_ms = 0, 0, range(min(64, self.frames)), 2
        self.channel = None
        self.throttle, self.throttles = 0, []
        self.user_paused = False           # by its operator
        self.version = None                # that its state was asked for in
        self.features = None               # of the CPU, as the guest sees it; None: hv-domain does not tell
        self.loaded = None
        self.code_lists = [code_list(ram_pages - 3, ram_pages - 1), code_list(ram_pages - 2)]   # what runs, as hv-domain lists it: before the first round, and what else ran since
        self.code_made, self.code_pages = [], []    # what its target was told of that, and what the pages held then
        self.listed = 0
        self.seen = []                     # ops the channel got, in order
        self.took = {}                     # op -> seconds that it took here the last time
        self.log = []                      # copy states, in order
        self.fail = {}                     # op -> error text, or "hang", or "die", or a function to call first
        self.disk_sectors = {}
        self.postcopy = True               # what its channel says it can
        self.owed, self.watching, self.waits = set(), False, set()
        self.serves, self.served, self.service = None, 0, None
        self.wrong = []                    # pages that came and are not what the source has
        threading.Thread(target=self.run, daemon=True).start()

    def set_copy(self, state):
        self.copy = state
        self.log.append(state)

    def fill(self, seed=1, holes=0.3, zeros=0.1):
        r = random.Random(seed)
        block = r.randbytes(PAGE * 64)
        for f in range(self.frames):
            x = r.random()
            if x < holes and f < self.ram:
                continue
            at = (f % 63) * PAGE
            self.mm[f * PAGE:(f + 1) * PAGE] = bytes(PAGE) if x < holes + zeros else block[at:at + PAGE - 8] + struct.pack("<Q", f)

    def run(self):
        r, at = random.Random(7), time.monotonic()
        while self.copy != "destroyed":
            with self.lock:
                late_ms, at = int((time.monotonic() - at) * 1000), time.monotonic()
                if self.copy == "running" and self.pages_per_ms:
                    pages = max(1, self.pages_per_ms * (1000 - self.throttle) // 1000)
                    if late_ms > 20 and not self.owed:         # it writes at a rate by the clock; what it missed, it writes as it was
                        first = r.randrange(len(self.hot))
                        self.dirty.update(self.hot[first:first + late_ms * pages])
                    for _ in range(pages):
                        f = self.hot[r.randrange(len(self.hot))]
                        if f in self.owed:      # it waits for that page; one vCPU of many
                            self.waits.add(f)
                            continue
                        self.counter += 1
                        self.mm[f * PAGE:f * PAGE + 8] = struct.pack("<Q", self.counter)
                        if self.counter % 50 == 0:      # a page that becomes zero must arrive as zero
                            self.mm[f * PAGE:(f + 1) * PAGE] = bytes(PAGE)
                        self.dirty.add(f)
            time.sleep(0.001)

    def digest(self):
        return hashlib.sha256(self.mm[:]).hexdigest()

    def bitmap(self, frames):
        words = bytearray((self.frames + 63) // 64 * 8)
        for f in frames:
            words[f // 8] |= 1 << (f % 8)
        return memfd(bytes(words), "bitmap")

    def open_channel(self):
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self.channel = ours
        threading.Thread(target=self.serve, args=(ours,), daemon=True).start()
        return theirs

    def serve(self, sock):
        while True:
            try:
                req, fds = recv(sock)
            except OSError:
                req, fds = None, []
            if req is None:
                break
            self.seen.append(req["op"])
            what = self.fail.get(req["op"])
            if callable(what):
                what()
                what = None
            if what == "hang":
                continue
            if what == "die":
                sock.close()
                break
            if what:
                send(sock, {"ok": False, "code": "EIO", "error": what})
            else:
                began = time.monotonic()
                reply, out = getattr(self, "ch_" + req["op"].replace("-", "_"))(req, fds)
                self.took[req["op"]] = time.monotonic() - began
                try:
                    send(sock, {"ok": True, **reply}, out)
                except OSError:
                    pass
                for fd in out:
                    os.close(fd)
            for fd in fds:
                os.close(fd)
        self.end_of_channel()

    def end_of_channel(self):
        with self.lock:
            self.channel = None
            self.throttle = 0
            if self.copy == "paused":
                self.set_copy("running")
            elif self.copy in ("incoming", "ready"):
                self.set_copy("destroyed")
                if self.service:
                    self.service.close()
                self.node.domain = None

    def ch_info(self, req, fds):
        features = {"cpu_features": self.features} if self.features else {}
        return {"ram_pages": self.ram, "special_pages": self.special, "page_size": PAGE, "vcpus": 1, "postcopy": self.postcopy,
                **features}, [self.bitmap(range(self.ram))]

    def ch_dirty_start(self, req, fds):
        with self.lock:
            self.dirty = set(range(self.frames))
        return {}, []

    def ch_dirty_round(self, req, fds):
        with self.lock:
            dirty, self.dirty = self.dirty, set()
        return {"pages": len(dirty)}, [self.bitmap(dirty)]

    def ch_code_watch(self, req, fds):
        self.listed = 0
        return {}, []

    def ch_code_list(self, req, fds):
        self.listed += 1
        return {}, [memfd(self.code_lists[self.listed - 1], "code-list")]

    def ch_code_make(self, req, fds):
        self.code_made.append(os.pread(fds[0], 1 << 20, 0))
        self.code_pages.append([self.mm[f * PAGE:(f + 1) * PAGE] for f in code_frames(self.code_made[-1])])
        return {}, []

    def ch_throttle(self, req, fds):
        self.throttle = req["thousandths"]
        self.throttles.append(self.throttle)
        return {}, []

    def ch_pause(self, req, fds):
        with self.lock:
            self.throttle = 0
            self.set_copy("paused")
            dirty, self.dirty = self.dirty, set()
        return {"pause_ns": time.monotonic_ns(), "pause_realtime_ns": time.time_ns(), "pages": len(dirty)}, [self.bitmap(dirty)]

    def ch_state_save(self, req, fds):
        self.version = req.get("version")
        state = {"counter": self.counter, "digest": self.digest(), "pad": "x" * 200000}
        return {}, [memfd(json.dumps(state).encode(), "state")]

    def ch_dirty_stop(self, req, fds):
        return {}, []

    def ch_pages_owed(self, req, fds):
        words = os.pread(fds[0], self.frames, 0)
        owed = {f for f in range(self.ram) if words[f // 8] >> (f % 8) & 1}
        for f in owed:
            self.mm[f * PAGE:(f + 1) * PAGE] = bytes(PAGE)
        self.owed |= owed
        if req.get("begin"):
            self.watching = True
            if self.service:
                self.service.tell()
        return {"owed_kib": len(self.owed) * 4}, []

    def other(self):
        return self.node.other.domain

    def as_the_source(self, f):
        return self.mm[f * PAGE:(f + 1) * PAGE] == self.other().mm[f * PAGE:(f + 1) * PAGE]

    def ch_state_load(self, req, fds):
        state = json.loads(os.pread(fds[0], 1 << 20, 0))
        same = all(f in self.owed or self.as_the_source(f) for f in range(self.frames)) if self.owed else state["digest"] == self.digest()
        self.loaded = {"same": same, "pause": req.get("pause_realtime_ns"), "offset": req.get("clock_offset_ns")}
        self.counter = state["counter"]
        self.set_copy("ready")
        return {}, []

    def ch_released(self, req, fds):
        return {}, []


class Service(threading.Thread):
    """hv-domain's end of a page service (lib/proto/pages.h): asks for what the guest waits for, takes what is owed."""

    def __init__(self, domain, sock):
        super().__init__(daemon=True)
        self.domain, self.sock, self.asked, self.told = domain, sock, set(), False
        self.junk = 0                      # what came that was not owed
        send(sock, {"ok": True})
        if domain.watching:
            self.tell()
        self.start()

    def tell(self):
        with self.domain.lock:
            self.told = True
            frames = sorted(self.domain.owed)
        if not frames:
            self.sock.send(struct.pack("<II", 4, 0))
            return
        runs = []
        for f in frames:
            if runs and sum(runs[-1]) == f:
                runs[-1][1] += 1
            else:
                runs.append([f, 1])
        for i in range(0, len(runs), 1024):
            part = runs[i:i + 1024]
            self.sock.send(struct.pack("<II", 1, len(part)) + b"".join(struct.pack("<QQ", *r) for r in part))
        self.sock.send(struct.pack("<II", 2, 0))

    def run(self):
        try:
            while self.serve():
                pass
        except OSError:
            pass

    def serve(self):
        d = self.domain
        self.sock.settimeout(0.02)
        try:
            data = self.sock.recv(1 << 18)
        except TimeoutError:
            data = None
        if data == b"":
            return False
        with d.lock:
            for f in list(d.waits - self.asked)[:4] if self.told and len(self.asked & d.owed) < 16 else ():
                self.asked.add(f)
                self.sock.send(struct.pack("<IIQ", 3, 1, f))
        if data is None or not d.watching:
            return True
        kind, count = struct.unpack_from("<II", data)
        if kind == 5:
            for i in range(count):
                f, = struct.unpack_from("<Q", data, 8 + 8 * i)
                at = 8 + 8 * count + i * PAGE
                self.take(f, data[at:at + PAGE])
        elif kind == 6:
            for i in range(count):
                first, n = struct.unpack_from("<QQ", data, 8 + 16 * i)
                for f in range(first, first + n):
                    self.take(f, bytes(PAGE))
        elif kind == 7 and d.owed:
            self.tell()
        return True

    def take(self, f, page):
        d = self.domain
        with d.lock:
            if f not in d.owed:
                self.junk += 1
                return
            d.mm[f * PAGE:(f + 1) * PAGE] = page
            if d.other() is None or not d.as_the_source(f):
                d.wrong.append(f)
            d.owed.discard(f)
            d.waits.discard(f)
            last = not d.owed
        if last:
            self.sock.send(struct.pack("<II", 4, 0))

    def close(self):
        try:
            self.sock.shutdown(socket.SHUT_RDWR)
        except OSError:
            pass


class Daemon:
    """A listener at PATH that answers requests by methods op_NAME."""

    def __init__(self, path):
        self.path = path
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self.sock.bind(path)
        self.sock.listen(16)
        self.seen, self.fail = [], {}
        self.acceptor = threading.Thread(target=self.accept, daemon=True)
        self.acceptor.start()

    def accept(self):
        while True:
            try:
                c, _ = self.sock.accept()
            except OSError:
                return
            threading.Thread(target=self.serve, args=(c,), daemon=True).start()

    def serve(self, c):
        while True:
            try:
                req, _ = recv(c)
            except OSError:
                return
            if req is None:
                c.close()
                return
            self.seen.append(req["op"])
            what = self.fail.get(req["op"])
            if callable(what):
                what()
                what = None
            if what == "hang":
                continue
            if what == "die":
                c.close()
                return
            if what:
                reply, out = {"ok": False, "code": "EPERM", "error": what}, []
            else:
                reply, out = getattr(self, "op_" + req["op"].replace("-", "_"))(req)
            try:
                send(c, {"ok": True, **reply} if reply.get("ok", True) else reply, out)
            except OSError:
                return
            finally:
                for fd in out:
                    os.close(fd)

    def close(self):
        # the thread first: a descriptor closed under it may be the next listener's by then
        self.sock.shutdown(socket.SHUT_RDWR)
        self.acceptor.join()
        self.sock.close()
        os.unlink(self.path)


class Hypervisord(Daemon):
    def __init__(self, node):
        self.node = node
        self.releases = {}                 # what mark-handed says of the disks
        self.activated = {}
        self.hurries = []
        self.problems, self.takes = [], None       # of op_takes: what it says, what it was asked
        self.free_kib, self.features = 1 << 20, ["sse2", "avx2"]
        super().__init__(f"{node.run}/hypervisord.sock")

    def op_node_info(self, req):
        return {"memory_free_kib": self.free_kib, "cpu_features": self.features}, []

    def op_list(self, req):
        d = self.node.domain
        return {"domains": [] if d is None else [{"domid": d.domid, "uuid": d.config["uuid"], "name": d.config["name"], "copy": d.copy,
                                                  "attempt": d.attempt, "serves": d.serves, "user_paused": d.user_paused,
                                                  "disk_sectors": d.disk_sectors, "config": d.config}]}, []

    def op_takes(self, req):
        self.takes = req
        need = req["config"]["memory_kib"]
        memory = [f"not enough memory: {need} KiB needed, {self.free_kib} KiB free"] if need > self.free_kib else []
        return {"problems": memory + self.problems}, []

    def op_migrate_open(self, req):
        d = self.node.domain
        if d.channel:
            return {"ok": False, "code": "EBUSY", "error": "a move is under way"}, []
        d.attempt = req["attempt"]
        return {}, [d.open_channel().detach(), os.dup(d.fd)]

    def op_hurry(self, req):
        self.hurries.append(("over" if req["over"] else "begin") if "over" in req else "guest")
        return {}, []

    def op_incoming(self, req):
        if self.node.domain:
            return {"ok": False, "code": "EEXIST", "error": "it is here"}, []
        pages = req["config"]["memory_kib"] // 4
        d = self.node.domain = Domain(self.node, req["config"], req["domid"], "incoming", pages)
        d.attempt = req["attempt"]
        d.mm[5 * PAGE:6 * PAGE] = b"\xee" * PAGE          # a fresh copy need not be zero everywhere
        return {"domid": d.domid}, [d.open_channel().detach(), os.dup(d.fd)]

    def domain(self, req):
        return self.node.domain

    def op_mark_handed(self, req):
        d = self.domain(req)
        with d.lock:
            if d.copy != "paused" or req["attempt"] != d.attempt:
                return {"ok": False, "code": "EPERM", "error": f"the copy is {d.copy}"}, []
            d.set_copy("handed")
            d.serves = None if d.served else req.get("serves")
        return dict(self.releases), []

    def mine(self, req):
        d = self.domain(req)
        return d if d and d.config["uuid"] == req["uuid"] else None

    def op_serve_open(self, req):
        d = self.mine(req)
        if not d or d.attempt != req["attempt"] or not (d.channel or d.serves):
            return {"ok": False, "code": "ESTALE", "error": "its memory is not to be fetched"}, []
        return {"ram_pages": d.ram, "special_pages": d.special}, [os.dup(d.fd)]

    def op_pages_served(self, req):
        d = self.mine(req)
        if not d or d.attempt != req["attempt"]:
            return {"ok": False, "code": "ENOENT", "error": "no such domain"}, []
        d.serves, d.served = None, d.served + 1
        return {}, []

    def op_pages_open(self, req):
        d = self.mine(req)
        if not d or d.attempt != req["attempt"] or req["from"] != self.node.other.name:
            code = "ENOENT" if not d else "ESTALE" if d.attempt != req["attempt"] else "EACCES"
            return {"ok": False, "code": code, "error": "it waits for no such pages"}, []
        if d.service:
            d.service.close()
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        d.service = Service(d, ours)
        return {}, [theirs.detach()]

    def op_activated(self, req):
        last = self.activated.get(req["uuid"], 0)
        return {"attempt": last, "started": last, "known": True}, []

    def op_activate(self, req):
        d = self.domain(req)
        self.activated[d.config["uuid"]] = req["attempt"]
        with d.lock:
            if d.copy != "ready" or req["attempt"] != d.attempt:
                return {"ok": False, "code": "EPERM", "error": f"the copy is {d.copy}"}, []
            d.set_copy("running")
        return {"run_ns": time.monotonic_ns()}, []

    def op_destroy(self, req):
        if self.node.domain:
            self.node.domain.set_copy("destroyed")
            if self.node.domain.service:
                self.node.domain.service.close()
        self.node.domain = None
        return {}, []


class HaAgentd(Daemon):
    def __init__(self, node):
        super().__init__(f"{node.run}/ha-agentd.sock")

    def op_incoming_accept(self, req):
        return {"domid": 3, "claim": 7}, []

    def op_incoming_failed(self, req):
        return {}, []

    def op_activated(self, req):
        return {}, []


class Port:
    """A TCP port of nobody's, here and on any address, until closed: who chooses one alike finds it held on 127.0.0.99, where no node listens."""

    def __init__(self):
        while True:
            self.port, self.held = random.SystemRandom().randrange(10240, 32000), socket.socket()
            try:
                with socket.socket() as any_address:
                    any_address.bind(("", self.port))
                self.held.bind(("127.0.0.99", self.port))
                self.held.listen(1)
                return
            except OSError:
                self.held.close()

    def close(self):
        self.held.close()


def free_ports(n):
    return [Port() for _ in range(n)]


class Node:
    def __init__(self, base, name, port, build, pki, standalone=False, cluster=True, silence_s=3):
        self.name, self.port, self.build = name, port, build
        self.dir = f"{base}/{name}"
        self.run, self.conf = f"{self.dir}/run", f"{self.dir}/conf"
        os.makedirs(self.run)
        self.use_pki(pki)
        with open(f"{self.conf}/haven.conf", "w", encoding="utf-8") as f:
            f.write(f"migration_address = 127.0.0.1\nmigration_port = {port}\nmigration_silence_s = {silence_s * SLOW}\nmigration_reconnect_s = 1\n")
            if standalone:
                f.write("standalone = yes\n")
        self.domain = None
        self.env = {}
        self.hv = Hypervisord(self)
        self.ha = HaAgentd(self) if cluster else None
        self.log = open(f"{self.dir}/log", "wb")
        self.start()

    def use_pki(self, pki):
        os.makedirs(f"{self.conf}/pki", exist_ok=True)
        subprocess.run(["cp", "-a", f"{pki}/.", f"{self.conf}/pki/"], check=True)

    def start(self):
        env = dict(os.environ, HAVEN_RUN_DIR=self.run, HAVEN_CONF_DIR=self.conf, HAVEN_STATE_DIR=self.dir,
                   HAVEN_LIBEXEC_DIR=f"{self.build}/migrated", HAVEN_LOG_STDERR="1", HAVEN_DEBUG="1", **self.env)
        self.proc = subprocess.Popen([f"{self.build}/migrated/migrated"], env=env, stderr=self.log, stdout=self.log,
                                     stdin=subprocess.DEVNULL)
        if not comes(self.listens, 10 * SLOW) and not comes(self.listens, 50):
            raise RuntimeError("migrated does not start; see " + self.dir + "/log")

    def listens(self):
        try:
            return self.request({"op": "ping"})["ok"]
        except OSError:
            return False

    def hurry(self, percent):
        """Every deadline of lib/deadlines.h, so much of it, from here on."""
        self.stop_migrated()
        self.env["HAVEN_DEADLINE_PERCENT"] = str(percent)
        self.start()

    def connect(self):
        c = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        c.connect(f"{self.run}/migrated.sock")
        return c

    def request(self, req, progress=None, timeout=300 * SLOW):
        with self.connect() as c:
            c.settimeout(timeout)
            send(c, req)
            while True:
                reply, _ = recv(c)
                if reply is None:
                    raise RuntimeError("migrated hung up")
                if "progress" not in reply:
                    return reply
                if progress is not None:
                    progress.append(reply["progress"])

    def pids(self, wanted):
        """Of this node, whoever their parent is by now; wanted: of a command line."""
        found = []
        for pid in filter(str.isdigit, os.listdir("/proc")):
            try:
                with open(f"/proc/{pid}/cmdline", "rb") as f:
                    if not wanted(f.read().split(b"\0")):
                        continue
                with open(f"/proc/{pid}/environ", "rb") as f:
                    if f"HAVEN_RUN_DIR={self.run}".encode() in f.read().split(b"\0"):
                        found.append(int(pid))
            except OSError:
                continue
        return found

    def workers(self, spare=False):
        """Workers that have a move (spare: that wait for one)."""
        return self.pids(lambda argv: argv[0].endswith(b"haven-migrate-worker") and (b"spare" in argv) == spare)

    def processes(self):
        """migrated and what it has started: workers, spares, signers."""
        return self.pids(lambda argv: b"/migrate" in argv[0] or argv[0].endswith(b"haven-migrate-signer"))

    def memory(self):
        """KiB of their own of all of them, and how many they are."""
        total, pids = 0, self.processes()
        for pid in pids:
            try:
                with open(f"/proc/{pid}/status", encoding="ascii") as f:
                    total += next((int(line.split()[1]) for line in f if line.startswith("RssAnon:")), 0)
            except OSError:
                continue
        return total, len(pids)

    def remove_blackbox(self):
        """A daemon that was killed leaves libqb's ring behind."""
        for f in glob.glob(f"/dev/shm/qb-migrated-{self.proc.pid}-*"):
            with contextlib.suppress(FileNotFoundError):        # two threads may have killed it
                os.unlink(f)

    def stop_migrated(self):
        self.proc.terminate()
        self.proc.wait()

    def stop(self):
        if self.proc.poll() is None:
            self.proc.terminate()
            try:
                self.proc.wait(30)
            except subprocess.TimeoutExpired:
                self.proc.kill()
                self.proc.wait()
        self.hv.close()
        if self.ha:
            self.ha.close()
        if self.domain:
            self.domain.set_copy("destroyed")


class Proxy:
    """TCP from its port to a node's.  At octet `at` of direction out (source to target) or back: what is None or "rst": both ways end,
    "rst" with a reset; "stall": no more octets pass; "flip": one bit of that octet changes; "black": nothing passes any more, on any
    connection, until `open` is set; "gone": both ways end, and nobody listens any more."""

    def __init__(self, to_port, direction="out", at=None, what=None, address="127.0.0.1", port=0):
        self.open = threading.Event()
        self.open.set()
        self.greetings = []                # the first octets of each connection
        self.to, self.direction, self.at, self.what = to_port, direction, at, what
        self.sock = socket.socket(socket.AF_INET6 if ":" in address else socket.AF_INET)
        self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        self.sock.bind((address, port))
        self.sock.listen(16)
        self.port = self.sock.getsockname()[1]
        self.count = {"out": 0, "back": 0}
        self.done = False
        self.pairs = []
        self.acceptor = threading.Thread(target=self.accept, daemon=True)
        self.acceptor.start()

    def accept(self):
        while True:
            try:
                a, _ = self.sock.accept()
            except OSError:
                return
            self.open.wait()
            b = socket.create_connection(("127.0.0.1", self.to))
            for s in (a, b):
                s.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            self.pairs.append((a, b))
            threading.Thread(target=self.pump, args=(a, b, "out"), daemon=True).start()
            threading.Thread(target=self.pump, args=(b, a, "back"), daemon=True).start()

    def cut(self):
        for pair in self.pairs:
            self.end(*pair)

    def end(self, *socks):
        for s in socks:
            try:
                if self.what == "rst":
                    s.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                else:
                    s.shutdown(socket.SHUT_RDWR)
            except OSError:
                pass
            s.close()

    def pump(self, a, b, way):
        first = way == "out"
        while True:
            try:
                data = a.recv(65536)
            except OSError:
                data = b""
            self.open.wait()
            if first and data:
                self.greetings.append(data[:32])
                first = False
            if not data:
                try:
                    b.shutdown(socket.SHUT_WR)
                except OSError:
                    pass
                return
            if way == self.direction and self.at is not None and not self.done and self.count[way] + len(data) > self.at:
                keep = self.at - self.count[way]
                self.done = True
                if self.what == "black":
                    self.open.clear()
                    self.open.wait()
                    keep = len(data)
                elif self.what == "gone":
                    self.close()
                    self.cut()
                    return
                if self.what == "black":
                    pass
                elif self.what == "flip":
                    data = data[:keep] + bytes([data[keep] ^ 1]) + data[keep + 1:]
                else:
                    try:
                        b.sendall(data[:keep])
                    except OSError:
                        pass
                    if self.what == "stall":
                        time.sleep(60 * SLOW)
                    self.end(a, b)
                    return
            self.count[way] += len(data)
            try:
                b.sendall(data)
            except OSError:
                return

    def close(self):
        self.open.set()
        try:
            self.sock.shutdown(socket.SHUT_RDWR)
        except OSError:
            return                         # it was closed before
        self.acceptor.join()
        self.sock.close()
