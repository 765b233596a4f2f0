"""The runtime's fast path (XNNPACK): its measured speed-up for a model, and the remedy if it does not work.

The speed-up is measured because the runtime disables the path silently if ``/proc/cpuinfo`` lists no processor. The
imports of `fast_path_main` are not loaded here.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated, Final

from edge_infer.contract.codec import Record, at_most, between

CHILD: Final = "edge_infer.models.trials.fast_path_main"
LEAST_GAIN: Final = 1.2
MOST_GAIN: Final = 1000.0
SHIPPED: Final = Path("face-detect/1.0.0/face_full_range_int8.tflite")
Milliseconds = Annotated[float, between(0, 1e9)]


class Timed(Record, frozen=True):
    """Milliseconds of processor time for one run with and without the fast path, or the ``error``."""

    runtime: Annotated[str, at_most(64)] = ""
    fast: Milliseconds = 0.0
    slow: Milliseconds = 0.0
    error: Annotated[str, at_most(4000)] = ""

    @property
    def gain(self) -> float:
        """Return the speed-up factor of the fast path, to one decimal."""
        return round(min(self.slow / self.fast, MOST_GAIN), 1) if self.fast else 1.0

    @property
    def works(self) -> bool:
        """Return whether the speed-up is at least `LEAST_GAIN`."""
        return self.gain >= LEAST_GAIN


def shipped_model(state_dir: Path) -> Path | None:
    """Return the path of a bundled model that this user can read: in the installation, the store or the checkout.

    Returns None if there is no such model.
    """
    checkout = Path(__file__).parents[3]
    folders = (Path(sys.prefix) / "share/models", state_dir / "models", checkout / "models")
    for folder in folders:
        try:
            with (folder / SHIPPED).open("rb"):
                return folder / SHIPPED
        except OSError:
            continue
    return None


def remedy(runtime: str, root: Path = Path("/")) -> str:
    """Return the remedy for a fast path that does not work; ``root`` is the folder that holds ``proc``."""
    if not _told(root / "proc/cpuinfo"):
        return SHOW_PROCESSOR
    if runtime.startswith("tflite-runtime"):
        return (
            "this runtime does not use it for quantized models; on a 64-bit system install ai-edge-litert instead, a "
            "32-bit one has no faster runtime"
        )
    return "is the runtime made for this processor? Otherwise install another version"


def _told(processor: Path) -> bool:
    try:
        return bool(processor.read_bytes().strip())
    except OSError:
        return False


SHOW_PROCESSOR: Final = (
    "remove ProcSubset=pid from the unit and its drop-ins (systemctl edit edge-infer), mount all of /proc"
)
"""Remedy if the runtime cannot read the processor information."""
