"""Makes the shipped model package: MediaPipe's full-range face detector, quantized to int8.

The float file holds its weights as float16. It becomes plain float32, is calibrated on crops of a few pictures, and is
quantized: activations per tensor, weights per channel. The same bytes come out on every machine.
"""

from __future__ import annotations

import argparse
import hashlib
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import cv2
import material
import numpy as np
import quantizing
from ai_edge_litert import schema_py_generated as schema
from numpy.typing import NDArray

NAME: Final = "face-detect"
VERSION: Final = "1.0.0"
FILE: Final = "face_full_range_int8.tflite"
GOLDEN_VIEW: Final = (64, 0, 384)
"""Left, top and side of the square of the astronaut picture that becomes the golden input, halved in size."""
GOLDEN_SIDE: Final = 192
GOLDEN_BOX: Final = (0.2812, 0.1771, 0.5643, 0.4602)
GOLDEN_SCORE: Final = 0.969
"""The box (in fractions) and the score that the model finds there; the face is at `material.ASTRONAUT_FACE` (IoU
0.94)."""
CROPS: Final = {
    material.ASTRONAUT: ((0.35, 5), (0.5, 3), (0.7, 3), (0.85, 2)),
    material.CHELSEA: ((0.4, 2), (0.7, 2)),
    material.COFFEE: ((0.4, 2), (0.7, 2)),
    material.MOTORCYCLE: ((0.4, 2), (0.7, 2)),
}
"""Crops beside each whole picture: the share of its sides, and the number of crops in each direction, evenly spread."""


def main() -> int:
    """Write the package into ``<directory>/face-detect/1.0.0``."""
    parser = argparse.ArgumentParser(prog="make-default-model", description=__doc__.splitlines()[0])
    parser.add_argument("directory", type=Path, nargs="?", default=Path(__file__).resolve().parent.parent / "models")
    package: Path = parser.parse_args().directory / NAME / VERSION
    _progress("reading the float model and the pictures")
    model = quantizing.plain_float_model(material.read(material.FLOAT_MODEL))
    _progress("calibrating and quantizing")
    content = quantizing.to_int8(model, samples(model))
    write_package(package, content)
    _progress(f"{package / FILE}: {len(content)} bytes")
    return 0


def samples(model: bytes) -> Iterator[NDArray[np.float32]]:
    """Yield the crops as input tensors, for calibration."""
    side = int(schema.Model.GetRootAsModel(model, 0).Subgraphs(0).Tensors(0).Shape(1))
    for crop in crops():
        yield letterbox(crop, side)[np.newaxis] / np.float32(127.5) - 1


def crops() -> Iterator[NDArray[np.uint8]]:
    """Yield RGB pictures for calibration: whole pictures and evenly spread parts."""
    for member, plan in CROPS.items():
        picture = _picture(member)
        height, width = picture.shape[:2]
        yield picture
        for share, count in plan:
            part = int(height * share), int(width * share)
            for top in np.linspace(0, height - part[0], count, dtype=int):
                for left in np.linspace(0, width - part[1], count, dtype=int):
                    yield picture[top : top + part[0], left : left + part[1]]


def letterbox(picture: NDArray[np.uint8], side: int) -> NDArray[np.float32]:
    """Return the picture in the middle of a black square, with its proportions kept and values from 0 to 255."""
    height, width = picture.shape[:2]
    scale = side / max(height, width)
    small = cv2.resize(picture, (round(width * scale), round(height * scale)), interpolation=cv2.INTER_LINEAR)
    top, left = (side - small.shape[0]) // 2, (side - small.shape[1]) // 2
    square = np.zeros((side, side, 3), np.float32)
    square[top : top + small.shape[0], left : left + small.shape[1]] = small
    return square


def write_package(package: Path, content: bytes) -> None:
    """Write the model file, its golden input and its manifest; replace existing files."""
    (package / "golden").mkdir(parents=True, exist_ok=True)
    (package / FILE).write_bytes(content)
    left, top, side = GOLDEN_VIEW
    view = _picture(material.ASTRONAUT)[top : top + side, left : left + side]
    small = cv2.resize(view, (GOLDEN_SIDE, GOLDEN_SIDE), interpolation=cv2.INTER_AREA)
    cv2.imwrite(str(package / "golden" / "astronaut.png"), cv2.cvtColor(small, cv2.COLOR_RGB2BGR))
    (package / "manifest.yaml").write_text(manifest(hashlib.sha256(content).hexdigest()), encoding="utf-8")


def manifest(digest: str) -> str:
    """Return the text of the manifest."""
    return f"""\
name: {NAME}
version: {VERSION}
file: {FILE}
sha256: {digest}
task: detection
decoder: blazeface
labels: [face]
input: {{color: rgb, resize: letterbox, mean: 127.5, std: 127.5}}
threshold: 0.5
nms: {{iou: 0.3, max: 100}}
licence: Apache-2.0
source: >-
  MediaPipe BlazeFace, full range ({material.FLOAT_MODEL.path} in {material.FACES.requirement}),
  made int8 by scripts/make-default-model; see PROVENANCE.md
golden:
  - input: golden/astronaut.png
    expect: [{{label: face, box: {list(GOLDEN_BOX)}, iou: 0.8, score: {GOLDEN_SCORE}}}]
"""


def _picture(member: material.Member) -> NDArray[np.uint8]:
    return np.asarray(cv2.cvtColor(material.picture(member), cv2.COLOR_BGR2RGB), np.uint8)


def _progress(text: str) -> None:
    print(text, file=sys.stderr)


if __name__ == "__main__":
    sys.exit(main())
