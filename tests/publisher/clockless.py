"""The publisher on a board whose clock is set later: run as a program, as the supervisor runs the real one.

The file named by ``$CLOCK`` has two words: whether the time is known (``yes``, ``no``, ``nobody``), and how many
seconds the clock of the board is ahead of that of this machine.
"""

from __future__ import annotations

import argparse
import os
import time
from pathlib import Path

from edge_infer.ipc.channel import MAX_PLAN_BYTES, MAX_RESULT_BYTES, Channel
from edge_infer.platform.logs import configure
from edge_infer.publisher.health import Board
from edge_infer.publisher.outbox.stored_outbox import StoredOutbox
from edge_infer.publisher.process import FROM_ENGINE, FROM_SUPERVISOR, Publisher
from edge_infer.publisher.timestamps import Clock


class Told:
    """What the file says now."""

    def __init__(self, file: Path) -> None:
        self._file = file

    def says(self, _root: Path) -> bool | None:
        return {"yes": True, "no": False, "nobody": None}[self._file.read_text().split()[0]]

    def wall(self) -> float:
        return time.time() + float(self._file.read_text().split()[1])


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--fence")
    parser.add_argument("--slate")
    parser.add_argument("--delivered")
    parser.add_argument("--rates")
    parser.add_argument("--control", type=int)
    parser.add_argument("--results", type=int)
    args = parser.parse_args()
    configure("publisher", "info")
    told = Told(Path(os.environ["CLOCK"]))
    control, results = (
        Channel(args.control, FROM_SUPERVISOR, MAX_PLAN_BYTES),
        Channel(args.results, FROM_ENGINE, MAX_RESULT_BYTES),
    )
    with StoredOutbox() as outbox:
        Publisher(control, results, outbox, Board(), Clock(says=told.says, wall=told.wall)).run()


if __name__ == "__main__":
    main()
