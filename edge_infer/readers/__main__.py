"""Entry point of ``python -m edge_infer.readers``: the process that reads one live source.

The supervisor starts this process and passes the channels as inherited file descriptors.
"""

from __future__ import annotations

import argparse
import ctypes
import logging
import os
import signal
import sys
from typing import Final

from edge_infer.errors import shortened
from edge_infer.ipc.channel import Channel
from edge_infer.ipc.messages import ReaderTrouble
from edge_infer.ipc.reader_config import read_reader_config
from edge_infer.platform.logs import configure
from edge_infer.readers.environment import prepare
from edge_infer.sandbox import lock
from edge_infer.sandbox.fence import identities
from edge_infer.sandbox.needs import own_places, reader_fence

_PR_SET_PDEATHSIG: Final = 1


def main() -> int:
    """Sandbox the process before loading anything else, then read the source; return 0 after an orderly end."""
    parser = argparse.ArgumentParser(prog="edge-infer reader")
    parser.add_argument("--control", type=int, required=True)
    parser.add_argument("--frames", type=int, required=True)
    parser.add_argument("--source", type=int, required=True, help="an open file with a SourcePlan as JSON")
    parser.add_argument("--log-level", default="info")
    args = parser.parse_args()
    plan = read_reader_config(args.source)
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    # A source may redirect descriptor 2, to which native code writes; our own log lines need a copy of it.
    sys.stderr = os.fdopen(os.dup(2), "w", buffering=1, encoding="utf-8", errors="backslashreplace")
    configure(f"reader {plan.name}", args.log_level)
    prepare(os.environ)
    fence = reader_fence(plan)
    places = own_places(fence)
    were = identities(places)
    walls = lock("reader", network=plan.network, fence=fence)
    try:
        import cv2

        from edge_infer.readers.process import Room, run
    except ImportError as error:
        cause = str(error).strip().splitlines()[-1] if str(error).strip() else type(error).__name__
        text = f"{shortened(cause)} (is the program in a folder that only root can read? Install it below /opt)"
        logging.getLogger(__name__).error("%s", text)  # noqa: TRY400 - a sentence is enough
        Channel(args.frames, ()).send(ReaderTrouble(shortened(text)))  # so that `status` shows it
        return 1
    cv2.setNumThreads(1)  # the cores are for the models
    try:
        return run(plan, args.control, args.frames, Room(walls, places, were))
    except Exception:  # the outermost handler: the process ends, and the supervisor starts a new reader
        logging.getLogger(__name__).exception("reader stops: unexpected exception")
        return 1


if __name__ == "__main__":
    sys.exit(main())
