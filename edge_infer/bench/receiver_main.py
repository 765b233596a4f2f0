"""Process that receives pipeline results as the publisher does: ``python -m edge_infer.bench.receiver_main FD``.

Every 0.05 s it acknowledges the sequence number of the newest result. The process ends with the channel.
"""

from __future__ import annotations

import sys
import time
from typing import Final

from edge_infer.ipc.channel import MAX_RESULT_BYTES, Channel, ChannelClosedError
from edge_infer.ipc.messages import Acked, Handover, StateSnapshot
from edge_infer.sandbox import lock

EVERY: Final = 0.05


def main() -> int:
    """Receive until the channel ends, then return 0."""
    lock("probe")
    channel = Channel(int(sys.argv[1]), (Handover, StateSnapshot), MAX_RESULT_BYTES)
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
