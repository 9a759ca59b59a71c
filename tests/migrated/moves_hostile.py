# SPDX-License-Identifier: GPL-2.0-or-later
"""A source that speaks the protocol and means harm. Run by tests/migrated/test-move."""
import itertools
import os
import socket
import ssl
import struct
import time

from doubles import SLOW
from hostclock import Clock
from move_world import NothingTested, case, check, ended, flood, hello, read_record, record, tls, until, wait, waits


@case
def hostile_hellos(w):
    for bad in (hello(source="n2"), hello(target="n7"), hello(versions=[2]), hello(versions="x"), hello(config=[]), hello(uuid="x" * 500),
                hello(attempt=-1), hello(domid="3"), hello(config=None), record(1, b"{"), record(1, b"\xff" * 100), record(5, b"\0" * 5000),
                struct.pack("<HHI", 1, 0, 0xffffffff), struct.pack("<HHI", 99, 0, 4), struct.pack("<HHI", 1, 7, 4), record(10, b"")):
        s = tls(w)
        s.sendall(bad)
        check(until(s, 3) is None or True, "")
        s.close()
    check(w.n2.domain is None, "a copy was made")
    w.moved(w.move())


@case
def hostile_pages(w):
    page = b"\xaa" * 4096
    cases = {
        "frame out of range": record(5, struct.pack("<IIQ", 1, 0, 4104) + page),
        "huge frame": record(5, struct.pack("<IIQ", 1, 0, 1 << 63) + page),
        "count does not fit": record(5, struct.pack("<IIQ", 2, 0, 1) + page),
        "no pages": record(5, struct.pack("<IIQ", 0, 0, 1) + page),
        "zeros out of range": record(6, struct.pack("<IIQQ", 1, 0, 4000, 500)),
        "zeros overflow": record(6, struct.pack("<IIQQ", 1, 0, 1, (1 << 64) - 1)),
        "state of 4 GiB": struct.pack("<HHI", 8, 0, 0xfffffff0),
        "state that no guest of this memory has": struct.pack("<HHI", 8, 0, (17 << 20) + 24 * 4096 + 1),
        "round out of order": record(7, struct.pack("<II", 5, 0)),
        "END without STATE": record(9, bytes(16)),
        "wrong digest": record(8, b"state") + record(9, b"\x11" * 16),
        "GO at once": record(11, struct.pack("<Q", 9)),
        "second HELLO": hello(),
        "unknown mandatory record": record(0x70, b""),
        "END twice": record(8, b"s") + record(8, b"s"),
        "zeros that name a frame twice": record(6, struct.pack("<IIQQQQ", 2, 0, 0, 4096, 0, 4096)),
    }
    for what, data in cases.items():
        s = tls(w)
        s.sendall(hello())
        check(until(s, 3) is not None, f"{what}: no ACCEPT")
        try:
            s.sendall(data)
        except OSError:
            pass
        ended(w, s, what)
    s = tls(w)
    s.sendall(hello())
    until(s, 3)
    s.sendall(struct.pack("<HHI", 8, 0, 18 << 20))
    answer = until(s, 10)
    check("a STATE of 18874368 octets" in str(answer), f"the STATE is not named: {answer}")
    s.close()
    wait(lambda: w.n2.domain is None, "the incoming copy goes")
    # unknown optional records are skipped; so the way is clear for the next
    s = tls(w)
    s.sendall(hello())
    until(s, 3)
    s.sendall(record(0x8077, b"future") + record(0x8002, struct.pack("<Q", 42)))
    check(until(s, 0x8003) is not None, "no PONG after an unknown optional record")
    s.close()
    wait(lambda: w.n2.domain is None, "the incoming copy goes with the link")
    w.moved(w.move())


@waits(5)
@case
def a_source_that_never_waits(w):
    """There is always something to read, and each record names all of the guest's memory: the worker keeps its heartbeat, and hears of a cancel."""
    flood = record(6, struct.pack("<IIQQ", 1, 0, 0, 4096)) * 20000
    s = tls(w)
    s.sendall(hello())
    check(until(s, 3) is not None, "no ACCEPT")
    s.sendall(record(5, struct.pack("<II", 256, 0) + struct.pack("<256Q", *range(256)) + b"\xaa" * (256 * 4096)))
    began = Clock()
    while began.took() < 4:
        s.sendall(flood)
    beats, spent = 0, began.wall()
    try:
        s.settimeout(0.5)
        while (kind := read_record(s)[0]) is not None and began.took() < spent + 5:
            beats += kind == 0x8001
    except (OSError, ssl.SSLError):
        pass
    check(beats >= 2, f"{beats} heartbeats in {spent:.1f} s")
    s.close()
    wait(lambda: w.n2.domain is None, "the incoming copy goes")


def goes_on(w, said, words, least, most, stalled=None, **kw):
    """said: records, one each tenth of a second, until the target has enough; it says so in these words, or in those of stalled if this machine
    stood still meanwhile: then once more."""
    s = tls(w)
    s.sendall(hello(versions=[1, 2], **kw))
    check(until(s, 3) is not None, f"{words}: no ACCEPT")
    began = Clock()
    for data in said:
        try:
            s.sendall(data)
        except OSError:
            break
        if w.n2.domain is None or began.took() > most * SLOW + 10:
            break
        time.sleep(0.1)
    took = began.took()
    check(w.n2.domain is None and least <= began.wall() and took < most * SLOW, f"{words}: the copy is {'there' if w.n2.domain else 'gone'} after {took:.1f} s")
    answer = until(s, 10)
    s.close()
    if stalled and stalled in str(answer) and began.lost() > 0.5:
        goes_on(w, said, words, least, most, **kw)
    else:
        check(words in str(answer), f"{words}: {answer}")


