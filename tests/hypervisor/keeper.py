# SPDX-License-Identifier: GPL-2.0-or-later
"""A Linux guest at work (state_keeper.c) on one node, or on two that hand it over: how it begins, and what it says on its console."""
import os
import re
import subprocess

import demo
from daemon import BUILD, Failed, request, wait_for

CACHE = os.environ.get("HAVEN_CACHE") or "/tmp/haven-cache"
UUID = "5a3f0f4e-6c1c-4b6e-9b0e-0c8f3a1d2b12"
COMPLAINTS = re.compile(r".*(soft lockup|hung task|rcu.*stall|BUG:|workqueue lockup|Marking clocksource|time jumped|general protection|Oops).*")


def begin(run, **config):
    """Its domid, once it has said something."""
    subprocess.run(["make", "-s", "-C", BUILD, "tests/hypervisor/state-keeper"], check=True)
    root = run.dir + "/root"
    os.makedirs(root + "/dev")
    subprocess.run(["cp", os.path.join(BUILD, "tests/hypervisor/state-keeper"), root + "/init"], check=True)
    with open(run.dir + "/ramdisk", "wb") as out:
        subprocess.run(["cpio", "-o", "-H", "newc", "--quiet"], cwd=root, input=b".\ndev\ninit\n", stdout=out, check=True)
    config = {"name": "keeper", "uuid": UUID, "type": "pv", "kernel": demo.fetch_kernel(CACHE)[0], "ramdisk": run.dir + "/ramdisk",
              "cmdline": "console=hvc0 quiet", "memory_kib": 98304, "maxmem_kib": 98304, "vcpus": 2, "disk": [], "vif": [],
              "on_poweroff": "destroy", "on_reboot": "destroy", "on_crash": "destroy", "io_timeout_s": 0, **config}
    domid = request(run, {"op": "create", "config": config, "paused": False}, timeout=300)["domid"]
    wait_for("the guest's first line", lambda: counts(run))
    return domid


def console(*runs):
    text = ""
    for run in runs:
        path = run.dir + "/console/guest-keeper.log"
        if os.path.exists(path):
            with open(path, encoding="utf-8", errors="replace") as f:
                text += f.read()
    return text


def counts(*runs):
    """What its workers have counted, by its last whole line; Failed when one of them, or its kernel, has found something."""
    text = console(*runs)
    if "WRONG" in text:
        raise Failed(text[text.index("WRONG"):].splitlines()[0])
    complaint = COMPLAINTS.search(text)
    if complaint:
        raise Failed(f"its kernel: {complaint.group(0)}")
    lines = re.findall(r"^alive (\d+): ([\d ]+) errors (\d+)\r?$", text, re.M)
    return [int(x) for x in max(lines, key=lambda line: int(line[0]))[1].split()] if lines else None


def clocks(*runs):
    """(CLOCK_MONOTONIC, CLOCK_REALTIME) in seconds, the last that it told, by the former."""
    found = [(int(a), int(b)) for a, b in re.findall(r"^clocks (\d+) (\d+)\r?$", console(*runs), re.M)]
    return max(found) if found else None


def works_on(what, *runs):
    """Each of its workers gets on."""
    before = counts(*runs)
    try:
        wait_for("each of the guest's workers to get on", lambda: all(x < y for x, y in zip(before, counts(*runs))))
    except Failed as e:
        raise Failed(f"{what}: {e}: {before}, then {counts(*runs)}") from e
