"""Makes docs/pictures/replay.jpg: one frame of a replay of the shipped clip, with everything drawn in.

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


def make() -> int:
    """Writes the picture."""
    with tempfile.TemporaryDirectory() as folder:
        config, film = Path(folder, "config.yaml"), Path(folder, "out.mp4")
        config.write_text(CONFIG)
        code = main(["replay", "-c", str(config), "--annotate", str(film)])
        capture = cv2.VideoCapture(str(film))
        capture.set(cv2.CAP_PROP_POS_FRAMES, FRAME)
        picture = capture.read()[1]
        capture.release()
    cv2.imwrite(str(ROOT / "docs" / "pictures" / "replay.jpg"), picture, [cv2.IMWRITE_JPEG_QUALITY, 80])
    return code


if __name__ == "__main__":
    sys.exit(make())
