"""A child for `test_children`: starts slowly, takes records, and tells how long each was."""

from __future__ import annotations

import argparse
import time

from edge_infer.channel import Channel, ChannelClosedError
from edge_infer.rooms import Announce, GrabDone


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--control", type=int, required=True)
    parser.add_argument("--deaf", type=float, default=0.0)
    args = parser.parse_args()
    control = Channel(args.control, (Announce,))
    time.sleep(args.deaf)
    try:
        while True:
            if (word := control.wait(1.0)) is not None:
                control.send(GrabDone("source", str(len(word.payload))))
    except ChannelClosedError:
        return


if __name__ == "__main__":
    main()
