# SPDX-License-Identifier: GPL-2.0-or-later
"""Cuts, stalls and flips anywhere in a move; connections that break and are made again. Run by tests/migrated/test-move."""
import json
import socket
import ssl
import struct
import threading
import time

from doubles import Domain, Proxy, SLOW
from hostclock import Clock, comes
from move_world import CA, CONFIG, NothingTested, PERCENT, UUID, big_guest, case, check, patiently, postcopy, read_record, record, target_tls, wait, waits


# --- cuts, stalls, flips ---------------------------------------------------------------------------------------------------------

def settled(w, reply, what):
    """One running copy, or a handed one that waits for ha-agentd and none at the target."""
    if reply["ok"]:
        w.moved(reply)
    elif reply["state"] == "running-here":
        w.stays(reply)
    else:
        check(reply["state"] == "handed" and w.source.copy == "handed", f"{what}: {reply}, source {w.source.copy}")
        wait(lambda: w.n2.domain is None or w.n2.domain.copy == "running", f"{what}: target is {w.n2.domain and w.n2.domain.copy}")


def sweep(w, what, offsets):
    """A move through a proxy that misbehaves at each offset in turn; starts over from n1 each time."""
    for direction, at in offsets:
        p = Proxy(w.n2.port, direction, at, what)
        reply = w.move(port=p.port)
        settled(w, reply, f"{what} {direction} at {at}")
        p.close()
        w.source.set_copy("destroyed")
        if w.n2.domain:
            w.n2.hv.op_destroy({})
        wait(lambda: not w.n2.workers(), "the target's worker ends")
        w.source = w.n1.domain = Domain(w.n1, CONFIG, 3, "running", CONFIG["memory_kib"] // 4)
        w.source.fill()


def lengths(w):
    p = Proxy(w.n2.port)
    w.source.pages_per_ms = 0
    w.moved(w.move(port=p.port))
    p.close()
    w.n2.hv.op_destroy({})
    w.source.set_copy("destroyed")
    w.source = w.n1.domain = Domain(w.n1, CONFIG, 3, "running", CONFIG["memory_kib"] // 4)
    w.source.fill()
    return p.count["out"], p.count["back"]


@case
def cut_at_many_places(w):
    out, back = lengths(w)
    places = [("out", n) for n in (0, 20, 40, 400, 1500, 2300, 2600, out // 3, out // 2, out - 210000, out - 1000, out - 120, out - 60, out - 24)]
    places += [("back", n) for n in (0, 300, 1200, back - 200, back - 110, back - 60, back - 30)]
    sweep(w, None, places)
    sweep(w, "rst", places[4::3])


@case
def flip_at_many_places(w):
    out, back = lengths(w)
    sweep(w, "flip", [("out", n) for n in (3, 17, 300, 2400, out // 2, out - 1000, out - 100)] + [("back", n) for n in (100, 1000, back - 100)])


@waits(18)
@case
def stall_at_some_places(w):
    out, back = lengths(w)
    sweep(w, "stall", [("out", 500), ("out", out // 2), ("out", out - 100), ("back", 500), ("back", back - 100)])


@case
def several_connections_cut(w):
    w.links = 3
    out, _ = lengths(w)
    sweep(w, None, [("out", out // 5), ("out", out // 2), ("out", out - 250000)])


# --- connections that break and are made again -----------------------------------------------------------------------------------


def through(w, proxy, **options):
    return w.move(port=proxy.port, **dict({"bandwidth_mbs": 40, "reconnect_s": 15 * SLOW}, **options))


@waits(9)
@case
def a_broken_connection_goes_on(w):
    """Cut in mid-copy, with one connection and with several: the same attempt goes on, and only what was not acknowledged is sent again."""
    for links, what in ((1, None), (1, "rst"), (3, None)):
        big_guest(w)
        w.links = links
        p = Proxy(w.n2.port, "out", 34 << 20, what)
        reply = through(w, p, bandwidth_mbs=max(1, 20 // w.pace))                # so slow that a busy machine keeps up, too
        w.moved(reply)
        check(reply["resumed"] == 1, str(reply))
        sent = reply["bytes_sent"] - reply["pages_sent"] * 4096
        again = reply["pages_sent"] - int(w.source.frames * 0.7)
        if again >= 6000:                                      # who reads is behind by what his host lost
            raise NothingTested(f"{links} connections: {again} pages sent again")
        check(sent < 1 << 20, f"{links} connections: {again} pages sent again, {sent} octets beside the pages")
        check(w.source.log == ["paused", "handed"] and w.n2.ha.seen.count("incoming-accept") == 1, f"{w.source.log}, {w.n2.ha.seen}")
        p.close()
        w.n2.hv.op_destroy({})
        w.n2.ha.seen.clear()


@case
def a_link_cut_between_rounds_goes_on(w):
    """Cut when a round is all there and the next one has not begun: RESUME named the round that was over, and the next ROUND_END ended the move."""
    for links in 1, 3:
        w.links = links
        p = Proxy(w.n2.port)
        listing = w.source.ch_code_list

        def cutting(req, fds):
            answer = listing(req, fds)
            if w.source.listed == 2:
                p.cut()
            return answer

        w.source.ch_code_list = cutting
        reply = through(w, p)
        w.moved(reply)
        check(reply["resumed"] == 1, str(reply))
        p.close()
        w.n2.hv.op_destroy({})
        w.source.set_copy("destroyed")
        w.source = w.n1.domain = Domain(w.n1, CONFIG, 3, "running", CONFIG["memory_kib"] // 4)
        w.source.fill()


@waits(7)
@case
def a_lost_link_goes_on_when_it_heals(w):
    big_guest(w)
    p = Proxy(w.n2.port, "out", 20 << 20, "black")
    progress = []
    told = lambda: any(x["phase"] == "reconnect" for x in progress)  # noqa: E731

    def heal():
        wait(lambda: not p.open.is_set(), "the link is lost", 60)
        time.sleep(6 * SLOW)
        comes(told, 10 * SLOW)
        p.open.set()
    threading.Thread(target=heal, daemon=True).start()
    reply = through(w, p, progress=progress)
    w.moved(reply)
    check(reply["resumed"] >= 1 and reply["total_ms"] > 5000, str(reply))
    check(told(), "progress does not tell of it")
    percents = [x["percent"] for x in progress]
    check(percents == sorted(percents), f"progress runs backwards: {percents}")
    p.close()


@case
def another_address_takes_over(w):
    big_guest(w)
    p = Proxy(w.n2.port, "out", 20 << 20, "gone")
    q = Proxy(w.n2.port, address="127.0.0.2", port=p.port)
    w.attempt += 1
    reply = w.n1.request({"op": "move", "uuid": UUID, "domid": 3, "attempt": w.attempt, "target": "n2", "address": "127.0.0.1",
                          "addresses": ["127.0.0.1", "127.0.0.2"], "port": p.port, "options": {"bandwidth_mbs": 40, "reconnect_s": 15}})
    w.moved(reply)
    # a machine that lets the proxy wait for 3 s (migration_silence_s of these nodes) has the link made once more
    check(reply["resumed"] >= 1 and q.count["out"] > 1 << 20, f"{reply}, {q.count}")
    q.close()


@waits(22)
@case
def a_link_cut_for_good(w):
    """It fails in bounded time, says so, and the guest has noticed nothing."""
    big_guest(w)
    p = Proxy(w.n2.port, "out", 20 << 20, "black")
    began = Clock()
    w.stays(through(w, p, reconnect_s=3), "no connection could be made again")
    check(began.took() < 18 * SLOW, f"after {began.took():.1f} s")
    check(w.source.log == [], f"{w.source.log}")
    p.close()
    p = Proxy(w.n2.port, "out", 20 << 20, "gone")
    began = Clock()
    w.stays(through(w, p, reconnect_s=60), "no connection could be made again")
    check(began.took() < 12 * SLOW, f"nobody listens, and that took {began.took():.1f} s to see")
    # with the move's own deadline
    p = Proxy(w.n2.port, "out", 20 << 20, "black")
    began = Clock()
    w.stays(through(w, p, reconnect_s=60, deadline_s=6), "")
    check(began.took() < 18 * SLOW, f"after {began.took():.1f} s")
    p.close()


@waits(8)
@case
def cancel_while_the_link_is_lost(w):
    big_guest(w)
    p = Proxy(w.n2.port, "out", 20 << 20, "black")
    c = w.n1.connect()
    req = {"op": "move", "uuid": UUID, "domid": 3, "attempt": 1, "target": "n2", "address": "127.0.0.1", "port": p.port,
           "options": {"bandwidth_mbs": 40, "reconnect_s": 4}}
    c.sendall(json.dumps(req).encode())
    wait(lambda: not p.open.is_set(), "the link is lost")
    time.sleep(4 * SLOW)
    c.close()
    wait(lambda: w.source.channel is None, "the move ends", 5)
    check(w.running() == ["n1"] and w.source.log == [], f"{w.source.log}")
    wait(lambda: w.n2.domain is None, "the target gives its copy up")
    p.close()


def speak(port, greeting, cert="n1", first=b""):
    """A connection to port with that greeting, TLS up when a certificate is given, and a first record."""
    ctx = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    ctx.load_verify_locations(f"{CA}/n1/ca.crt")
    s = socket.create_connection(("127.0.0.1", port))
    s.settimeout(20 * SLOW)
    s.sendall(greeting)
    if cert:
        ctx.load_cert_chain(f"{CA}/{cert}/node.crt", f"{CA}/{cert}/node.key")
        s = ctx.wrap_socket(s, server_hostname="n2")
    s.sendall(first)
    return s


@waits(4)
@case
def who_knows_the_token_changes_nothing(w):
    """The token goes over the wire in the clear: who reads it there can neither end the move nor take it over."""
    big_guest(w)
    w.links = 2
    p = Proxy(w.n2.port)
    result = {}
    t = threading.Thread(target=lambda: result.update(through(w, p, bandwidth_mbs=12)))
    t.start()
    wait(lambda: len(p.greetings) >= 2, "a further connection")
    wait(lambda: w.n2.domain is not None and p.count["out"] > 3 << 20, "the move is on its way")
    greeting = next(g for g in p.greetings if g[10] == 1)
    token = greeting[16:]
    resume = lambda token, attempt, session: record(16, token + struct.pack("<QII", attempt, session, 0))  # noqa: E731
    tried = [(None, b"GET / HTTP/1.0\r\n\r\n"), (None, b""), ("n3", resume(token, w.attempt, 1)), ("n1", resume(token, w.attempt + 1, 1)),
             ("n1", resume(bytes(16), w.attempt, 1)), ("n1", resume(token, w.attempt, 0)), ("n1", record(4, token + struct.pack("<II", 7, 0))),
             ("n1", record(4, token)), ("n1", record(5, b"x" * 4112)), ("n1", b"\xff" * 64)]
    held = []
    for cert, first in tried:
        try:
            held.append(speak(w.n2.port, greeting, cert, first))
        except (OSError, ssl.SSLError):
            pass
    for _ in range(20):
        held.append(socket.create_connection(("127.0.0.1", w.n2.port)))
        held[-1].sendall(greeting)
    t.join()
    w.moved(result)
    check(result["resumed"] == 0, str(result))
    for s in held:
        s.close()
    p.close()


@waits(10)
@case
def who_is_busy_says_that_it_lives(w):
    """One end is at something that takes longer than the silence that ends a connection: it is heard all the same, from either side."""
    busy, incoming = lambda: time.sleep(3 * SLOW + 1.5), w.n2.hv.op_incoming  # noqa: E731
    for n in (w.n1, w.n2):
        n.hurry(100 * SLOW)

    def slow_to_load(req):
        reply = incoming(req)
        w.n2.domain.fail["state-load"] = busy
        return reply
    w.source.fail["pause"] = busy
    w.n2.hv.op_incoming = slow_to_load
    reply = w.move(reconnect_s=0)
    w.moved(reply)
    check(reply["total_ms"] > 6000 * SLOW, str(reply))


class SpeakingTarget:
    """A target that says ANSWER and ACCEPT of a version, then does `what` with the connection; every connection after the first too."""

    def __init__(self, what, version=2):
        self.what, self.version, self.kinds, self.connections = what, version, [], 0
        self.ctx, self.sock = target_tls(), socket.create_server(("127.0.0.1", 0))
        self.port = self.sock.getsockname()[1]
        threading.Thread(target=self.run, daemon=True).start()

    def run(self):
        while True:
            c, _ = self.sock.accept()
            threading.Thread(target=self.serve, args=(c,), daemon=True).start()

    def serve(self, c):
        try:
            c.recv(32, socket.MSG_WAITALL)
            s = self.ctx.wrap_socket(c, server_side=True)
            self.connections += 1
            kind, body = read_record(s)
            if kind == 1:
                h = json.loads(body)
                s.sendall(record(2, json.dumps({"version": self.version, "problems": [], "node": "n2", "haven": "x"}).encode()))
                s.sendall(record(3, struct.pack("<HHIQ", self.version, 0, 1, h["frames"]) + b"t" * 16))
            elif kind == 16:
                s.sendall(record(17, struct.pack("<II", struct.unpack("<QII", body[16:])[1], 0)))
            self.what(self, s)
        except (OSError, ssl.SSLError, ValueError):
            pass

    def read(self, s):
        kind, body = read_record(s)
        self.kinds.append(kind)
        if kind == 0x8002:
            s.sendall(record(0x8003, body + struct.pack("<Q", time.time_ns())))
        return kind, body


def lies(target, s):
    while target.read(s)[0] != 5:
        pass
    s.sendall(record(15, struct.pack("<II", 77, 0)))
    while target.read(s)[0]:
        pass


def never_acknowledges(target, s):
    while True:
        kind, _ = target.read(s)
        if not kind:
            return
        s.sendall(record(0x8001, struct.pack("<Q", 1)))


def floods(target, s):
    while target.read(s)[0] != 5:
        pass
    while True:
        s.sendall(record(0x8001, struct.pack("<Q", 1)) * 1000)


@waits(11)
@case
def a_target_that_lies_about_what_it_has(w):
    for what, options, words in ((lies, {}, "does not belong there"), (never_acknowledges, {"deadline_s": 5}, ""), (floods, {"deadline_s": 5}, "")):
        target = SpeakingTarget(what)
        began = Clock()
        w.stays(w.move(port=target.port, reconnect_s=5, **options), words)
        check(began.took() < 22 * SLOW, f"{what.__name__}: {began.took():.1f} s")
        check(w.source.log == [], f"{what.__name__}: {w.source.log}")


def alive_while_it_stands_still(target, s):
    """It takes everything, and then says nothing but that it lives."""
    while True:
        kind, body = target.read(s)
        if kind == 14:
            s.sendall(record(15, body[:8]))
        if not kind:
            return
        if kind == 9:
            break
    floods_on(s)


def floods_on(s):
    while True:
        s.sendall(record(0x8001, struct.pack("<Q", 1)) * 100)
        time.sleep(0.001)


class Chatterbox(SpeakingTarget):
    """It never gets as far as ANSWER."""

    def serve(self, c):
        try:
            c.recv(32, socket.MSG_WAITALL)
            floods_on(self.ctx.wrap_socket(c, server_side=True))
        except (OSError, ssl.SSLError):
            pass


@case
def a_target_that_only_talks(w):
    """The guest stands still for what it says, and it says that it lives: no longer than building a guest takes.  Before that a cancel is heard
    through the noise, and the noise has an end, too."""
    def in_time(more):
        began = Clock()
        w.stays(w.move(port=SpeakingTarget(alive_while_it_stands_still).port), "building the guest (READY) took longer")
        check(w.source.log == ["paused", "running"], str(w.source.log))
        check(began.took() < (3 + more) * SLOW, f"{began.took():.1f} s")
        began = Clock()
        w.source.log.clear()
        w.stays(w.move(port=Chatterbox(None).port), "its ANSWER took longer")
        check(began.took() < (2 + more) * SLOW, f"{began.took():.1f} s")

    patiently(w, [w.n1], in_time)
    w.n1.hurry(100)
    c = w.n1.connect()
    c.sendall(json.dumps({"op": "move", "uuid": UUID, "domid": 3, "attempt": 9, "target": "n2", "address": "127.0.0.1",
                          "port": Chatterbox(None).port, "options": {}}).encode())
    wait(lambda: w.source.channel is not None, "the move begins")
    time.sleep(0.3)
    c.close()
    wait(lambda: w.source.channel is None, "the move ends with its client", 2)
    check(w.source.log == [], str(w.source.log))


def takes_all(target, s):
    while True:
        kind, _ = target.read(s)
        if not kind:
            return
        if kind == 9:
            s.sendall(record(13, b"seen enough"))


@case
def a_target_of_the_version_before(w):
    """It is sent no record that it does not know; a source of that version is served in hostile_pages and its like."""
    target = SpeakingTarget(takes_all, version=1)
    w.stays(w.move(port=target.port), "seen enough")
    check(set(target.kinds) <= {5, 6, 7, 8, 9, 13, 0x8001, 0x8002, 0x8004, None}, f"records sent: {set(target.kinds)}")
    check(target.connections == 1, "a connection was made again")


def speaks(node, version):
    with open(f"{node.conf}/haven.conf", "a", encoding="utf-8") as f:
        f.write(f"migration_version = {version}\n")


@case
def versions_of_the_stream(w):
    """A node that is held to version 1 speaks with one of today, and one of today with it: the older of the two decides, either way."""
    for n, (first, second, agreed) in enumerate(((2, 1, 1), (1, 2, 1), (1, 1, 1), (2, 2, 2))):
        speaks(w.n1, first)
        speaks(w.n2, second)
        for frm, to in ((w.n1, w.n2), (w.n2, w.n1)):
            w.links = 1 + 2 * (n % 2)
            d = frm.domain
            reply = w.move(frm=frm, to=to)
            check(reply["ok"] and reply["stream_version"] == agreed and to.domain.loaded["same"], f"{first}, {second}: {reply}")
            check(reply["connections"] == w.links, str(reply))
            check(d.version == agreed, f"its state was asked for in version {d.version}")
            told = to.domain.loaded["pause"] if agreed == 1 else to.domain.loaded["offset"]
            check(told is not None, f"the pause was not told: {to.domain.loaded}")
            frm.hv.op_destroy({})
            w.advances(to)
    w.source = w.n1.domain
    speaks(w.n1, 3)
    reply = w.move()
    check(not reply["ok"] and "migration_version 3" in reply["error"], str(reply))
    speaks(w.n1, 2)
    speaks(w.n2, 0)
    w.stays(w.move(), "")


@waits(7)
@case
def what_version_1_cannot(w):
    """No connection is made again, nothing is owed, and a guest that would run there though it is paused here is not sent."""
    speaks(w.n2, 1)
    w.source.user_paused = True
    w.stays(w.move(), "would let the paused guest run")
    w.source.user_paused = False
    big_guest(w)
    p = Proxy(w.n2.port, "out", 20 << 20, "gone")
    began = Clock()
    w.stays(through(w, p, reconnect_s=30), "")
    check(began.took() < 10 * SLOW, f"after {began.took():.1f} s")
    w.source.hot, w.source.pages_per_ms = range(2000), 40
    reply = postcopy(w, max_downtime_ms=30, target_downtime_ms=20, deadline_s=30)
    w.moved(reply)
    check(not reply["postcopy"] and reply["stream_version"] == 1, str(reply))
    if not w.source.throttles:
        raise NothingTested("the guest was no faster than the wire")
