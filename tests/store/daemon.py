# SPDX-License-Identifier: GPL-2.0-or-later
"""What the store's and the console's tests share: a private run folder, the daemons in it, requests to their sockets."""
import array
import glob
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import traceback

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), ".."))
import hostclock                                                                         # noqa: E402

BUILD = os.environ.get("HAVEN_BUILD") or os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "..", "build")


class Failed(Exception):
    pass


def expect(what, have, want):
    if have != want:
        raise Failed(f"{what}: have {have!r}, want {want!r}")


def wait_for(what, fn, seconds=120):
    """fn()'s value once it is true, within so many seconds of the host's (hostclock)."""
    def looked():
        try:
            return fn()
        except OSError:
            return None
    v = hostclock.comes(looked, seconds)
    if not v:
        raise Failed(f"waited {seconds} s for {what}")
    return v


def send_json(sock, obj, fds=()):
    anc = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", fds))] if fds else []
    sock.sendmsg([json.dumps(obj).encode()], anc)


def recv_json(sock):
    data, anc, _, _ = sock.recvmsg(65536, socket.CMSG_SPACE(8 * 4))
    fds = array.array("i")
    for _, kind, part in anc:
        if kind == socket.SCM_RIGHTS:
            fds.frombytes(part[:len(part) - len(part) % 4])
    return json.loads(data), list(fds)


class Run:
    """A run folder with daemons in it; everything goes away with it."""

    def __init__(self):
        self.dir = tempfile.mkdtemp(prefix="haven-store-")
        self.env = dict(os.environ, HAVEN_RUN_DIR=self.dir, HAVEN_STATE_DIR=self.dir + "/state", HAVEN_CONF_DIR=self.dir + "/conf",
                        HAVEN_LOG_DIR=self.dir, HAVEN_CONSOLE_LOG_DIR=self.dir + "/console", XENSTORED_RUNDIR=self.dir + "/xs",
                        XENSTORED_PATH=self.dir + "/xs/socket", HAVEN_LIBEXEC_DIR=BUILD, PATH=BUILD + ":" + os.environ["PATH"])
        os.mkdir(self.dir + "/xs")
        self.daemons = {}

    def start(self, name, sock, seconds=60):
        self.daemons[name] = subprocess.Popen([os.path.join(BUILD, name)], env=self.env, stderr=subprocess.PIPE)
        path = os.path.join(self.dir, sock)

        def up():
            if self.daemons[name].poll() is not None:
                raise Failed(f"{name} ended: {self.daemons[name].stderr.read().decode()}")
            s = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
            try:
                s.connect(path)
                return True
            finally:
                s.close()
        wait_for(f"{name} to listen", up, seconds)

    def kill(self, name, sig=signal.SIGKILL):
        p = self.daemons.pop(name)
        p.send_signal(sig)
        p.wait(120)
        p.stderr.close()
        return p.returncode

    def call(self, sock, obj, fds=()):
        s = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        s.settimeout(120)
        s.connect(os.path.join(self.dir, sock))
        send_json(s, obj, fds)
        reply, got = recv_json(s)
        s.close()
        return (reply, got) if got else reply

    def done(self):
        for name in list(self.daemons):
            self.kill(name)
        for record in glob.glob(self.dir + "/domain/*.json"):     # domains outlive their hypervisord
            with open(record, encoding="utf-8") as f:
                pid = json.load(f).get("pid", 0)
            if pid > 1:
                try:
                    os.kill(pid, signal.SIGKILL)
                except ProcessLookupError:
                    pass
        shutil.rmtree(self.dir, ignore_errors=True)


def expect_no_rights(run, name, uid):
    """The daemon serves as a user of its own, without a group or a capability."""
    with open(f"/proc/{run.daemons[name].pid}/status", encoding="ascii") as f:
        status = dict(line.rstrip("\n").split(":\t", 1) for line in f if ":\t" in line)
    expect("uid", status["Uid"].split(), [str(uid)] * 4)
    expect("gid", status["Gid"].split(), [str(uid)] * 4)
    expect("groups", status["Groups"].strip(), "")
    for caps in ("CapEff", "CapPrm", "CapInh"):
        expect(caps, int(status[caps], 16), 0)


def request(run, obj, fds=(), timeout=180):
    """hypervisord's answer, progress left out; Failed when it refuses."""
    s = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    s.settimeout(timeout)
    s.connect(os.path.join(run.dir, "hypervisord.sock"))
    send_json(s, obj, fds)
    while True:
        reply = recv_json(s)[0]
        if "progress" not in reply:
            break
    s.close()
    if not reply.get("ok"):
        raise Failed(f"{obj['op']}: {reply}")
    return reply


def terminated(*_):
    raise Failed("ended from outside: a time limit?")


def main(*tests):
    failed = []
    signal.signal(signal.SIGTERM, terminated)
    hostclock.watch()
    for test in tests:
        run = Run()
        try:
            test(run)
            print(f"ok {test.__name__}", flush=True)
        except Exception as e:                                      # whatever it is, the logs and the host are told, and the others go on
            if not isinstance(e, (Failed, OSError, subprocess.SubprocessError)):
                traceback.print_exc(file=sys.stdout)
            print(f"FAILED {test.__name__}: {e}", flush=True)
            for f in sorted(os.listdir(run.dir)):
                if f.endswith(".log"):
                    with open(os.path.join(run.dir, f), encoding="utf-8", errors="replace") as log:
                        print(f"--- {f}\n" + log.read()[-2000:])
            failed.append(f"FAILED {test.__name__}: {e}; {hostclock.report()}")
        finally:
            run.done()
    print("".join(line + "\n" for line in failed), end="")     # the end of a log is what is seen of it
    sys.exit(1 if failed else 0)
