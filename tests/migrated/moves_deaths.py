# SPDX-License-Identifier: GPL-2.0-or-later
"""Processes that die at each step of a move, and steps that hang. Run by tests/migrated/test-move."""
import os
import signal
import subprocess
import time

from doubles import SLOW
from hostclock import Clock
from move_world import Failed, PERCENT, REVOKED_CA, case, check, kill_migrated, kill_worker, patiently, start_over, wait, waits


# --- deaths at each step -----------------------------------------------------------------------------------------------------------

STEPS = ("migrate-open", "info", "incoming", "dirty-start", "dirty-round", "pause", "state-save", "mark-handed", "released", "activate")
SOURCE_STEPS = ("info", "dirty-start", "dirty-round", "pause", "state-save", "released")


def try_move(w):
    try:
        return w.move()
    except (RuntimeError, OSError):
        return None                       # the source's migrated itself was killed


def after_death(w, reply, step, handed_from="mark-handed"):
    """The copies' own states tell how it ended; the reply, where there is one, must agree with them."""
    wait(lambda: not w.n1.workers() and not w.n2.workers(), f"{step}: the workers end")
    wait(lambda: w.source.channel is None, f"{step}: the channel ends")
    if "handed" in w.source.log:
        check(STEPS.index(step) >= STEPS.index(handed_from), f"{step}: handed over")
        check(w.source.copy == "handed", f"{step}: source is {w.source.copy}")
        wait(lambda: w.n2.domain is None or w.n2.domain.copy == "running", f"{step}: target is {w.n2.domain and w.n2.domain.copy}")
        if reply:
            check(reply["ok"] or reply["state"] == "handed", f"{step}: {reply}")
    else:
        check(step not in ("released", "activate"), f"{step}: not handed over")
        wait(lambda: w.n2.domain is None, f"{step}: the target's copy goes")
        wait(lambda: w.running() == ["n1"], f"{step}: the source runs on ({w.source.copy})")
        if reply:
            check(not reply["ok"] and reply["state"] == ("handed" if step == "mark-handed" else "running-here"), f"{step}: {reply}")


def deaths(w, make, handed_from="mark-handed"):
    for step in SOURCE_STEPS:
        w.source.fail[step] = make
        after_death(w, try_move(w), step, handed_from)
        start_over(w)
    for node, step in ((w.n1, "migrate-open"), (w.n1, "mark-handed"), (w.n2, "incoming"), (w.n2, "activate")):
        node.hv.fail[step] = make
        after_death(w, try_move(w), step, handed_from)
        start_over(w)


@case
def source_worker_killed_at_each_step(w):
    deaths(w, kill_worker(w.n1))


@case
def target_worker_killed_at_each_step(w):
    deaths(w, kill_worker(w.n2))


@case
def source_migrated_killed_at_each_step(w):
    deaths(w, kill_migrated(w.n1))


@case
def target_migrated_killed_at_each_step(w):
    # its worker hears of it at its next pause for breath, which may be as late as GO
    deaths(w, kill_migrated(w.n2), "pause")


@case
def domain_process_dies_at_each_step(w):
    for step in SOURCE_STEPS:
        w.source.fail[step] = "die"
        reply = w.move()
        check(not reply["ok"], f"{step}: {reply}")
        wait(lambda: w.n2.domain is None and not w.n1.workers() and not w.n2.workers(), f"{step}: the target's copy goes")
        start_over(w)


@case
def local_refusals(w):
    for step in SOURCE_STEPS[:-1]:
        w.source.fail[step] = "no: " + step
        w.stays(w.move(), "no: " + step)
        w.source.fail.clear()
    w.n1.hv.fail["mark-handed"] = "no: mark-handed"
    w.stays(w.move(), "no: mark-handed")
    w.n1.hv.fail.clear()
    w.n2.hv.fail["incoming"] = "no: incoming"
    w.stays(w.move(), "no: incoming")
    w.n2.hv.fail.clear()
    w.n2.hv.fail["activate"] = "no: activate"
    reply = w.move()
    check(not reply["ok"] and reply["state"] == "handed" and "no: activate" in reply["error"], str(reply))
    wait(lambda: w.n2.domain is None, "the target's copy goes")
    wait(lambda: "incoming-failed" in w.n2.ha.seen, "ha-agentd is told, after the copy's process")


@case
def released_with_the_mark(w):
    """hypervisord lets the disks go as it marks the copy: nobody is asked again; when they do not go, the copy is handed and GO is not said."""
    w.n1.hv.releases = {"released": True}
    w.moved(w.move())
    check("released" not in w.source.seen, str(w.source.seen))
    start_over(w)
    w.n1.hv.releases = {"released": False, "release_code": "EBUSY", "release_error": "the disks do not go"}
    reply = w.move()
    check(not reply["ok"] and reply["state"] == "handed" and "the disks do not go" in reply["error"], str(reply))
    wait(lambda: w.n2.domain is None, "the target's copy goes")
    check(w.source.copy == "handed" and "released" not in w.source.seen, f"{w.source.copy}, {w.source.seen}")


