# SPDX-License-Identifier: GPL-2.0-or-later
"""Moves that succeed, and what they tell while they do. Run by tests/migrated/test-move."""
import json
import os
import socket
import time

from doubles import PAGE, Proxy, SLOW, code_frames
from move_world import CONFIG, NothingTested, UUID, big_guest, case, check, wait, waits


@case
def plain_move(w):
    progress = []
    named = [code_frames(listed) for listed in w.source.code_lists]
    for frame in sum(named, []):
        w.source.mm[frame * PAGE:(frame + 1) * PAGE] = os.urandom(PAGE)
    reply = w.move(progress=progress)
    w.moved(reply)
    check(reply["tls"] == "TLSv1.3", reply["tls"])
    for key in ("total_ms", "rounds", "bytes_sent", "downtime_vcpu_ms", "phases"):
        check(key in reply, key)
    seen = w.source.seen
    check(seen.index("pause") < seen.index("state-save") < seen.index("released"), str(seen))
    check(w.source.log == ["paused", "handed"], str(w.source.log))
    # what the double itself needs for its digests is part of the pause; the clocks here are the same
    lag = abs(w.n2.domain.loaded["pause"] - time.time_ns())
    check(lag < 60e9, f"pause time handed on is off by {lag} ns")
    offset = w.n2.domain.loaded["offset"]
    check(offset is not None and abs(offset) < 50e6 * SLOW, f"the clocks are said to be {offset} ns apart")
    check(w.n2.domain.code_made == w.source.code_lists and seen.index("code-watch") < seen.index("dirty-round") < seen.index("code-list")
          and "dirty-round" in seen[seen.index("code-list"):len(seen) - seen[::-1].index("code-list")],
          f"the target was told {w.n2.domain.code_made} of what runs: {seen}")
    pages = [[w.source.mm[frame * PAGE:(frame + 1) * PAGE] for frame in frames] for frames in named]
    check(w.n2.domain.code_pages == pages, "the pages that it was told of were not there")
    wait(lambda: "activated" in w.n2.ha.seen, "ha-agentd is told, after the source")
    percents = [p["percent"] for p in progress]
    check(percents == sorted(percents), f"progress runs backwards: {percents}")


@case
def code_is_not_ready(w):
    """What runs cannot be listed, or not be made ready: nothing depends on it."""
    w.source.fail["code-list"] = "unknown"
    w.moved(w.move())
    check(not w.n2.domain.code_made, "it was told all the same")
    w.n1.hv.op_destroy({})
    incoming = w.n1.hv.op_incoming

    def refusing(req):
        answer = incoming(req)
        w.n1.domain.fail["code-make"] = "no"
        return answer

    w.n1.hv.op_incoming = refusing
    reply = w.move(frm=w.n2, to=w.n1)
    check(reply["ok"] and "code-make" in w.n1.domain.seen, str(reply))


@case
def several_connections(w):
    w.links = 4
    reply = w.move()
    w.moved(reply)
    check(reply["connections"] == 4, str(reply))


@case
def bandwidth_cap(w):
    """No faster than asked for, over several connections too."""
    for links in (1, 4):
        w.links, began = links, time.time()
        reply = w.move(bandwidth_mbs=10) if links == 1 else w.move(frm=w.n2, to=w.n1, bandwidth_mbs=10)
        took = time.time() - began
        check(reply["ok"], str(reply))
        check(reply["bytes_sent"] / took < 11.5e6, f"{reply['bytes_sent']} bytes in {took:.2f} s over {links} connections")
        w.n1.hv.op_destroy({}) if links == 1 else None