@waits(24)
@case
def a_source_that_sends_nothing_keeps_nothing(w):
    """An incoming copy has its memory of the node. Heartbeats, questions and rounds with nothing in them keep it no longer than migration_idle_s, pages
    one by one no longer than the deadline that was named besides; a slow move, over several connections too, is not touched."""
    with open(f"{w.n2.conf}/haven.conf", "a", encoding="utf-8") as f:
        f.write(f"migration_idle_s = {2 * w.pace}\n")
    alive, ping, page = record(0x8001, bytes(8)), record(0x8002, bytes(8)), record(5, struct.pack("<IIQ", 1, 0, 1) + b"\xaa" * 4096)
    if w.pace == 1:
        how_long_they_keep(w, alive, ping, page)
    for links in (1, 3):
        w.links = links
        reply = w.move(bandwidth_mbs=3)
        if not reply["ok"] and "took longer" in reply["error"]:
            raise NothingTested(reply["error"])
        check(reply.get("total_ms", 0) > 3000, str(reply))
        w.moved(reply)
        w.n2.hv.op_destroy({})
        w.source.set_copy("running")


def how_long_they_keep(w, alive, ping, page):
    rounds = (record(7, struct.pack("<II", n, 0)) for n in itertools.count())
    idle, whole = "the guest's next page took longer than 2.0 s", "the guest's memory, from its first page on, took longer than 3.0 s"
    goes_on(w, itertools.repeat(alive), idle, 1.5, 5)
    goes_on(w, itertools.repeat(ping), idle, 1.5, 5)
    goes_on(w, rounds, idle, 1.5, 5)
    goes_on(w, itertools.chain([page] * 5, itertools.repeat(alive)), idle, 2, 6)
    goes_on(w, itertools.chain([page, record(0x8004, bytes(16))], itertools.repeat(alive)), idle, 1.5, 5)      # as if its guest stood still
    goes_on(w, itertools.repeat(page), whole, 2.5, 7, deadline_s=1, stalled=idle)


@case
def a_source_always_about_to_pause(w):
    """Each end of a round with a PING behind it has hypervisord give processors to what the guest waits for: for a second, so not each time."""
    s = tls(w)
    s.sendall(hello(versions=[1, 2]))
    check(until(s, 3) is not None, "no ACCEPT")
    began = time.time()
    for n in range(300):
        s.sendall(record(7, struct.pack("<II", n, 0)) + record(0x8002, struct.pack("<Q", n)))
        check(until(s, 0x8003)[:8] == struct.pack("<Q", n), "PONG")
    asked, most = w.n2.hv.hurries.count("begin"), (time.time() - began) / 0.5 + 1
    check(1 <= asked <= most, f"asked {asked} times in {time.time() - began:.2f} s")
    s.close()
    wait(lambda: w.n2.domain is None, "the incoming copy goes")
    wait(lambda: w.n2.hv.hurries[-1] == "over", "it is taken back")


@case
def owed_pages_come_in_two_sets(w):
    """What is owed is emptied by hv-domain as each set ends, which costs more than the sixteen octets that can ask for it."""
    s = tls(w)
    s.sendall(hello(versions=[1, 2], postcopy=True))
    accept = until(s, 3)
    check(accept is not None and accept[2] & 1, f"no ACCEPT that takes post-copy: {accept}")
    nothing = record(18, struct.pack("<II", 0, 1))
    s.sendall(nothing + nothing + record(0x8002, struct.pack("<Q", 7)))
    check(until(s, 0x8003)[:8] == struct.pack("<Q", 7), "two sets are taken")
    s.sendall(nothing)
    answer = until(s, 10)
    check("OWED" in str(answer), f"a third set: {answer}")
    s.close()
    wait(lambda: w.n2.domain is None, "the incoming copy goes")


@waits(3)
@case
def silent_source(w):
    s = tls(w)
    s.sendall(hello())
    check(until(s, 3) is not None, "no ACCEPT")
    began = Clock()
    wait(lambda: w.n2.domain is None, "the incoming copy goes")
    check(1 < began.wall() and began.took() < 8 * SLOW, f"after {began.took():.1f} s")
    s.close()


@case
def a_source_that_breaks_off(w):
    """The end of the connection without TLS's goodbye is an abort, seen at once: before pages, among them, in a record, and from an old source
    (which makes no connection again).  Silence would have taken three seconds."""
    pages = record(5, struct.pack("<IIQ", 1, 0, 1) + b"\xaa" * 4096)
    for what, data in (("after HELLO", b""), ("among pages", pages), ("in a record", pages + pages[:2000])):
        for linger in (None, struct.pack("ii", 1, 0)):         # FIN, RST
            s = tls(w)
            s.sendall(hello())
            check(until(s, 3) is not None, f"{what}: no ACCEPT")
            check(w.n2.domain is not None, f"{what}: no copy is there")
            s.sendall(data)
            began = Clock()
            if linger:
                s.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
            os.close(s.detach())
            wait(lambda: w.n2.domain is None, f"{what}: the incoming copy goes")
            check(began.took() < 1.5 * SLOW, f"{what}: after {began.took():.1f} s")
    w.moved(w.move())
