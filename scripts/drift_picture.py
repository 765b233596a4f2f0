"""Draws the best picture that can be rebuilt from a camera's reference, beside a real picture of the shipped clip."""

from __future__ import annotations

from pathlib import Path
from typing import Final

import cv2
import numpy as np
from drift_scenes import frames_of

from edge_infer.engine.drift.camera import CameraWatch
from edge_infer.engine.drift.packed import unpack_appearance
from edge_infer.engine.drift.picture import picture_signals
from edge_infer.ipc.drift import CameraReference

ROOT: Final = Path(__file__).parents[1]
CLIP: Final = ROOT / "models" / "demo" / "faces.mp4"
SIZE: Final = (640, 360)


def draw(place: Path) -> tuple[CameraReference, float]:
    """Write both pictures side by side; return the reference, and the correlation of the rebuilt picture with the real
    edges.

    The reference contains only the mean edges by column and by row. So the best rebuilt picture is their product, in
    which columns and rows are independent.
    """
    frames = frames_of(CLIP)
    signals = [picture_signals(frame) for frame in frames]
    watch, number = CameraWatch("clip", 365 * 86400.0, CameraReference("clip")), 0
    while watch.learned < 1.0:
        watch.see(number * 45.0, signals[number % len(signals)])
        number += 1
    reference = watch.kept()
    _, _, columns, rows = max(map(unpack_appearance, reference.appearances), key=lambda each: each[0])
    rebuilt = np.outer(rows, columns)
    gray = np.asarray(cv2.cvtColor(frames[0], cv2.COLOR_BGR2GRAY), np.float32)
    small = cv2.resize(gray, rebuilt.shape[::-1], interpolation=cv2.INTER_AREA)
    likeness = float(np.corrcoef(rebuilt.ravel(), np.abs(cv2.Laplacian(small, cv2.CV_32F)).ravel())[0, 1])
    shown = cv2.resize(rebuilt / rebuilt.max() * 255, SIZE, interpolation=cv2.INTER_NEAREST).astype(np.uint8)
    both = np.hstack([cv2.resize(frames[0], SIZE), cv2.cvtColor(shown, cv2.COLOR_GRAY2BGR)])
    cv2.imwrite(str(place), cv2.resize(both, (960, 270), interpolation=cv2.INTER_AREA), [cv2.IMWRITE_JPEG_QUALITY, 80])
    return reference, likeness
