# SPDX-License-Identifier: GPL-2.0-or-later
"""What a test on the test bed begins and ends with; environment as ./check gives it."""
import json
import os
import re
import signal
import socket
import sys
import threading
import time
import traceback

TOP = os.environ.get("HAVEN_TOP") or os.path.abspath(os.path.join(os.path.dirname(os.path.abspath(__file__)), "../.."))
sys.path.insert(0, os.path.join(TOP, "tests/testbed"))
from democluster import DemoCluster, Failed, Wrong  # noqa: E402

LONG = os.environ.get("HAVEN_LONG") == "1"


def cluster():
    build = os.environ.get("HAVEN_BUILD", os.path.join(TOP, "build"))
    work = os.environ.get("HAVEN_WORK", "/var/tmp/haven-test")
    os.makedirs(work, exist_ok=True)
    c = DemoCluster(work, build, os.environ.get("HAVEN_INSTALL", os.path.join(build, "install")),
                    cache=os.environ.get("HAVEN_CACHE"))
    c.watch_host()
    return c


def tell(c):
    """What the nodes look like at a failure, for whoever has nothing but this output."""
    for n in c.tb.nodes:
        if not c.tb.init_pid(n):
            print(f"{n}: its power is off")
            continue
        for argv in (["xl", "list"], ["crm_mon", "-1rf"]):
            out = c.sh(n, "timeout", "10", *argv, check=False).stdout.strip().splitlines()
            print(f"{n} # {' '.join(argv)}", *out[-25:], sep="\n    ")
        try:
            with open(os.path.join(c.tb.root(n), "var/log/xen/console/guest-demo.log"), errors="replace") as f:
                print(f"{n}: end of the guest's console", *f.read()[-1500:].splitlines(), sep="\n    ")
        except OSError:
            pass


class Events(threading.Thread):
    """What ha-agentd of a node tells a subscriber."""

    def __init__(self, c, node):
        super().__init__(daemon=True)
        self.seen = []
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self.sock.connect(f"/proc/{c.tb.init_pid(node)}/root/run/haven/ha-agentd.sock")
        self.sock.sendall(json.dumps({"op": "subscribe"}).encode())
        self.start()

    def run(self):
        while True:
            data = self.sock.recv(1 << 16)
            if not data:
                return
            self.seen.append(json.loads(data))

    def progress(self):
        return [e["progress"] for e in self.seen if e.get("event") == "move-progress"]


# -- migrated's workers held at a step of a move (hold_at in migrated/) ------------------------------------------------------------
def hold_file(c, node):
    return os.path.join(c.tb.root(node), "run/haven/hold")


def arm(c, node, step):
    if not os.path.exists(hold_file(c, node)):
        with open(hold_file(c, node), "wb") as f:
            f.write(b"\0" * 128)
    with open(hold_file(c, node), "r+b") as f:        # in place: a process may have it mapped
        f.write(step.encode().ljust(128, b"\0"))


def reached(c, node):
    with open(hold_file(c, node), "rb") as f:
        return f.read()[64:].rstrip(b"\0").decode()


def release(c, node):
    """Lets a held process go on.  In place: the process has the file mapped."""
    if c.tb.init_pid(node) and os.path.exists(hold_file(c, node)):
        with open(hold_file(c, node), "r+b") as f:
            f.write(b"\0" * 128)


def pids(c, node, name):
    out = c.sh(node, "pgrep", "-f", name, check=False).stdout.split()
    return out


def fenced_nodes(c):
    """Nodes whose power a fence agent has cut, in the order of it."""
    with open(os.path.join(c.tb.t, "shared/events")) as f:
        return re.findall(r"power controller: (?:reboot|off) (\w+)", f.read())


def crashes(c):
    """What the nodes' logs tell of crashed daemons and of sanitizers' findings; killed ones (SIGKILL, SIGTERM) are the tests' own doing."""
    signs = re.compile(r"ended with status 13[4-9]|(Address|Leak|UndefinedBehavior)Sanitizer|runtime error: ")
    found = []
    logs = [os.path.join(c.tb.t, "shared/events")]
    for n in c.tb.nodes:
        for folder, _, files in os.walk(os.path.join(c.tb.t, n, "upper/var/log")):
            logs += [os.path.join(folder, f) for f in files]
    for path in logs:
        if os.path.isfile(path) and not path.endswith((".journal", "guest-demo.log")):
            with open(path, errors="replace") as f:
                found += [f"{os.path.relpath(path, c.tb.t)}: {line.strip()[:200]}" for line in f
                          if signs.search(line) and "status 137" not in line]
    return found


def main(test):
    """Runs test(cluster) and exits with its verdict; the test bed is taken down whatever happens."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    for again in True, True, False:
        status, why = attempt(test, again)
        if not why:
            break
        print(f"once more from the beginning: {why}", flush=True)
    sys.exit(status)


def attempt(test, again):
    """Its status, and why it may be done once more, if that is so."""
    c, begun, why = cluster(), time.monotonic_ns(), None
    if c.tb.state:
        c.tb.down()
    status = 1
    try:
        test(c)
        if crashes(c):
            raise Wrong("something crashed: " + "; ".join(crashes(c)[:5]))
        status = 0
        print("held")
    except Exception as e:
        why = c.cluster_stalled(begun, e) if again else None    # first of all: what it goes by grows old
        c.keep_logs()
        if isinstance(e, (Failed, RuntimeError)):
            tell(c)
            print(f"FAILED: {e}", flush=True)
        else:                                                   # a node that was fenced meanwhile has no files, and no guest to be listed, either
            traceback.print_exc()
            print(f"FAILED: {type(e).__name__}: {e}", flush=True)
    finally:
        c.down()
    return status, why