@case
def processors_first(w):
    """Both nodes' hypervisords hear of the pause before it begins and when it is over; one that cannot do anything about it is no reason not to move; an
    answer that comes late ends the move, and is not taken for that to the mark."""
    w.moved(w.move())
    wait(lambda: (w.n1.hv.hurries, w.n2.hv.hurries) == (["begin", "guest", "over"], ["begin", "over"]), "what they hear")
    check(w.n1.hv.seen.index("hurry") < w.n1.hv.seen.index("mark-handed"), str(w.n1.hv.seen))
    start_over(w)
    for n in (w.n1, w.n2):
        n.hv.fail["hurry"] = "not here"
    w.moved(w.move())

    def answers_late(more):
        for n in (w.n1, w.n2):
            start_over(w)
            n.hv.fail["hurry"] = lambda: time.sleep(1.2 * more * SLOW)
            w.stays(w.move(), "hurry: no answer")
        start_over(w)
        asked = []

        def late():
            asked.append(w.source.copy)
            if len(asked) == 2:
                time.sleep(1.2 * more * SLOW)
        w.n1.hv.fail["hurry"] = late
        marked = w.n1.hv.seen.count("mark-handed")
        w.stays(w.move(), "hurry: no answer")
        check(marked == w.n1.hv.seen.count("mark-handed"), str(w.n1.hv.seen))
    patiently(w, [w.n1, w.n2], answers_late)


@case
def a_spare_takes_the_move(w):
    """The worker that waits is the one that moves; a dead or stale one is replaced, and what it had read counts for nothing."""
    for n in (w.n1, w.n2):
        wait(lambda n=n: len(n.workers(spare=True)) == 1, f"{n.name}: a spare", 5)
    before = [n.workers(spare=True)[0] for n in (w.n1, w.n2)]
    w.moved(w.move())
    for n, pid in zip((w.n1, w.n2), before):
        check(pid not in n.workers(spare=True), f"{n.name}: its spare still waits")
        wait(lambda n=n: n.workers(spare=True), f"{n.name}: another spare", 5)
    start_over(w)
    for n in (w.n1, w.n2):
        os.kill(n.workers(spare=True)[0], signal.SIGKILL)
        wait(lambda n=n: not n.workers(spare=True), f"{n.name}: its spare is gone")
    w.moved(w.move())
    start_over(w)
    for n in (w.n1, w.n2):
        wait(lambda n=n: n.workers(spare=True), f"{n.name}: a spare again", 5)
    subprocess.run(["cp", f"{REVOKED_CA}/pki/crl.pem", f"{w.n1.conf}/pki/crl.pem"], check=True)
    subprocess.run(["cp", f"{REVOKED_CA}/pki/ca.crt", f"{w.n1.conf}/pki/ca.crt"], check=True)
    w.n2.use_pki(f"{REVOKED_CA}/n2")
    w.stays(w.move(), "revoked")


# --- deadlines ------------------------------------------------------------------------------------------------------------------------

@waits(11)
@case
def a_hanging_child_is_named_by_its_parent(w):
    """Who asked says which question was not answered, before whoever waits for him loses patience, on the other node too."""
    for n in (w.n1, w.n2):
        n.hurry(PERCENT)

    def hang(who, op):
        who.fail[op] = "hang"

    incoming = w.n2.hv.op_incoming

    def target_hangs(op):
        def made(req):
            reply = incoming(req)
            w.n2.domain.fail[op] = "hang"
            return reply
        w.n2.hv.op_incoming = made

    for op, begin, ms, state in (
            ("takes", lambda: hang(w.n2.hv, "takes"), 500, "running-here"),
            ("incoming-accept", lambda: hang(w.n2.ha, "incoming-accept"), 500, "running-here"),
            ("dirty-round", lambda: hang(w.source, "dirty-round"), 500, "running-here"),
            ("hurry", lambda: hang(w.n1.hv, "hurry"), 500, "running-here"),
            ("pause", lambda: hang(w.source, "pause"), 500, "running-here"),
            ("state-save", lambda: hang(w.source, "state-save"), 500, "running-here"),
            ("state-load", lambda: target_hangs("state-load"), 500, "running-here"),
            ("mark-handed", lambda: hang(w.n1.hv, "mark-handed"), 2500, "handed"),
            ("activate", lambda: hang(w.n2.hv, "activate"), 3750, "handed")):
        for more in (1, 2, 4, 8, 16):         # a busy machine is given more time, by the whole tree alike
            if more > 1:
                for n in (w.n1, w.n2):
                    n.hurry(PERCENT * more)
            begin()
            began = Clock()
            reply = w.move()
            took, wall = began.took(), began.wall()
            w.n2.hv.op_incoming = incoming
            w.n2.ha.fail.clear()
            wait(lambda: not w.n1.workers() and not w.n2.workers(), f"{op}: the workers end")
            start_over(w)
            named = not reply["ok"] and f"{op}: no answer within {ms * more * SLOW} ms" in reply["error"] and reply["state"] == state
            if named and ms * more / 1000 <= wall and took < ms * more / 1000 + 1.5 * SLOW:
                break
        else:
            raise Failed(f"{op}: after {took:.1f} s {reply}")
        if more > 1:
            for n in (w.n1, w.n2):
                n.hurry(PERCENT)
