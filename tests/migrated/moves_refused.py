# SPDX-License-Identifier: GPL-2.0-or-later
"""Moves that are refused before a byte moves; and who is let in at all: TLS, certificates, strangers. Run by tests/migrated/test-move."""
import os
import socket
import ssl
import struct
import subprocess
import threading
import time

from doubles import Domain, SLOW
from hostclock import Clock, comes
from move_world import (CA, CONFIG, NothingTested, OTHER_CA, REVOKED_CA, UUID, case, check, flood, hello, preamble, record, target_tls, tls, until, wait,
                        waits)


# --- refusals before a byte moves ------------------------------------------------------------------------------------------

@case
def preflight_names_what_is_missing(w):
    began = Clock()
    w.n2.hv.free_kib, w.n2.hv.features = 1000, ["sse2"]
    config = dict(CONFIG, vif=[{"mac": "00:16:3e:00:00:01", "bridge": "xenbr77"}, {"bridge": "../../etc"}],
                  disk=[{"backend": "phy", "vdev": "xvda", "target": "/dev/no-such-disk"}])
    w.n2.hv.problems = ["disk xvda: /dev/no-such-disk: No such file", "disk \x1b[2Jxvdb"]
    w.source.disk_sectors = {"xvda": 2048}
    problems = w.preflight(config=config)["problems"]
    text = "; ".join(problems)
    for words in ("memory", "avx2", "xenbr77", "is no name of a bridge", "n2: disk xvda: /dev/no-such-disk", "disk \\x1b[2Jxvdb"):
        check(words in text, f"{words} not in: {text}")
    check(len(problems) == 6, f"{len(problems)} problems: {text}")
    check(began.took() < SLOW, f"took {began.took():.1f} s")
    check(w.n2.hv.takes["disk_sectors"] == {"xvda": 2048} and w.n2.hv.takes["config"] == config, str(w.n2.hv.takes))
    w.stays(w.move(), "avx2")
    check(w.n2.hv.takes["disk_sectors"] == {"xvda": 2048}, str(w.n2.hv.takes))
    check("incoming-accept" not in w.n2.ha.seen, "ha-agentd was asked in spite of problems")


@case
def the_guests_own_cpu_counts(w):
    """A guest of the cluster's baseline moves to a CPU that has no more than that; one that was started with more does not, and hears of what."""
    w.n1.hv.features = ["sse2", "avx2", "avx512f"]
    w.stays(w.move(), "avx512f")
    w.source.features = ["sse2", "avx512f"]
    w.stays(w.move(), "avx512f")
    w.source.features = ["sse2", "avx2"]
    w.moved(w.move())


@case
def a_copy_name_or_domid_there(w):
    w.n2.domain = Domain(w.n2, dict(CONFIG, uuid="99999999-2222-3333-4444-555555555555"), 3, "running", 16)
    check("another domain named demo" in str(w.preflight()["problems"]), "name")
    w.n2.domain.config = dict(w.n2.domain.config, name="other")
    # a move's HELLO carries the domid
    reply = w.move()
    check(not reply["ok"] and "domain id 3 is taken" in reply["error"], str(reply))
    w.n2.domain = None
    w.stays(reply)


@case
def cluster_says_no(w):
    w.n2.ha.fail["incoming-accept"] = "attempt 1 is not the one I acknowledged"
    w.stays(w.move(), "is not the one I acknowledged")


@case
def nobody_listens(w):
    w.stays(w.move(port=1), "is migrated running there")


@case
def to_itself_and_unknown(w):
    reply = w.n1.request({"op": "move", "uuid": UUID, "domid": 3, "attempt": 1, "target": "n1", "address": "127.0.0.1", "port": w.n1.port})
    w.stays(reply, "already")
    reply = w.n1.request({"op": "move", "uuid": UUID.replace("1", "7"), "domid": 3, "attempt": 1, "target": "n2", "port": w.n2.port,
                          "address": "127.0.0.1"})
    w.stays(reply, "not on this node")
    check(w.n1.request({"op": "move"})["code"] == "EINVAL", "no fields")
    check(w.n1.request({"op": "nonsense"})["code"] == "ENOSYS", "unknown op")


# --- TLS ----------------------------------------------------------------------------------------------------------------------

@case
def certificate_of_another_ca(w):
    w.n2.use_pki(f"{OTHER_CA}/n2")
    w.stays(w.move(), "not one of this cluster's CA")
    # and the other way round: the target refuses the source
    w.n2.use_pki(f"{CA}/n2")
    w.n1.use_pki(f"{OTHER_CA}/n1")
    subprocess.run(["cp", f"{CA}/n1/ca.crt", f"{CA}/n1/crl.pem", f"{w.n1.conf}/pki/"], check=True)
    w.stays(w.move(), "refuses this node's certificate")


@case
def certificate_of_another_node(w):
    w.n2.use_pki(f"{CA}/n3")
    w.stays(w.move(), "names another node")


