"""``python -m edge_infer.privacy.camera WIDTH HEIGHT PATTERN``: a camera that sees nothing but the pattern."""

from __future__ import annotations

import sys
import time

from edge_infer.privacy.canary import Canary

_PAUSE = 0.1


def main() -> None:
    """Frames in rgb24 on standard output, until nobody reads them; a moving edge keeps them from being the same."""
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
