# SPDX-License-Identifier: GPL-2.0-or-later
"""Moves that are cancelled, events, what migrated is asked. Run by tests/migrated/test-move."""
import json
import os
import subprocess
import sys
import time

from doubles import SLOW
from hostclock import Clock
from move_world import UUID, answers, case, check, wait, waits


@case
def cancel_by_disconnect(w):
    for bandwidth in (5, 2):
        c = w.n1.connect()
        req = {"op": "move", "uuid": UUID, "domid": 3, "attempt": 1, "target": "n2", "address": "127.0.0.1", "port": w.n2.port,
               "options": {"bandwidth_mbs": bandwidth}}
        c.sendall(json.dumps(req).encode())
        wait(lambda: w.n2.domain is not None, "the move begins")
        c.recv(65536)
        c.close()
        wait(lambda: w.n2.domain is None and w.source.channel is None, "the move ends", 3)
        check(w.running() == ["n1"] and w.source.log == [], f"{w.source.log}")
    w.moved(w.move())


@waits(4)
@case
def cancel_at_each_step(w):
    """Whoever asked goes away while a step is under way: up to the mark the guest runs on where it was, within a tick; from it on the move goes to
    its end."""
    def arm(step, client):
        def hang_up():
            client.close()
            time.sleep(0.3)
        if step in ("migrate-open", "mark-handed"):
            w.n1.hv.fail[step] = hang_up
        elif step in ("takes", "incoming"):
            w.n2.hv.fail[step] = hang_up
        elif step == "incoming-accept":
            w.n2.ha.fail[step] = hang_up
        elif step == "state-load":
            def made(req):
                reply = incoming(req)
                w.n2.domain.fail[step] = hang_up
                return reply
            w.n2.hv.op_incoming = made
        else:
            w.source.fail[step] = hang_up

    incoming = w.n2.hv.op_incoming
    for step in ("takes", "migrate-open", "info", "incoming-accept", "incoming", "dirty-start", "dirty-round", "pause", "state-save", "state-load",
                 "mark-handed"):
        c = w.n1.connect()
        arm(step, c)
        w.attempt += 1
        began = Clock()
        c.sendall(json.dumps({"op": "move", "uuid": UUID, "domid": 3, "attempt": w.attempt, "target": "n2", "address": "127.0.0.1",
                              "port": w.n2.port, "options": {}}).encode())
        wait(lambda: c.fileno() < 0, f"{step} is reached")
        wait(lambda: not w.n1.workers() and not w.n2.workers() and w.source.channel is None, f"{step}: the move ends", 5)
        check(began.took() < 4 * SLOW, f"{step}: after {began.took():.1f} s")
        if step == "mark-handed":
            check(w.running() == ["n2"] and w.source.copy == "handed", f"{step}: {w.running()}, source {w.source.copy}")
        else:
            wait(lambda: w.n2.domain is None, f"{step}: the target's copy goes")
            wait(lambda: w.running() == ["n1"], f"{step}: the source is {w.source.copy}")
            check("handed" not in w.source.log, f"{step}: {w.source.log}")
        w.n2.hv.op_incoming = incoming
        for d in (w.n1.hv, w.n2.hv, w.n2.ha, w.source):
            d.fail.clear()


@waits(3)
@case
def any_user_may_listen(w):
    """Events of every move go to whoever subscribes, root or not; nothing else is done for who is not."""
    listener = """
import json, os, socket, sys
os.setgroups([]); os.setgid(65534); os.setuid(65534)
s = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET); s.settimeout(%d); s.connect(sys.argv[1])
def ask(**q):
    s.sendall(json.dumps(q).encode()); return json.loads(s.recv(65536))
print(json.dumps([ask(op="move", uuid="x"), ask(op="preflight"), ask(op="identity"), ask(op="subscribe")]), flush=True)
while True:
    e = json.loads(s.recv(65536))
    print(json.dumps(e), flush=True)
    if e["event"] == "move-ended": break
""" % (60 * SLOW)
    path = w.n1.run
    while path != "/tmp":
        os.chmod(path, 0o711)
        path = os.path.dirname(path)
    p = subprocess.Popen([sys.executable, "-c", listener, f"{w.n1.run}/migrated.sock"], stdout=subprocess.PIPE, text=True)
    answers = json.loads(p.stdout.readline())
    check([a["ok"] for a in answers] == [False, False, False, True] and all(a["code"] == "EPERM" for a in answers[:3]), str(answers))
    w.moved(w.move(bandwidth_mbs=3))           # so slow that a machine that stands still for a while leaves some
    events = [json.loads(line) for line in p.communicate(timeout=120 * SLOW)[0].splitlines()]
    told = [e["progress"] for e in events if e["event"] == "move-progress"]
    check(events[-1]["event"] == "move-ended" and events[-1]["ok"] and events[-1]["uuid"] == UUID, str(events[-1]))
    percents = [t["percent"] for t in told]
    check(len(percents) > 3 and percents == sorted(percents), f"percents: {percents}")
    for key in ("rounds", "bytes_sent", "eta_s", "phase"):
        check(all(key in t for t in told), key)
    check(any(t["eta_s"] > 0 for t in told) and any("rate_mbs" in t for t in told), f"neither rate nor ETA: {told}")
    # what is not measured yet is not told as nothing
    first = [t for t in told if t["phase"] == "precopy" and t["rounds"] <= 1]
    check(first and not any("dirty_rate_mbs" in t or "converges" in t for t in first), str(first))
    check(all("dirty_rate_mbs" in t and "converges" in t for t in told if t["rounds"] > 1), str(told))
