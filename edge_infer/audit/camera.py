"""``python -m edge_infer.audit.camera WIDTH HEIGHT PATTERN``: a camera that shows only the pattern."""

from __future__ import annotations

import sys
import time

from edge_infer.audit.canary import Canary

_PAUSE = 0.1


def main() -> None:
    """Write rgb24 frames to standard output until the reader closes it. A moving edge makes each frame different."""
    width, height = int(sys.argv[1]), int(sys.argv[2])
    frame = bytearray(Canary.from_text(sys.argv[3]).picture(width, height, 3))
    count = 0
    while True:
        count += 1
        frame[-3:] = bytes((count % 256,)) * 3
        sys.stdout.buffer.write(frame)
        sys.stdout.buffer.flush()
        time.sleep(_PAUSE)


if __name__ == "__main__":
    main()
