"""Draws what can be rebuilt from the reference of a camera beside a picture of it."""

from __future__ import annotations

import base64
from pathlib import Path

import cv2
import numpy as np
from drift_scenes import SIZE, Scene

from edge_infer.engine.drift.picture import COLUMNS
from edge_infer.ipc.drift import CameraReference


def draw(scene: Scene, reference: CameraReference, place: Path) -> float:
    """Write the pictures side by side; return the correlation of the rebuilt picture with the edges of the real one.

    The mean edges by column and by row are all that is known of the place of anything, so the best picture made of them
    is the one in which both are independent: their product.
    """
    real = scene.picture(scene.learned[0], 12 * 3600.0)
    best = max(reference.appearances, key=lambda each: each.weight)
    edges = np.frombuffer(base64.b64decode(best.edges), np.uint8).astype(np.float32)
    rebuilt = np.outer(edges[COLUMNS:], edges[:COLUMNS])
    gray = np.asarray(cv2.cvtColor(real, cv2.COLOR_BGR2GRAY), np.float32)
    true = np.abs(cv2.Laplacian(cv2.resize(gray, rebuilt.shape[::-1], interpolation=cv2.INTER_AREA), cv2.CV_32F))
    likeness = float(np.corrcoef(rebuilt.ravel(), true.ravel())[0, 1])
    shown = cv2.resize(rebuilt / rebuilt.max() * 255, SIZE, interpolation=cv2.INTER_NEAREST).astype(np.uint8)
    both = np.hstack([real, cv2.cvtColor(shown, cv2.COLOR_GRAY2BGR)])
    cv2.imwrite(str(place), cv2.resize(both, (960, 360), interpolation=cv2.INTER_AREA), [cv2.IMWRITE_JPEG_QUALITY, 80])
    return likeness
