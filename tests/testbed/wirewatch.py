# SPDX-License-Identifier: GPL-2.0-or-later
"""What a node sends to the others while something goes on, looked at every 5 ms from inside: for how much of the time its wire carries anything."""
import collections

LOOK = """
import time
with open('/sys/class/net/eth0/statistics/tx_bytes') as f:
    while True:
        f.seek(0)
        print(time.monotonic(), f.read().strip(), flush=True)
        time.sleep(0.005)
"""
TALK = 2e6                      # bytes a second: the cluster's own talk is less, memory on its way more


class WireWatch:
    """with WireWatch(c, "n1", path) as w: …, then w.figures().  Times are CLOCK_MONOTONIC's, in seconds."""

    def __init__(self, c, node, path):
        self.path = path
        with open(path, "w", encoding="ascii") as out:
            self.process = c.background(node, out, "python3", "-u", "-c", LOOK)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.process.terminate()
        self.process.wait()

    def figures(self):
        """When the first and the last hundredth of a second began in which it carried memory, their share of those between, and MB/s from first to last."""
        with open(self.path, encoding="ascii") as f:
            rows = [tuple(map(float, line.split())) for line in f if len(line.split()) == 2]
        sent = collections.Counter()
        for (_, before), (t, now) in zip(rows, rows[1:]):
            sent[int(t * 100)] += now - before
        busy = sorted(i for i, n in sent.items() if n > TALK / 100)
        if not busy:
            raise RuntimeError(f"{self.path}: nothing went over the wire")
        first, last = busy[0], busy[-1]
        return first / 100, last / 100, 100 * len(busy) / (last - first + 1), sum(sent[i] for i in range(first, last + 1)) / (last - first + 1) / 1e4
