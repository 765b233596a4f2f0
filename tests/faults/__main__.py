"""``scripts/faults rooms [--repeat N]``: makes every fault for real and prints how long it was felt."""

from __future__ import annotations

import argparse
import sys
import tempfile
from pathlib import Path

from tests.faults import rooms


def main() -> int:
    """Prints one line a fault; 1 when a promise was broken."""
    parser = argparse.ArgumentParser(prog="scripts/faults", description=__doc__)
    parser.add_argument("what", choices=["rooms"])
    parser.add_argument("--repeat", type=int, default=20, help="repetitions of each fault; default: %(default)s")
    args = parser.parse_args()
    print(rooms.HEADER, flush=True)
    kept = True
    with tempfile.TemporaryDirectory(prefix="edge-infer-faults-") as folder:
        for fault in rooms.FAULTS:
            figure = fault(Path(folder) / fault.__name__, args.repeat)
            print(figure, flush=True)
            kept &= max(figure.seconds) <= figure.promised
    return 0 if kept else 1


if __name__ == "__main__":
    sys.exit(main())
