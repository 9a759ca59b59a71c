# SPDX-License-Identifier: GPL-2.0-or-later
"""What the cases of tests/migrated/test-move share: two migrated processes on loopback, how a move is asked for and looked at, and a source's end of
the wire. A case is a function of a World in one of the moves_*.py."""
import json
import os
import socket
import ssl
import struct
import sys
import tempfile
import time

TOP = os.environ.get("HAVEN_TOP") or os.path.join(os.path.dirname(os.path.abspath(__file__)), "../..")
BUILD = os.environ.get("HAVEN_BUILD") or os.path.join(TOP, "build")
sys.path[:0] = [os.path.join(TOP, "tests/migrated"), os.path.join(TOP, "tests")]
from doubles import Domain, Node, SLOW, free_ports  # noqa: E402
from hostclock import Clock, comes  # noqa: E402

UUID = "11111111-2222-3333-4444-555555555555"
CONFIG = {"name": "demo", "uuid": UUID, "type": "pv", "memory_kib": 16384, "vif": [], "disk": []}
BASE = tempfile.mkdtemp(prefix="haven-test-move-")
CA, OTHER_CA, REVOKED_CA = (f"{BASE}/{n}" for n in ("ca", "other-ca", "revoked-ca"))


class Failed(Exception):
    pass


class NothingTested(Failed):
    """What was to be seen at its work was over too soon: where the host lost time, the case is run again, with w.pace larger."""


def check(cond, text):
    if not cond:
        raise Failed(text)


def wait(cond, text, seconds=20):
    """Seconds of the host's (hostclock)."""
    if not comes(cond, seconds * SLOW):
        raise Failed(f"timed out after {seconds * SLOW} s: {text}")