@case
def revoked_certificate(w):
    subprocess.run(["cp", f"{REVOKED_CA}/pki/crl.pem", f"{w.n1.conf}/pki/crl.pem"], check=True)
    subprocess.run(["cp", f"{REVOKED_CA}/pki/ca.crt", f"{w.n1.conf}/pki/ca.crt"], check=True)
    w.n2.use_pki(f"{REVOKED_CA}/n2")
    w.stays(w.move(), "revoked")


@case
def missing_key(w):
    os.unlink(f"{w.n1.conf}/pki/node.key")
    w.stays(w.move(), "haven cert issue")


def old_target(version):
    """A target with the right certificate that speaks no TLS but that."""
    ctx, sock = target_tls(), socket.create_server(("127.0.0.1", 0))
    ctx.minimum_version = ctx.maximum_version = version

    def run():
        while True:
            c, _ = sock.accept()
            try:
                c.recv(32, socket.MSG_WAITALL)
                ctx.wrap_socket(c, server_side=True).recv(1)
            except (OSError, ssl.SSLError):
                pass
            c.close()
    threading.Thread(target=run, daemon=True).start()
    return sock.getsockname()[1]


@case
def there_is_no_other_way_than_tls_1_3(w):
    """Not in the clear, with whatever greeting; nor from this end, to a target whose certificate is right."""
    for greeting in (b"", preamble(), preamble(True)):
        s = socket.create_connection(("127.0.0.1", w.n2.port))
        s.settimeout(20 * SLOW)
        s.sendall(greeting + hello())
        got = b""
        try:
            while (part := s.recv(4096)):
                got += part
        except OSError:
            pass
        s.close()
        # at most TLS's own alert
        check(len(got) < 16 and w.n2.domain is None and "incoming" not in w.n2.hv.seen, f"{greeting[:10]}: {got!r}, {w.n2.hv.seen}")
    w.stays(w.move(port=old_target(ssl.TLSVersion.TLSv1_2)), "TLS")
    reply = w.move()
    w.moved(reply)
    check(reply["tls"] == "TLSv1.3", str(reply))


@case
def tls_1_2_and_no_certificate(w):
    for kw in ({"version": ssl.TLSVersion.TLSv1_2}, {"cert": None}):
        try:
            s = tls(w, **kw)
            check(s.recv(1) == b"", f"{kw}: accepted")
        except (ssl.SSLError, ConnectionError):
            pass
    w.moved(w.move())


@case
def garbage_from_strangers(w):
    """Connections that never become TLS must not keep a real one out for longer than their time."""
    held = []
    for data in (b"GET / HTTP/1.0\r\n\r\n", b"\0" * 64, preamble()[:7], preamble(True, b"x" * 16) + b"zz", preamble() + os.urandom(500), b""):
        s = socket.create_connection(("127.0.0.1", w.n2.port))
        try:
            s.sendall(data)
        except OSError:
            pass
        held.append(s)
    w.moved(w.move())
    for s in held:
        s.close()


class Watch(threading.Thread):
    """The most that n2's processes had at a time."""

    def __init__(self, w):
        super().__init__(daemon=True)
        self.w, self.stop, self.kib, self.processes, self.workers, self.fds = w, threading.Event(), 0, 0, 0, 0
        self.start()

    def run(self):
        while not self.stop.is_set():
            kib, n = self.w.n2.memory()
            self.kib, self.processes = max(self.kib, kib), max(self.processes, n)
            # with the spares: one that a stranger was given to is still called so
            self.workers = max(self.workers, len(self.w.n2.workers()) + len(self.w.n2.workers(spare=True)))
            try:
                self.fds = max(self.fds, len(os.listdir(f"/proc/{self.w.n2.proc.pid}/fd")))
            except OSError:
                pass
            time.sleep(0.05)

    def end(self):
        self.stop.set()
        self.join()
        return self


WORKER_KIB = 3 * 1024 * (1 if SLOW == 1 else 10)      # of its own, and its signer's; a sanitizer takes more


@case
def a_flood_of_strangers(w):
    """Hundreds of connections from an address that has no certificate: silent ones, ones with a greeting that never begin TLS, ones that begin it
    with garbage or a record as long as can be.  Another node's move begins and ends while they last, and they cost what eight workers cost."""
    before, _ = w.n2.memory()
    hello_of_16k = b"\x16\x03\x01\x40\x00\x01\x00\x3f\xfc\x03\x03" + os.urandom(4000)
    stop, threads = threading.Event(), []
    for address, send, hold in (("127.0.0.7", lambda s: None, 300), ("127.0.0.8", lambda s: s.sendall(preamble()), 200),
                                ("127.0.0.9", lambda s: s.sendall(preamble() + os.urandom(2000)), 50),
                                ("127.0.0.10", lambda s: s.sendall(preamble() + hello_of_16k), 50),
                                ("127.0.0.11", lambda s: s.sendall(preamble(True, os.urandom(16)) + b"x" * 1000), 50)):
        threads.append(threading.Thread(target=flood, args=(w, stop, address, send, hold), daemon=True))
        threads[-1].start()
    watch = Watch(w)
    # six of its kinds keep their workers, beside the spare; who fails at once comes and goes between two looks
    wait(lambda: watch.workers >= 6, "the flood is there")
    replies = []
    for frm, to in ((w.n1, w.n2), (w.n2, w.n1), (w.n1, w.n2)):
        replies.append(w.move(frm=frm, to=to))
        if "nothing heard" in replies[-1].get("error", ""):
            stop.set()
            raise NothingTested(f"in the flood: {replies[-1]['error']}")
        check(replies[-1]["ok"], f"in the flood: {replies[-1]}")
        frm.hv.op_destroy({})
    time.sleep(1)
    watch.end()
    stop.set()
    for t in threads:
        t.join()
    # eight strangers, the move, the next spare, and one of each kind that is just beginning or ending
    check(watch.workers <= 8 + 3, f"{watch.workers} workers")
    check(watch.kib < before + 12 * WORKER_KIB, f"{watch.kib} KiB of {watch.processes} processes, {before} before")
    check(watch.fds < 64 + 60, f"{watch.fds} descriptors")
    wait(lambda: not w.n2.workers(), "the strangers' workers go", 20)
    wait(lambda: w.n2.memory()[0] < before + 2 * WORKER_KIB, "their memory is given back")


