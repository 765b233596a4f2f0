"""Audio front end of TFLite Micro: 40 values every 10 ms, of 30 ms each, with noise reduction and gain control.

It adapts to background noise, so frames depend on earlier ones. The original code is used (``pymicro-features``).
"""

from __future__ import annotations

from typing import Any, Final

import numpy as np

from edge_infer.engine.preprocess.window import Rows
from edge_infer.errors import ModelError

RATE: Final = 16_000
STEP: Final = 0.01
VALUES: Final = 40
_CHUNK: Final = 320
"""Bytes of one step: 160 samples of 16 bits."""


class MicroFrontend:
    """Front end from samples of -1..1, ``[n, 1]`` at 16 kHz, to rows of 40 values; an incomplete step is kept."""

    def __init__(self) -> None:
        """Load the front end; raise `ModelError`, which names the extra, if it is not installed."""
        try:
            from pymicro_features import MicroFrontend as Frontend
        except ImportError as error:
            raise ModelError(
                "it takes features of the TFLite Micro front end; install it: pip install 'edge-infer[micro]' "
                f"({error})"
            ) from error
        self._frontend: Any = Frontend()
        self._waiting = b""

    def __call__(self, samples: Rows) -> Rows:
        """Return the rows that these samples complete."""
        self._waiting += np.clip(np.rint(samples[:, 0] * 32768.0), -32768, 32767).astype("<i2").tobytes()
        rows, start = [], 0
        while start + _CHUNK <= len(self._waiting):
            found = self._frontend.process_samples(self._waiting[start : start + _CHUNK])
            start += 2 * found.samples_read
            if found.features:
                rows.append(found.features)
        self._waiting = self._waiting[start:]
        return np.array(rows, np.float64).reshape(-1, VALUES)
