"""Process that enters the sandbox of a process of the service, and tests it.

``python -m edge_infer.doctor.walls_main ROOM [network]`` prints the state of each sandbox rule as one JSON object.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import Any

from edge_infer.contract.codec import dumps
from edge_infer.sandbox import Fence, lock


def main(words: Sequence[str]) -> int:
    """Lock this process in the sandbox, print the state of each rule, and return 0."""
    room: Any = words[0]
    network = len(words) > 1
    ports = (554,) if network else (1883,) if room == "publisher" else (53,) if room == "resolver" else None
    fence = Fence(anywhere=True) if room == "config" else Fence(ports=ports, datagrams=room == "resolver")
    sys.stdout.buffer.write(dumps(lock(room, network=network, fence=fence)))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
