# SPDX-License-Identifier: GPL-2.0-or-later
"""Saved domains as files (docs/specs/image.md): their records, and the same file with some of it changed."""
import hashlib
import struct

PAGE = 4096
HEADER, CONFIG, PAGES, DOMAIN, VCPU, DEVICES, STORE, END = range(1, 9)
CPUID, SAVED, WATCHDOG, IOBITMAP, OPERATOR, TSC = range(0x80000009, 0x8000000f)
NAMES = {HEADER: "header", CONFIG: "config", DOMAIN: "domain", VCPU: "vcpu", DEVICES: "devices", STORE: "store", END: "end",
         CPUID: "cpuid", SAVED: "saved", WATCHDOG: "watchdog", IOBITMAP: "iobitmap", TSC: "tsc"}


def records(data):
    at = 0
    while at < len(data):
        kind, n = struct.unpack_from("<II", data, at)
        yield kind, data[at + 8:at + 8 + n]
        at += 8 + (n + 7) // 8 * 8


def kinds(path):
    with open(path, "rb") as f:
        return [kind for kind, _ in records(f.read())]


def rewrite(path, change):
    """The file with change(kind, body) instead of each body, or without the record for None; its digest is right."""
    with open(path, "rb") as f:
        data = f.read()
    out = bytearray()
    for kind, body in records(data):
        body = hashlib.sha256(out).digest() if kind == END else change(kind, body)
        if body is not None:
            out += struct.pack("<II", kind, len(body)) + body + bytes(-len(body) % 8)
    with open(path, "wb") as f:
        f.write(out)


def times_at(domain):
    """Where system time, CLOCK_REALTIME and what follows begin in a domain record."""
    at = 16
    for _ in range(2):                                      # two lists of runs
        at += 4 + 16 * struct.unpack_from("<I", domain, at)[0]
    return at


def saved_at_another_time(path, later_ns):
    """As if the node's clock had been later_ns ahead when it was saved."""
    def change(kind, body):
        b = bytearray(body)
        at = {HEADER: 24, DOMAIN: times_at(body) + 8 if kind == DOMAIN else 0}.get(kind)
        if at:
            struct.pack_into("<Q", b, at, struct.unpack_from("<Q", b, at)[0] + later_ns)
        return bytes(b)
    rewrite(path, change)
