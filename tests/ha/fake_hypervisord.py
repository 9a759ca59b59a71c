#!/usr/bin/python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""hypervisord's socket without domains behind it, so that ha-agentd's side of the contract (docs/specs/messages.md) can be
tested alone under real corosync and pacemaker.  It keeps its table in RUN/fake-table.json, so it can be restarted."""
import json
import os
import select
import socket
import sys

RUN = os.environ.get("HAVEN_RUN_DIR", "/run/haven")
STATE = os.environ.get("HAVEN_STATE_DIR", "/var/lib/haven")
TABLE = os.path.join(RUN, "fake-table.json")


class Refused(Exception):
    def __init__(self, code, text):
        super().__init__(text)
        self.code = code


class Fake:
    def __init__(self):
        os.makedirs(RUN, exist_ok=True)
        os.makedirs(os.path.join(STATE, "activated"), exist_ok=True)
        self.doms = {}
        if os.path.exists(TABLE):
            with open(TABLE) as f:
                self.doms = {int(k): v for k, v in json.load(f).items()}
        self.subscribers = []

    def save(self):
        with open(TABLE + ".tmp", "w") as f:
            json.dump(self.doms, f)
        os.rename(TABLE + ".tmp", TABLE)

    def event(self, name, dom, **more):
        self.save()
        for c in list(self.subscribers):
            try:
                c.send(json.dumps({"event": name, "domain": dom, **more}).encode())
            except OSError:
                self.subscribers.remove(c)

    def find(self, r, *states):
        d = self.doms.get(r.get("domid"))
        if d is None:
            raise Refused("ENOENT", f"domain {r.get('domid')} does not exist")
        if states and d["copy"] not in states:
            raise Refused("EBUSY", f"the copy is {d['copy']}")
        return d

    def grant(self, uuid, number):
        try:
            os.unlink(os.path.join(RUN, "grant", f"{uuid}.{number}"))
        except FileNotFoundError:
            raise Refused("EPERM", "no grant")

    def add(self, r, copy):
        c = r["config"]
        self.grant(c["uuid"], r["attempt"] if copy == "incoming" else r["claim"])
        if r["domid"] in self.doms or any(d["uuid"] == c["uuid"] for d in self.doms.values()):
            raise Refused("EEXIST", "the domain is here already")
        self.doms[r["domid"]] = {"domid": r["domid"], "uuid": c["uuid"], "name": c["name"], "copy": copy,
                                 "attempt": r.get("attempt", 0), "target": "", "config": c}
        self.event("domain-created", self.doms[r["domid"]])
        return {"domid": r["domid"]}

    def change(self, d, **kw):
        d.update(kw)
        self.event("domain-changed", d)
        return {}

    def op_list(self, r):
        return {"domains": [d for d in self.doms.values() if r.get("uuid", d["uuid"]) == d["uuid"]]}

    def op_create(self, r):
        return self.add(r, "running")

    def op_incoming(self, r):
        return self.add(r, "incoming")

    def op_destroy(self, r):
        d = self.find(r, *r.get("expect", []))
        del self.doms[d["domid"]]
        self.event("domain-destroyed", d, reason="destroyed")
        return {}

    def op_shutdown(self, r):
        d = self.find(r)
        if "deaf" not in d["name"]:
            del self.doms[d["domid"]]
            self.event("domain-destroyed", d, reason="poweroff")
        return {}

    def op_quorum_pause(self, r):
        return self.change(self.find(r, "running"), copy="quorum-paused")

    def op_quorum_resume(self, r):
        return self.change(self.find(r, "quorum-paused"), copy="running")

    def op_resume_handed(self, r):
        return self.change(self.find(r, "handed"), copy="running", attempt=0, target="")

    def op_activated(self, r):
        try:
            with open(os.path.join(STATE, "activated", r["uuid"])) as f:
                return {"attempt": int(f.read()), "known": True}
        except FileNotFoundError:
            return {"attempt": 0, "known": True}

    def op_activate(self, r):
        d = self.find(r, "ready", "incoming")
        with open(os.path.join(STATE, "activated", d["uuid"]), "w") as f:
            f.write(str(r["attempt"]))
        return self.change(d, copy="running")

    def op_set(self, r):
        """For tests: a copy's state as hv-domain would have it."""
        return self.change(self.find(r), **r["set"])

    def op_node_info(self, r):
        return {"memory_total_kib": 8 << 20, "memory_free_kib": 1 << 20, "cpus": 2}

    def serve(self, c, r):
        if r["op"] == "subscribe":
            c.send(b'{"ok": true}')
            self.subscribers.append(c)
            return
        try:
            fn = getattr(self, "op_" + r["op"].replace("-", "_"), None)
            if not fn:
                raise Refused("ENOSYS", r["op"] + ": no such op")
            reply = {"ok": True, **fn(r)}
        except Refused as e:
            reply = {"ok": False, "code": e.code, "error": str(e)}
        c.send(json.dumps(reply).encode())


def main():
    path = os.path.join(RUN, "hypervisord.sock")
    if os.path.exists(path):
        os.unlink(path)
    s = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    s.bind(path)
    s.listen(32)
    fake, clients = Fake(), []
    while True:
        for c in select.select([s] + clients, [], [])[0]:
            if c is s:
                clients.append(s.accept()[0])
                continue
            try:
                data = c.recv(1 << 17)
            except OSError:
                data = b""
            if not data:
                clients.remove(c)
                if c in fake.subscribers:
                    fake.subscribers.remove(c)
                c.close()
                continue
            fake.serve(c, json.loads(data))


if __name__ == "__main__":
    sys.exit(main())
