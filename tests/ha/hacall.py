#!/usr/bin/python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""One request to a daemon's socket, its reply on standard output:  hacall.py SOCKET '{"op": "status"}'"""
import json
import os
import socket
import sys


def call(name, request, timeout=60):
    s = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    s.settimeout(timeout)
    s.connect(os.path.join(os.environ.get("HAVEN_RUN_DIR", "/run/haven"), name))
    s.send(json.dumps(request).encode())
    while True:
        data = s.recv(1 << 17)
        if not data:
            raise SystemExit("closed")
        reply = json.loads(data)
        if "progress" not in reply and "event" not in reply:
            return reply


if __name__ == "__main__":
    r = call(sys.argv[1], json.loads(sys.argv[2]))
    print(json.dumps(r))
    sys.exit(0 if r.get("ok") else 1)
