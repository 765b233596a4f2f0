"""The daemon before a board made of files, with a governor in a hurry: ``python governed.py BOARD run -c FILE …``."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from edge_infer.platform.logs import configure
from edge_infer.supervisor.daemon import Daemon
from edge_infer.supervisor.governor.governor import Tempo

TEMPO = Tempo(look=0.1, pace=0.6, calm=0.6, longest=2.4)


def main() -> int:
    parser = argparse.ArgumentParser()
    parser.add_argument("board", type=Path)
    parser.add_argument("command", choices=["run"])
    parser.add_argument("-c", "--config", type=Path, required=True)
    parser.add_argument("--log-level", default="info")
    args = parser.parse_args()
    configure("supervisor", args.log_level)
    return Daemon(args.config.absolute(), args.log_level, args.board, TEMPO).run()


if __name__ == "__main__":
    sys.exit(main())
