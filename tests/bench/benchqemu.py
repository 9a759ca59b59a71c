# SPDX-License-Identifier: GPL-2.0-or-later
"""QEMU 10.0 of bookworm-backports, downloaded and unpacked into a cache folder, not installed.

apt does it with a source list and state of its own: the host's sources and packages stay as they are.
"""
import glob
import os
import shutil
import subprocess

from debian import mirror

SUITES = ("bookworm", "bookworm-backports")


class Qemu:
    def __init__(self, cache):
        self.root = os.path.join(cache, "qemu")
        if not os.path.exists(os.path.join(self.root, "usr/bin/qemu-system-x86_64")):
            self.fetch(os.path.join(cache, "qemu.apt"))

    def fetch(self, work):
        shutil.rmtree(work, ignore_errors=True)
        for d in ("lists/partial", "cache/archives/partial"):
            os.makedirs(os.path.join(work, d))
        with open(os.path.join(work, "sources.list"), "w") as f:
            for suite in SUITES:
                f.write(f"deb [signed-by=/usr/share/keyrings/debian-archive-keyring.gpg] {mirror()} {suite} main\n")
        apt = ["apt-get", "-q", "-o", f"Dir::Etc::sourcelist={work}/sources.list", "-o", "Dir::Etc::sourceparts=/dev/null",
               "-o", f"Dir::State::lists={work}/lists", "-o", f"Dir::Cache={work}/cache"]
        for step in (["update"], ["-y", "--no-install-recommends", "--download-only", "-t", SUITES[1], "install",
                                  "qemu-system-x86"]):
            r = subprocess.run(apt + step, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
            if r.returncode:
                raise SystemExit(f"bench-engine: cannot get QEMU from {SUITES[1]}: {r.stdout[-600:]}")
        tmp = self.root + ".tmp"
        shutil.rmtree(tmp, ignore_errors=True)
        for deb in glob.glob(os.path.join(work, "cache/archives/*.deb")):
            subprocess.run(["dpkg", "-x", deb, tmp], check=True)
        shutil.rmtree(self.root, ignore_errors=True)
        # installed already: apt had nothing to fetch
        os.rename(tmp, self.root) if os.path.isdir(tmp) else os.symlink("/", self.root)
        shutil.rmtree(work)

    def environment(self):
        libs = [os.path.join(self.root, d) for d in ("usr/lib/x86_64-linux-gnu", "lib/x86_64-linux-gnu")]
        return dict(os.environ, LD_LIBRARY_PATH=":".join(libs))

    def command(self):
        share = os.path.join(self.root, "usr/share")
        return [os.path.join(self.root, "usr/bin/qemu-system-x86_64"), "-L", os.path.join(share, "qemu"),
                "-L", os.path.join(share, "seabios"), "-accel", "tcg", "-cpu", "max", "-M", "q35", "-nodefaults", "-no-user-config",
                "-display", "none", "-serial", "stdio", "-no-reboot"]

    def version(self):
        r = subprocess.run(self.command()[:1] + ["--version"], env=self.environment(), stdout=subprocess.PIPE, text=True, check=True)
        return r.stdout.split("(")[0].strip()
