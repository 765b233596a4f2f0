"""A child for `test_children`: starts slowly, takes records, and tells how long each was."""

from __future__ import annotations

import argparse
import time
from collections.abc import Sequence

from edge_infer.ipc.channel import MAX_PLAN_BYTES, Channel, ChannelClosedError
from edge_infer.ipc.messages import Announce, GrabDone


def main(words: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser()
    parser.add_argument("--control", type=int, required=True)
    parser.add_argument("--deaf", type=float, default=0.0)
    parser.add_argument("--fault", action="store_true", help="end because of one, once told something")
    args = parser.parse_args(words)
    control = Channel(args.control, (Announce,), MAX_PLAN_BYTES, files=True)
    time.sleep(args.deaf)
    try:
        while True:
            if (word := control.wait(1.0)) is not None:
                if args.fault:
                    raise RuntimeError("a fault")
                control.send(GrabDone("source", str(len(word.payload))))
    except ChannelClosedError:
        return 0
    finally:
        control.close()


if __name__ == "__main__":
    main()
