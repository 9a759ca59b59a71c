# SPDX-License-Identifier: GPL-2.0-or-later
"""Post-copy, and page services that mean harm. Run by tests/migrated/test-move."""
import json
import socket
import ssl
import struct
import threading
import time

from doubles import Domain, Proxy, SLOW
from hostclock import Clock
from move_world import (CONFIG, NothingTested, UUID, big_guest, cap_mbs, case, check, hello, kill_migrated, kill_worker, postcopy, read_record, record,
                        target_tls, start_over, tls, until, wait, waits)


def fast_writer(w, kib=32768, hot=5000):
    """It writes more than the cap of these moves lets through, so that pre-copy never ends."""
    w.source.set_copy("destroyed")
    config = dict(CONFIG, memory_kib=kib)
    w.source = w.n1.domain = Domain(w.n1, config, 3, "running", kib // 4)
    w.source.fill(holes=0.2)
    w.source.hot, w.source.pages_per_ms = range(100, 100 + hot), 60


def arrived(w, reply):
    """All of it is there, as it was; the source's copy serves nobody any more, once."""
    check(reply["ok"] and reply["state"] == "running-there" and reply["postcopy"] and reply["owed_mib"] > 1, f"{reply}")
    d = w.n2.domain
    check(w.running() == ["n2"] and d.loaded["same"] and not d.owed and not d.wrong, f"{w.running()}, {len(d.owed)} owed, wrong: {d.wrong[:5]}")
    check(w.source.log[-2:] == ["paused", "handed"] and w.source.served >= 1 and w.source.serves is None, f"{w.source.log}, {w.source.served}")
    w.advances(w.n2)


class Mover(threading.Thread):
    """A move beside the test; reply is its last word."""

    def __init__(self, fn):
        super().__init__(daemon=True)
        self.fn, self.reply = fn, None
        self.start()

    def run(self):
        try:
            self.reply = self.fn()
        except (RuntimeError, OSError) as e:
            self.reply = {"ok": False, "error": str(e), "died": True}

    def result(self, seconds=60):
        self.join(seconds * SLOW)
        check(self.reply is not None, "the move does not end")
        return self.reply


def under_way(w, least=500):
    """The guest runs at the target, writes what it wrote at the source, and pages are on their way: some have come, some have not."""
    wait(lambda: w.n2.domain, "a copy at the target")
    w.n2.domain.hot = w.source.hot

    def owed():
        if w.n2.domain and w.n2.domain.loaded and w.n2.domain.copy == "running" and not w.n2.domain.owed:
            raise NothingTested("the pages came before anybody looked")
        return w.n2.domain and w.n2.domain.copy == "running" and len(w.n2.domain.owed) > least
    wait(owed, "pages are owed")
    wait(lambda: len(w.n1.workers()) < 2, "the mover has heard that it runs")


@waits(3)
@case
def pages_come_later(w):
    fast_writer(w)
    progress, clock = [], Clock()
    m = Mover(lambda: postcopy(w, progress=progress))
    under_way(w, 1)
    reply = m.result()
    arrived(w, reply)
    check(reply["pages_requested"] > 0, str(reply))
    owed_ms = reply["owed_mib"] * 1048576 / cap_mbs(w) / 1000          # what they take over this wire: it did not stand still for that
    doubles_ms = 1000 * sum(d.took[op] for d, op in ((w.source, "state-save"), (w.n2.domain, "pages-owed"), (w.n2.domain, "state-load")))
    check(reply["downtime_vcpu_ms"] < owed_ms / 2 * SLOW + 1000 * clock.lost() + doubles_ms, f"{owed_ms:.0f} ms of pages owed: {reply}")
    check(any(p["phase"] == "postcopy" and p["owed_mib"] > 0 for p in progress), "progress does not tell of it")
    percents = [p["percent"] for p in progress]
    check(percents == sorted(percents), f"progress runs backwards: {percents}")
    check(w.n1.hv.seen.count("pages-served") == 1, str(w.n1.hv.seen))


@waits(10)
@case
def the_deadline_cuts_a_round(w):
    """In the first round, with one connection and with several, with and without acknowledgements: what had not gone is owed."""
    for links, reconnect_s in ((1, 10), (3, 10), (2, 0)):
        fast_writer(w, 49152)
        w.links = links
        reply = postcopy(w, deadline_s=1, reconnect_s=reconnect_s)
        arrived(w, reply)
        check(reply["rounds"] <= 2 and reply["owed_mib"] > 8, str(reply))
        start_over(w)


@case
def an_idle_guest_needs_no_post_copy(w):
    reply = postcopy(w, bandwidth_mbs=0, max_downtime_ms=300)
    w.moved(reply)
    check(not reply["postcopy"], str(reply))


@waits(5)
@case
def a_target_without_post_copy_gets_a_slower_guest(w):
    fast_writer(w, 16384, 2500)
    incoming = w.n2.hv.op_incoming

    def without(req):
        reply = incoming(req)
        w.n2.domain.postcopy = False
        return reply
    w.n2.hv.op_incoming = without
    reply = postcopy(w, deadline_s=40 * SLOW * w.pace)
    w.moved(reply)
    check(not reply["postcopy"], str(reply))
    if not w.source.throttles:
        raise NothingTested("the guest was no faster than the wire")


@waits(13)
@case
def a_link_lost_after_the_switch_goes_on(w):
    for what in ("cut", "black"):
        fast_writer(w)
        p = Proxy(w.n2.port)
        m = Mover(lambda p=p: postcopy(w, port=p.port))
        under_way(w)
        if what == "black":
            p.open.clear()
            time.sleep(5 * SLOW)
        else:
            p.cut()
        check(m.reply is None and w.running() == ["n2"] and w.source.copy == "handed", f"{what}: {m.reply}, {w.source.copy}")
        owed = len(w.n2.domain.owed)
        p.open.set()
        arrived(w, m.result())
        if not owed:
            raise NothingTested("the link was lost too late")
        p.close()
        start_over(w)


@waits(21)
@case
def a_page_service_killed_begins_again(w):
    """Either worker, then either migrated: what serves the pages is begun again, and nothing is lost or doubled."""
    for how, node in ((kill_worker, w.n1), (kill_worker, w.n2), (kill_migrated, w.n1), (kill_migrated, w.n2)):
        fast_writer(w)
        progress = []
        m = Mover(lambda progress=progress: postcopy(w, bandwidth_mbs=max(1, 14 // w.pace), progress=progress))
        under_way(w)
        how(node)()
        if how is kill_migrated:
            node.start()
        wait(lambda: not w.n2.domain.owed and w.source.served, "all pages come")
        reply = m.result()
        check(reply["ok"] or reply.get("died"), str(reply))
        percents = [p["percent"] for p in progress]
        check(percents == sorted(percents), f"progress runs backwards: {percents}")
        check(w.running() == ["n2"] and not w.n2.domain.wrong and w.source.copy == "handed", f"{w.running()}, {w.n2.domain.wrong[:5]}")
        start_over(w)


@waits(6)
@case
def the_guest_ends_before_all_has_come(w):
    """Its source is told, at once or when the link is back: its copy serves nobody."""
    for cut in (False, True):
        fast_writer(w)
        p = Proxy(w.n2.port)
        m = Mover(lambda p=p: postcopy(w, port=p.port))
        under_way(w)
        if cut:
            p.open.clear()
        w.n2.hv.op_destroy({})
        time.sleep(1 if cut else 0)
        p.open.set()
        wait(lambda: w.source.served, "the source is told", 30)
        reply = m.result()
        check(not reply["ok"] and "ended" in reply["error"] and w.running() == [], f"{reply}, {w.running()}")
        p.close()
        start_over(w)


@waits(8)
@case
def a_failure_before_the_hand_over_leaves_it_running(w):
    """After the page service is up, before the mark: the guest runs on at the source, and nothing serves it any more."""
    for op in ("pages-owed", "state-load"):
        fast_writer(w)
        w.n2.hv.fail.clear()
        incoming = w.n2.hv.op_incoming

        def failing(req, op=op, incoming=incoming):
            reply = incoming(req)
            w.n2.domain.fail[op] = "the double says no"
            return reply
        w.n2.hv.op_incoming = failing
        w.stays(postcopy(w), "the double says no")
        w.n2.hv.op_incoming = incoming
        wait(lambda: not w.n1.workers() and not w.n2.workers(), "the page service ends")
    reply = postcopy(w)
    arrived(w, reply)


def pages_hello(**kw):
    return hello(versions=[1, 2], mode="pages", attempt=kw.pop("attempt", 1), **kw)


@waits(6)
@case
def hostile_page_services(w):
    """A source that pushes what is not owed, what is garbled, what is no frame, too much; another node's: nothing of it reaches the guest."""
    fast_writer(w)
    p = Proxy(w.n2.port)
    m = Mover(lambda: postcopy(w, port=p.port))
    under_way(w)
    p.open.clear()                                     # the real one is away meanwhile
    d = w.n2.domain
    time.sleep(1)                                      # what was on its way has come
    owed = set(d.owed)
    present = next(f for f in range(6000, d.ram) if f not in owed)
    was = bytes(d.mm[present * 4096:present * 4096 + 4096])
    page = b"\xbb" * 4096
    push = lambda f, data=page, n=1: struct.pack("<II", n, 0) + struct.pack("<Q", f) + data + bytes(16)  # noqa: E731
    bodies = [record(21, push(next(iter(owed)))), record(21, push(present)), record(21, push(1 << 40)), record(21, push(5, n=9)), record(21, b"x" * 20),
              record(22, struct.pack("<IIQQ", 1, 0, 0, 1 << 60) + bytes(16)), record(19, struct.pack("<IIQQ", 1, 1, 0, 1)), record(5, b"x" * 4112),
              record(20, struct.pack("<IIQ", 1, 0, 5)), record(11, bytes(8)), b"\xff" * 64]
    for body in bodies:
        s = tls(w)
        s.sendall(pages_hello(attempt=w.attempt))
        check(json.loads(until(s, 2))["pages"] == "ok", "a page service")
        try:
            s.sendall(body)
        except (OSError, ssl.SSLError):
            pass
        until(s, 10)
        s.close()
    for cert, kw in (("n3", {"source": "n3", "attempt": w.attempt}), ("n1", {"attempt": w.attempt + 1}), ("n1", {"attempt": w.attempt, "uuid": UUID[:-1] + "6"})):
        s = tls(w, cert=cert)
        s.sendall(pages_hello(**kw))
        check(json.loads(until(s, 2))["pages"] == "no", f"{cert} {kw}: let in")
    check(bytes(d.mm[present * 4096:present * 4096 + 4096]) == was and not d.wrong and set(d.owed) == owed, "something reached the guest")
    p.cut()
    p.open.set()
    arrived(w, m.result())
    p.close()


class PagesTarget:
    """A target that says yes to a page service, then asks for something."""

    def __init__(self, asks):
        self.asks, self.connections, self.pushed = asks, 0, 0
        self.ctx, self.sock = target_tls(), socket.create_server(("127.0.0.1", 0))
        self.port = self.sock.getsockname()[1]
        threading.Thread(target=self.run, daemon=True).start()

    def run(self):
        while True:
            c, _ = self.sock.accept()
            self.met()
            try:
                c.recv(32, socket.MSG_WAITALL)
                s = self.ctx.wrap_socket(c, server_side=True)
                s.settimeout(60 * SLOW)
                read_record(s)
                s.sendall(record(2, json.dumps({"version": 2, "problems": [], "node": "n2", "pages": "ok", "token": "00" * 16}).encode()))
                s.sendall(self.asks)
                while (got := read_record(s))[0] is not None:
                    self.took(s, *got)
            except (OSError, ssl.SSLError):
                pass
            c.close()
            self.connections += 1

    def met(self):
        """Somebody has connected."""

    def took(self, s, kind, body):
        self.pushed += kind in (21, 22)


@waits(15)
@case
def hostile_fetchers(w):
    """A target that asks for memory of a guest that still runs, for frames that are none, twice, or never says what it wants: it gets
    nothing, and the service is tried again and again."""
    big_guest(w)
    w.source.attempt = 1
    want = lambda *runs: record(19, struct.pack("<II", len(runs), 1) + b"".join(struct.pack("<QQ", *r) for r in runs))  # noqa: E731
    for copy, asks in (("running", want((0, 10))), ("handed", want((1 << 40, 1))), ("handed", want((0, 1 << 40))), ("handed", want((0, 10), (5, 1))),
                       ("handed", record(19, struct.pack("<II", 5, 1))), ("handed", record(20, struct.pack("<IIQ", 1, 0, 5))),
                       ("handed", record(24, bytes(7)))):
        t = PagesTarget(asks)
        serves = {"op": "pages", "uuid": UUID, "domid": 3, "attempt": 1, "target": "n2", "address": "127.0.0.1", "port": t.port, "bandwidth_mbs": 0}
        w.source.copy, w.source.serves = "handed", serves
        opened = w.n1.hv.op_serve_open

        def turns(req, opened=opened, copy=copy):      # by the time it is asked for, the copy may be another
            reply = opened(req)
            w.source.copy = copy
            return reply
        w.n1.hv.op_serve_open = turns
        w.n1.stop_migrated()
        w.n1.start()
        wait(lambda t=t: t.connections >= 1, f"{copy} {asks[:24]}: the service ends")
        w.n1.hv.op_serve_open = opened
        check(not t.pushed, f"{copy} {asks[:24]}: {t.pushed} records of pages")
    w.source.serves, w.source.copy = None, "running"


class GreedyTarget(PagesTarget):
    """It says what it wants, and when it has got it, says it again."""

    def __init__(self, want, again):
        self.again, self.pages, self.when = again, [], []
        super().__init__(want)

    def met(self):
        self.when.append(time.time())
        self.pages.append(0)

    def took(self, s, kind, body):
        if kind == 21:
            self.pages[-1] += struct.unpack_from("<I", body)[0]
        elif kind == 22:
            self.pages[-1] += sum(struct.unpack_from("<Q", body, 16 + 16 * i)[0] for i in range(struct.unpack_from("<I", body)[0]))
        if kind == self.again[0]:
            s.sendall(self.again[1])


@waits(27)
@case
def fetchers_that_have_never_enough(w):
    """All of the guest again each time it is there, or one page for ever: a service ends at four times the guest, and begins again later and later. The
    copy here waits for its word meanwhile, as it does for one that says nothing."""
    w.source.set_copy("handed")
    w.source.attempt, frames = 1, w.source.ram
    want = record(19, struct.pack("<IIQQ", 1, 1, 0, frames))
    one = record(20, struct.pack("<II", 64, 0) + struct.pack("<64Q", *[7] * 64))
    for again in ((23, want), (21, one)):
        t = GreedyTarget(want + one, again)
        w.source.attempt += 1
        w.source.serves = {"op": "pages", "uuid": UUID, "domid": 3, "attempt": w.source.attempt, "target": "n2", "address": "127.0.0.1", "port": t.port,
                           "bandwidth_mbs": 0}
        wait(lambda t=t: t.connections >= 3, "three services", 120)
        check(all(frames < n < 5 * frames for n in t.pages[:3]), f"pages of each service: {t.pages}, of a guest of {frames}")
        check(t.when[1] - t.when[0] > 1.9 and t.when[2] - t.when[1] > 3.9, f"services begin after {[b - t.when[0] for b in t.when]} s")
        w.source.serves = None
    w.source.copy = "running"