@case
def a_flood_with_a_certificate(w):
    """A node of the cluster that means harm: it shows its certificate and says nothing, or a HELLO as large as can be, or announces what it never
    sends, or sends what nobody asked for.  Others still get in, and what it announces costs nothing."""
    w.n2.hurry(min(100, 30 * w.pace) * SLOW)
    before, _ = w.n2.memory()
    stop, held, lock = threading.Event(), [], threading.Lock()
    big = record(1, b'{"x":[' + b"{}," * 40000 + b"{}]}")
    deep = record(1, b"[" * 100000)
    state = record(8, b"x" * 100)[:8].replace(struct.pack("<I", 100), struct.pack("<I", 16 << 20))

    def calls(data):
        ctx = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        ctx.load_verify_locations(f"{CA}/n1/ca.crt")
        ctx.load_cert_chain(f"{CA}/n3/node.crt", f"{CA}/n3/node.key")
        while not stop.is_set():
            try:
                s = socket.create_connection(("127.0.0.1", w.n2.port), 2, ("127.0.0.7", 0))
                s.settimeout(3 * SLOW)
                s.sendall(preamble())
                s = ctx.wrap_socket(s, server_hostname="n2")
                s.sendall(data)
                with lock:
                    held.append(s)
            except OSError:
                time.sleep(0.05)

    threads = [threading.Thread(target=calls, args=(d,), daemon=True) for d in (b"", b"", big, deep, record(0x8077, b"y" * 60000) * 20 + state)]
    for t in threads:
        t.start()
    watch = Watch(w)
    if not comes(lambda: watch.workers >= 20, 20 * SLOW):   # who says nothing is gone before enough have come
        stop.set()
        raise NothingTested(f"no flood: {watch.workers} workers at the most")
    reply = w.move()
    check(reply["ok"], f"in the flood: {reply}")
    time.sleep(1)
    watch.end()
    stop.set()
    for t in threads:
        t.join()
    for s in held:
        s.close()
    check(watch.workers <= 32, f"{watch.workers} workers")
    check(watch.kib < before + 33 * WORKER_KIB, f"{watch.kib} KiB of {watch.processes} processes, {before} before")
    wait(lambda: w.n2.memory()[1] <= 3, "its workers go, all but the spare and its signer", 20)
    # what a source that is let in announces and sends without end costs its worker nothing either
    w.n2.hv.op_destroy({})
    watch = Watch(w)
    s = tls(w)
    s.sendall(hello())
    check(until(s, 3) is not None, "no ACCEPT")
    for _ in range(400):
        s.sendall(record(0x8077, b"y" * 60000) + record(0x8001, struct.pack("<Q", 1)) * 50)
    pages = record(5, struct.pack("<II", 256, 0) + struct.pack("<256Q", *range(256)) + b"z" * (256 * 4096))
    for _ in range(100):
        s.sendall(pages)
    s.sendall(state + b"x" * 1000)
    time.sleep(0.3)
    watch.end()
    s.close()
    check(watch.kib < before + 3 * WORKER_KIB, f"{watch.kib} KiB of {watch.processes} processes, {before} before")


class FakeTarget:
    """Listens where a target should, and does `what` to who connects."""

    def __init__(self, what):
        self.sock = socket.socket()
        self.sock.bind(("127.0.0.1", 0))
        self.sock.listen(4)
        self.port = self.sock.getsockname()[1]
        threading.Thread(target=self.run, args=(what,), daemon=True).start()

    def run(self, what):
        while True:
            c, _ = self.sock.accept()
            if what == "garbage":
                c.sendall(os.urandom(4000))
            elif what == "close":
                c.close()
                continue
            time.sleep(120 * SLOW)
            c.close()


@waits(3)
@case
def target_that_is_none(w):
    for what, words in (("garbage", "TLS"), ("silence", "nothing heard"), ("close", "")):
        began = Clock()
        w.stays(w.move(port=FakeTarget(what).port), words)
        check(began.took() < 8 * SLOW, what)
