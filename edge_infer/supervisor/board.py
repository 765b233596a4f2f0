"""The description of this board."""

from __future__ import annotations

import os
import platform
from pathlib import Path

_MODEL_FILES = ("proc/device-tree/model", "sys/class/dmi/id/product_name")


def board_name(root: Path = Path("/")) -> str:
    """Return model, cores and architecture in a line, such as ``Raspberry Pi 4 Model B Rev 1.4, 4 cores, aarch64``."""
    model = ""
    for name in _MODEL_FILES:
        try:
            model = (root / name).read_text(errors="replace").strip("\0 \n")
        except OSError:
            continue
        break
    cores = len(os.sched_getaffinity(0))
    parts = [model, f"{cores} core{'s' if cores > 1 else ''}", platform.machine()]
    return ", ".join(part for part in parts if part)[:500]
