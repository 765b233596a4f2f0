"""``scripts/faults rooms|soak [--repeat N]``: makes faults for real; prints how long they were felt, what they left."""

from __future__ import annotations

import argparse
import sys
import tempfile
from pathlib import Path

from tests.faults import rooms, soak


def main() -> int:
    """Prints one line a fault; 1 when a promise was broken."""
    parser = argparse.ArgumentParser(prog="scripts/faults", description=__doc__)
    parser.add_argument("what", choices=["rooms", "soak"])
    parser.add_argument("--repeat", type=int, default=20, help="repetitions of each fault; default: %(default)s")
    args = parser.parse_args()
    return _soak(args.repeat) if args.what == "soak" else _rooms(args.repeat)


def _rooms(repeat: int) -> int:
    print(rooms.HEADER, flush=True)
    kept = True
    with tempfile.TemporaryDirectory(prefix="edge-infer-faults-") as folder:
        for fault in rooms.FAULTS:
            figure = fault(Path(folder) / fault.__name__, repeat)
            print(figure, flush=True)
            kept &= max(figure.seconds) <= figure.promised
    return 0 if kept else 1


def _soak(repeat: int) -> int:
    kept = True
    with tempfile.TemporaryDirectory(prefix="edge-infer-faults-") as folder:
        for what in soak.SOAKS:
            for growth in what(Path(folder) / what.__name__, repeat):
                print(growth, flush=True)
                kept &= growth.kept
    return 0 if kept else 1


if __name__ == "__main__":
    sys.exit(main())