@case
def policies(w):
    """The command's word goes before the domain's, that before haven.conf's; what is no policy is refused by name."""
    for n in (w.n1, w.n2):
        with open(f"{n.conf}/haven.conf", "a", encoding="utf-8") as f:
            f.write("migration_connections = 2\nmigration_converge = no\n")
    w.links = None
    reply = w.move()
    check(reply["connections"] == 2, str(reply))
    w.n1.hv.op_destroy({})
    w.n2.domain.config = dict(w.n2.domain.config, migration={"connections": 3})
    reply = w.move(frm=w.n2, to=w.n1)
    check(reply["connections"] == 3, str(reply))
    w.n2.hv.op_destroy({})
    w.source = w.n1.domain
    for options, words in (({"converge": "later"}, "postcopy or no"), ({"connections": 99}, "between 0 and 8"), ({"deadline_s": "x"}, "number")):
        reply = w.move(**options)
        check(not reply["ok"] and reply["code"] == "EINVAL" and words in reply["error"], str(reply))
    reply = w.move(connections=1)
    check(reply["ok"] and reply["connections"] == 1, str(reply))


@case
def the_migration_network_alone(w):
    """Moves have addresses of their own: migrated listens on those of haven.conf and on no other, and each of them takes a move."""
    def listens(address):
        try:
            socket.create_connection((address, w.n2.port), 2).close()
            return True
        except ConnectionRefusedError:
            return False

    check((listens("127.0.0.1"), listens("127.0.0.2"), listens("127.0.0.3")) == (True, False, False), "one address")
    w.n2.proc.terminate()
    w.n2.proc.wait()
    with open(f"{w.n2.conf}/haven.conf", encoding="utf-8") as f:
        text = f.read().replace("migration_address = 127.0.0.1", "migration_address = 127.0.0.1, 127.0.0.3/32")
    with open(f"{w.n2.conf}/haven.conf", "w", encoding="utf-8") as f:
        f.write(text)
    w.n2.start()
    check(listens("127.0.0.1") and not listens("127.0.0.2"), "a network in which the node has no address is left out")
    with open(f"{w.n2.conf}/haven.conf", "w", encoding="utf-8") as f:
        f.write(text.replace("/32", ""))
    w.n2.proc.terminate()
    w.n2.proc.wait()
    w.n2.start()
    check((listens("127.0.0.1"), listens("127.0.0.2"), listens("127.0.0.3")) == (True, False, True), "two addresses")
    w.moved(w.n1.request({"op": "move", "uuid": UUID, "domid": 3, "attempt": 1, "target": "n2", "address": "127.0.0.3", "port": w.n2.port,
                          "options": {}}))


@case
def over_ipv6(w):
    """A migration network of IPv6: listened on, moved over with several connections, and from an address of one family to one of the other when
    the first is lost."""
    try:
        socket.create_server(("::1", 0), family=socket.AF_INET6).close()
    except OSError:
        print("     this machine has no IPv6")
        return
    for n in (w.n1, w.n2):
        n.stop_migrated()
        with open(f"{n.conf}/haven.conf", encoding="utf-8") as f:
            text = f.read()
        with open(f"{n.conf}/haven.conf", "w", encoding="utf-8") as f:
            f.write(text.replace("migration_address = 127.0.0.1", "migration_network = ::1/128, 127.0.0.0/8"))
        n.start()
    w.attempt += 1
    reply = w.n1.request({"op": "move", "uuid": UUID, "domid": 3, "attempt": w.attempt, "target": "n2", "address": "::1", "port": w.n2.port,
                          "options": {"connections": 3}})
    w.moved(reply)
    check(reply["connections"] == 3, str(reply))
    check(w.n1.request({"op": "preflight", "config": CONFIG, "target": "n1", "address": "::1", "port": w.n1.port})["ok"], "preflight")
    w.n2.hv.op_destroy({})
    big_guest(w)
    p = Proxy(w.n2.port, "out", 20 << 20, "gone", address="127.0.0.2")
    q = Proxy(w.n2.port, address="::1", port=p.port)
    w.attempt += 1
    reply = w.n1.request({"op": "move", "uuid": UUID, "domid": 3, "attempt": w.attempt, "target": "n2", "address": "127.0.0.2",
                          "addresses": ["127.0.0.2", "::1"], "port": p.port, "options": {"bandwidth_mbs": 40, "reconnect_s": 15}})
    w.moved(reply)
    # a machine that lets the proxy wait for 3 s (migration_silence_s of these nodes) has the link made once more
    check(reply["resumed"] >= 1 and q.count["out"] > 1 << 20, f"{reply}, {q.count}")
    q.close()