class World:
    """Two nodes, a running domain on n1."""

    def __init__(self, base, ca, links=1, pace=1, **kw):
        self.pace = pace
        self.base = tempfile.mkdtemp(dir=base)
        self.ports = free_ports(2)
        kw = {"silence_s": 3 * pace, **kw}
        self.n1 = Node(self.base, "n1", self.ports[0].port, BUILD, f"{ca}/n1", **kw)
        self.n2 = Node(self.base, "n2", self.ports[1].port, os.environ.get("HAVEN_PEER_BUILD") or BUILD, f"{ca}/n2", **kw)
        self.n1.other, self.n2.other = self.n2, self.n1
        self.source = self.n1.domain = Domain(self.n1, CONFIG, 3, "running", CONFIG["memory_kib"] // 4)
        self.source.fill()
        self.links, self.attempt = links, 0

    def close(self):
        self.n1.stop()
        self.n2.stop()
        for p in self.ports:
            p.close()

    def move(self, port=None, frm=None, to=None, progress=None, **options):
        if frm:                            # the guest came there just now: that move's worker lets go of it after its last word
            wait(lambda: not (frm.domain and frm.domain.channel), f"the end of the move to {frm.name}")
        frm, to = frm or self.n1, to or self.n2
        self.attempt += 1
        return frm.request({"op": "move", "uuid": UUID, "domid": 3, "attempt": self.attempt, "target": to.name, "address": "127.0.0.1",
                            "port": port or to.port, "options": dict({"connections": self.links} if self.links else {}, **options)}, progress)

    def preflight(self, port=None, target="n2", config=None):
        return self.n1.request({"op": "preflight", "config": config or CONFIG, "target": target, "address": "127.0.0.1",
                                "port": port or self.n2.port})

    def running(self):
        return [n.name for n in (self.n1, self.n2) if n.domain and n.domain.copy == "running"]

    def stays(self, reply, words=""):
        """The move failed and nothing happened."""
        check(not reply["ok"], f"it succeeded: {reply}")
        check(reply.get("state") == "running-here", f"state: {reply}")
        check(words in reply["error"], f"the error does not say '{words}': {reply['error']}")
        wait(lambda: self.n2.domain is None, f"the target's copy goes ({self.n2.domain and self.n2.domain.copy})")
        wait(lambda: self.running() == ["n1"], f"the source runs ({self.source.copy})")
        check("handed" not in self.source.log, "the source was handed over")
        self.advances(self.n1)

    def moved(self, reply):
        check(reply["ok"] and reply["state"] == "running-there", f"{reply}")
        check(self.running() == ["n2"], f"running: {self.running()}")
        check(self.n2.domain.loaded["same"], "the memory differs")
        self.advances(self.n2)

    def advances(self, node):
        was = node.domain.counter
        wait(lambda: node.domain.counter > was, f"the guest on {node.name} goes on")


def case(fn):
    CASES.append(fn)
    return fn


def waits(seconds):
    """A case that mostly waits, for time-outs or at a bandwidth: test-move runs it beside others, those that take longest first."""
    def mark(fn):
        fn.waits = seconds
        return fn
    return mark


CASES = []


def preamble(further=False, token=bytes(16)):
    return b"HAVENMIG" + struct.pack("<HHI", 1, int(further), 0) + token


def target_tls():
    """For a target of our own in n2's place: what migrated asks of both ends, and no tickets."""
    ctx = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    ctx.load_cert_chain(f"{CA}/n2/node.crt", f"{CA}/n2/node.key")
    ctx.load_verify_locations(f"{CA}/n2/ca.crt")
    ctx.verify_mode = ssl.CERT_REQUIRED
    ctx.num_tickets = 0
    return ctx


def tls(w, version=ssl.TLSVersion.TLSv1_3, cert="n1", ca=None, greet=None):
    """A connection to n2 as n1, TLS up, or the error."""
    ctx = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    ctx.minimum_version = ctx.maximum_version = version
    ctx.load_verify_locations(f"{CA}/n1/ca.crt")
    if cert:
        ctx.load_cert_chain(f"{ca or CA}/{cert}/node.crt", f"{ca or CA}/{cert}/node.key")
    s = socket.create_connection(("127.0.0.1", w.n2.port))
    s.settimeout(60 * SLOW)
    s.sendall(preamble() if greet is None else greet)
    return ctx.wrap_socket(s, server_hostname="n2")


def record(kind, body):
    return struct.pack("<HHI", kind, 0, len(body)) + body


def hello(**kw):
    h = {"versions": [1], "haven": "x", "mode": "move", "source": "n1", "target": "n2", "uuid": UUID, "domid": 3, "attempt": 9,
         "config": CONFIG, "frames": 4096 + 8, "connections": 1, "cpu_features": []}
    h.update(kw)
    return record(1, json.dumps({k: v for k, v in h.items() if v is not None}).encode())


def read_record(s):
    head = b""
    while len(head) < 8:
        part = s.recv(8 - len(head))
        if not part:
            return None, b""
        head += part
    kind, _, n = struct.unpack("<HHI", head)
    body = b""
    while len(body) < n:
        part = s.recv(min(n - len(body), 65536))
        if not part:
            return None, b""
        body += part
    return kind, body


def until(s, kind):
    """Reads on until a record of that kind, or the end."""
    try:
        while True:
            k, body = read_record(s)
            if k is None or k == kind:
                return body if k else None
            if k == 13:
                return "abort: " + body.decode()
    except (OSError, ssl.SSLError):
        return None


def ended(w, s, what):
    answer = until(s, 10)
    check(answer is None or str(answer).startswith("abort"), f"{what}: READY came")
    s.close()
    wait(lambda: w.n2.domain is None, f"{what}: the incoming copy goes")


def flood(w, stop, address, send, hold):
    """Connections from that address without end, `hold` of them at a time; send(socket) begins each."""
    held = []
    while not stop.is_set():
        try:
            s = socket.create_connection(("127.0.0.1", w.n2.port), 2, (address, 0))
            s.settimeout(2)
            held.append(s)
            send(s)
        except OSError:
            time.sleep(0.01)
        if len(held) > hold:
            held.pop(0).close()
        time.sleep(0.002)
    for s in held:
        s.close()


def big_guest(w):
    """Enough memory that a cut has a before and an after."""
    w.source.set_copy("destroyed")
    w.source = w.n1.domain = Domain(w.n1, BIG, 3, "running", BIG["memory_kib"] // 4)
    w.source.fill(holes=0.2)


PERCENT = 5 * SLOW                    # of each deadline: a local daemon's is half a second


def kill_worker(node):
    def kill():
        for pid in node.workers():
            os.kill(pid, 9)
    return kill


def kill_migrated(node):
    def kill():
        node.proc.kill()
        node.proc.wait()
        node.remove_blackbox()
    return kill


def answers(node):
    """Popen.poll() says None of a process that was killed while another thread waits for it."""
    try:
        return node.request({"op": "ping"}, timeout=20).get("ok", False)
    except (OSError, RuntimeError):
        return False


def start_over(w):
    for n in (w.n1, w.n2):
        if n.domain:
            n.domain.set_copy("destroyed")
        n.domain = None
        n.hv.fail.clear()
        if not answers(n):
            n.proc.wait()
            n.start()
    w.source = w.n1.domain = Domain(w.n1, CONFIG, 3, "running", CONFIG["memory_kib"] // 4)
    w.source.fill()


def patiently(w, nodes, attempt):
    """attempt(more) with PERCENT of each deadline of these nodes, `more` times.  Where the host lost time meanwhile it may be the host that
    was late: once more then, from the beginning, all deadlines alike longer."""
    for more in (1, 2, 4, 8, 100 // PERCENT):
        clock = Clock()
        for n in nodes:
            n.hurry(PERCENT * more)
        try:
            attempt(more)
            return
        except Failed:
            if more * PERCENT >= 100 or clock.lost() < 0.1:
                raise
            print(f"     the host lost {clock.lost():.1f} s: again, with deadlines twice as long")
        wait(lambda: not w.n1.workers() and not w.n2.workers(), "the workers end")
        start_over(w)


def cap_mbs(w):
    return max(1, 20 // w.pace)


def postcopy(w, port=None, progress=None, **options):
    return w.move(port=port, progress=progress, **dict({"bandwidth_mbs": cap_mbs(w), "converge": "postcopy", "deadline_s": 60, "max_downtime_ms": 100},
                                                       **options))


BIG = dict(CONFIG, memory_kib=65536)
