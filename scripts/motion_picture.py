"""Writes docs/pictures/motion.jpg: one frame of a replay with ``motion`` and tiles, in which a portrait crosses a wall.

usage: python scripts/motion_picture.py
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path
from typing import Final

import cv2
import numpy as np
from replay_picture import ROOT, write

from edge_infer.frames.picture import read_picture

FRAMES: Final = 60
FRAME: Final = 52
SIZE: Final = (640, 360)
PORTRAIT: Final = ROOT / "models" / "face-detect" / "1.0.0" / "golden" / "astronaut.png"
CONFIG: Final = f"""\
device: {{id: docs, state_dir: state}}
models:
  faces: {{file: {ROOT}/models/face-detect/1.0.0/face_full_range_int8.tflite}}
sources:
  clip: {{kind: video, file: wall.avi}}
pipelines:
  faces:
    source: clip
    model: faces
    threshold: 0.5
    track: true
    motion: true
    preprocess: {{tiles: 2x1}}
"""


def film(path: Path) -> None:
    """Write a clip: three seconds of a wall, then a person enters from the right."""
    dice = np.random.default_rng(1)
    across, down = np.meshgrid(np.linspace(150, 190, SIZE[0]), np.linspace(0, -40, SIZE[1]))
    wall = (across + down)[..., None].repeat(3, axis=2)
    portrait = cv2.resize(read_picture(str(PORTRAIT)), (200, 200), interpolation=cv2.INTER_AREA)
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*"MJPG"), 10.0, SIZE)
    for number in range(FRAMES):
        picture = wall + dice.normal(0.0, 3.0, wall.shape)
        left = max(SIZE[0] - 12 * max(0, number - 30), 420)
        picture[100:300, left : left + 200] = portrait[:, : SIZE[0] - left]
        writer.write(np.clip(picture, 0, 255).astype(np.uint8))
    writer.release()


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as place:
        film(Path(place, "wall.avi"))
        sys.exit(write(Path(place), CONFIG, FRAME, "motion.jpg"))