@case
def events_for_who_subscribed(w):
    with w.n1.connect() as c:
        c.settimeout(60 * SLOW)
        c.sendall(json.dumps({"op": "subscribe"}).encode())
        check(json.loads(c.recv(65536))["ok"], "subscribe")
        w.moved(w.move(bandwidth_mbs=10))
        seen = []
        while not seen or seen[-1]["event"] != "move-ended":
            seen.append(json.loads(c.recv(65536)))
    check(seen[-1]["ok"] and seen[-1]["uuid"] == UUID and seen[-1]["target"] == "n2", str(seen[-1]))
    check(any(e["event"] == "move-progress" and e["progress"].get("rate_mbs", 0) > 0 for e in seen), "no progress")


@case
def ping_pong(w):
    nodes = [w.n1, w.n2]
    for i in range(8):
        a, b = nodes[i % 2], nodes[1 - i % 2]
        w.links = 1 + i % 3
        reply = w.move(frm=a, to=b)
        check(reply["ok"], f"move {i}: {reply}")
        check(b.domain.loaded["same"], f"move {i}: the memory differs")
        check(a.domain.copy == "handed", a.domain.copy)
        a.hv.op_destroy({})
        w.advances(b)


@case
def standalone_hosts(w):
    """Without ha-agentd: refused, unless haven.conf says standalone = yes; then the source's copy goes after DONE."""
    for n in (w.n1, w.n2):
        n.ha.close()
        n.ha = None
    w.stays(w.move(), "ha-agentd is not running")
    for n in (w.n1, w.n2):
        with open(f"{n.conf}/haven.conf", "a", encoding="utf-8") as f:
            f.write("standalone = yes\n")
    w.moved(w.move())
    wait(lambda: w.n1.domain is None, "the source's copy goes")


@waits(2)
@case
def busy_guest_gives_up_or_moves(w):
    w.source.hot, w.source.pages_per_ms = range(4000), 400
    w.stays(w.move(max_downtime_ms=1, deadline_s=1, bandwidth_mbs=20, converge="no"), "")
    check(not w.source.throttles, "slowed down against its policy")
    w.source.pages_per_ms = 5
    w.moved(w.move())


@waits(4)
@case
def throttle_converges(w):
    """A guest that writes faster than the wire carries loses time in steps, all the same ends, and gets its time back."""
    w.source.hot, w.source.pages_per_ms = range(2000), 40
    progress = []
    reply = w.move(max_downtime_ms=30, target_downtime_ms=20, deadline_s=30 * w.pace, bandwidth_mbs=max(1, 20 // w.pace), progress=progress)
    w.moved(reply)
    steps = w.source.throttles
    if not steps or not any(p.get("converges") is False for p in progress):
        raise NothingTested(f"the guest was no faster than the wire: {steps}, {[p.get('converges') for p in progress]}")
    check(steps and steps == sorted(steps) and w.source.throttle == 0, f"throttled by {steps}, then {w.source.throttle}")
    check(reply["throttle_percent"] == steps[-1] / 10, str(reply))
    told = [p["throttle_percent"] for p in progress]
    check(told == sorted(told) and told[-1] > 0, f"progress tells {told}")
    percents = [p["percent"] for p in progress]
    check(percents == sorted(percents), f"progress runs backwards: {percents}")


@waits(3)
@case
def throttle_is_lifted_when_it_fails(w):
    w.source.hot, w.source.pages_per_ms = range(4000), 400
    reply = w.move(max_downtime_ms=1, target_downtime_ms=1, deadline_s=3 * w.pace, bandwidth_mbs=max(1, 20 // w.pace))
    if not w.source.throttles or max(w.source.throttles) != 999:
        raise NothingTested(f"throttled by {w.source.throttles}")
    w.stays(reply, "even when it is slowed down")
    check(w.source.throttle == 0, "still throttled")
