"""Writes docs/pictures/replay.jpg: one frame of a replay of the shipped clip, with the results drawn in.

`write` creates such a picture for any configuration.

usage: python scripts/replay_picture.py
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path
from typing import Final

import cv2

from edge_infer.cli import main

ROOT: Final = Path(__file__).resolve().parents[1]
FRAME: Final = 124
CONFIG: Final = f"""\
device: {{id: docs, state_dir: state}}
models:
  faces: {{file: {ROOT}/models/face-detect/1.0.0/face_full_range_int8.tflite}}
sources:
  clip: {{kind: video, file: {ROOT}/models/demo/faces.mp4}}
pipelines:
  faces:
    source: clip
    model: faces
    threshold: 0.5
    track: true
    zones: {{left: [[0.02, 0.1], [0.48, 0.1], [0.48, 0.95], [0.02, 0.95]]}}
    lines: {{middle: {{from: [0.55, 0.1], to: [0.55, 0.95]}}}}
"""


def write(folder: Path, text: str, frame: int, name: str) -> int:
    """Replay a configuration in a folder and write one frame to docs/pictures; return the replay's exit code."""
    config, film = folder / "config.yaml", folder / "out.mp4"
    config.write_text(text)
    code = main(["replay", "-c", str(config), "--annotate", str(film)])
    capture = cv2.VideoCapture(str(film))
    capture.set(cv2.CAP_PROP_POS_FRAMES, frame)
    picture = capture.read()[1]
    capture.release()
    cv2.imwrite(str(ROOT / "docs" / "pictures" / name), picture, [cv2.IMWRITE_JPEG_QUALITY, 80])
    return code


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as place:
        sys.exit(write(Path(place), CONFIG, FRAME, "replay.jpg"))
