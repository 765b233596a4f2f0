"""A process that takes results from the pipeline as the publisher does: ``python -m edge_infer.bench.takes FD``.

It says every twentieth of a second up to which number it has them, and ends with the channel.
"""

from __future__ import annotations

import sys
import time
from typing import Final

from edge_infer.channel import MAX_RESULT_BYTES, Channel, ChannelClosedError
from edge_infer.rooms import Acked, Handover, StateUpdate
from edge_infer.sandbox import lock

EVERY: Final = 0.05


def main() -> int:
    """0 at the end of the channel."""
    lock("probe")
    channel = Channel(int(sys.argv[1]), (Handover, StateUpdate), MAX_RESULT_BYTES)
    last: Handover | None = None
    due = time.monotonic() + EVERY
    try:
        while True:
            record = channel.wait(EVERY)
            last = record if isinstance(record, Handover) else last
            if last is not None and time.monotonic() >= due:
                channel.send(Acked(last.pipeline, last.message.boot, "result", last.message.seq))
                last, due = None, time.monotonic() + EVERY
    except ChannelClosedError:
        return 0
    finally:
        channel.close()


if __name__ == "__main__":
    sys.exit(main())
