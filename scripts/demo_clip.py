"""Makes the clip that the demo runs on: a camera pans and zooms over pictures on a wall, faces come, move and leave.

The script also writes the ground truth: for each frame the faces fully in view, and those that its edge cuts. The truth
follows from the positions of pictures and camera, and is the same on every machine. The bytes of the clip depend on the
encoder inside OpenCV.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import cv2
import material
import numpy as np
from numpy.typing import NDArray

Image = NDArray[np.uint8]
Box = tuple[float, float, float, float]

WIDTH: Final = 640
HEIGHT: Final = 480
FPS: Final = 10  # keeps the file small: the encoder spends a fixed number of bits on a frame
WALL: Final = (2960, 960)
"""Width and height of the wall in its own pixels."""


@dataclass(frozen=True, slots=True)
class Hung:
    """A picture on the wall: its left upper corner and scale in pixels of the wall.

    ``part`` is the part of the picture that is shown (xmin, ymin, xmax, ymax in its pixels); ``mirrored`` swaps left
    and right.
    """

    picture: material.Member
    left: int
    top: int
    scale: float
    part: tuple[int, int, int, int]
    mirrored: bool = False


@dataclass(frozen=True, slots=True)
class View:
    """The camera's view at a second of the clip: its centre and its width, in pixels of the wall."""

    second: float
    x: float
    y: float
    width: float


PORTRAIT: Final = (96, 0, 356, 320)
PICTURES: Final = (
    Hung(material.CHELSEA, 150, 330, 1.0, (0, 0, 451, 300)),
    Hung(material.ASTRONAUT, 780, 220, 1.0, (0, 0, 512, 512)),
    Hung(material.COFFEE, 1440, 290, 0.9, (0, 0, 600, 400)),
    Hung(material.ASTRONAUT, 2130, 340, 0.75, PORTRAIT, mirrored=True),
    Hung(material.ASTRONAUT, 2480, 380, 0.6, PORTRAIT),
)
PATH: Final = (
    View(0.0, 380, 480, 640),
    View(1.0, 400, 480, 700),
    View(3.5, 1030, 440, 760),
    View(5.5, 1010, 380, 380),
    View(7.5, 1080, 470, 900),
    View(9.5, 1710, 480, 640),
    View(10.3, 1720, 480, 560),
    View(12.5, 2400, 480, 820),
    View(14.0, 2560, 470, 560),
    View(16.0, 1100, 480, 1100),
    View(17.0, 380, 480, 640),
)


def main() -> int:
    """Write ``faces.mp4`` and ``faces.truth.json`` into the directory."""
    parser = argparse.ArgumentParser(prog="make-demo-clip", description=__doc__.splitlines()[0])
    default = Path(__file__).resolve().parent.parent / "models" / "demo"
    parser.add_argument("directory", type=Path, nargs="?", default=default)
    parser.add_argument("--truth-only", action="store_true", help="leave the clip as it is")
    args = parser.parse_args()
    args.directory.mkdir(parents=True, exist_ok=True)
    (args.directory / "faces.truth.json").write_text(truth(), encoding="utf-8")
    if not args.truth_only:
        write_clip(args.directory / "faces.mp4")
    return 0


def write_clip(path: Path) -> None:
    """Write all frames as MPEG-4 part 2, which every OpenCV wheel can encode and decode."""
    scene = wall()
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*"mp4v"), FPS, (WIDTH, HEIGHT))
    if not writer.isOpened():
        sys.exit(f"OpenCV {cv2.__version__} cannot write {path}")
    count = 0
    for view in views():
        writer.write(shot(scene, view))
        count += 1
    writer.release()
    print(f"{path}: {count} frames, {path.stat().st_size} bytes", file=sys.stderr)


def truth() -> str:
    """Return the truth, one line a frame: ``faces`` fully in view, ``cut`` by the edge. Boxes are in fractions, and
    ``px`` is the shorter side in pixels."""
    lines = []
    for number, view in enumerate(views(), 1):
        seen = [box for box in (view_box(view, face) for face in faces()) if _inside(box) > 0]
        whole = [
            {"box": [round(edge, 4) for edge in box], "px": round(_pixels(box), 1)} for box in seen if _inside(box) == 1
        ]
        cut = [[round(edge, 4) for edge in box] for box in seen if _inside(box) < 1]
        lines.append(json.dumps({"frame": number, "faces": whole, "cut": cut}))
    return f'{{"size": [{WIDTH}, {HEIGHT}], "fps": {FPS}, "frames": [\n' + ",\n".join(lines) + "\n]}\n"


def views() -> Iterator[View]:
    """Yield the camera's view at every frame; between two places of the path the camera starts and stops softly."""
    for number in range(int(PATH[-1].second * FPS)):
        second = number / FPS
        after = next(place for place in range(1, len(PATH)) if second < PATH[place].second)
        a, b = PATH[after - 1], PATH[after]
        linear = (second - a.second) / (b.second - a.second)
        part = linear * linear * (3 - 2 * linear)
        yield View(second, a.x + (b.x - a.x) * part, a.y + (b.y - a.y) * part, a.width * (b.width / a.width) ** part)


def shot(scene: Image, view: View) -> Image:
    """Return the camera's picture in BGR, rendered at twice the size so that distant pictures do not flicker."""
    scale = 2 * WIDTH / view.width
    matrix = np.array([[scale, 0, WIDTH - view.x * scale], [0, scale, HEIGHT - view.y * scale]])
    large = cv2.warpAffine(
        scene, matrix, (2 * WIDTH, 2 * HEIGHT), flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE
    )
    return np.asarray(cv2.resize(large, (WIDTH, HEIGHT), interpolation=cv2.INTER_AREA), np.uint8)


def wall() -> Image:
    """Return the scene in BGR: a plain wall, lighter at the top, with the framed pictures."""
    width, height = WALL
    light = np.linspace(1.0, 0.75, height)[:, np.newaxis, np.newaxis]
    scene: Image = np.empty((height, width, 3), np.uint8)
    scene[:] = light * (196, 205, 208)
    for hung in PICTURES:
        xmin, ymin, xmax, ymax = hung.part
        part = material.picture(hung.picture)[ymin:ymax, xmin:xmax]
        picture = cv2.resize(part, None, fx=hung.scale, fy=hung.scale, interpolation=cv2.INTER_AREA)
        if hung.mirrored:
            picture = cv2.flip(picture, 1)
        bottom, right = hung.top + picture.shape[0], hung.left + picture.shape[1]
        cv2.rectangle(scene, (hung.left - 8, hung.top - 8), (right + 7, bottom + 7), (48, 56, 64), cv2.FILLED)
        scene[hung.top : bottom, hung.left : right] = picture
    return scene


def faces() -> list[Box]:
    """Return the boxes of the faces on the wall, in its pixels."""
    found = []
    for hung in PICTURES:
        if hung.picture is material.ASTRONAUT:
            xmin, ymin, xmax, ymax = material.ASTRONAUT_FACE
            left, right = xmin - hung.part[0], xmax - hung.part[0]
            if hung.mirrored:
                width = hung.part[2] - hung.part[0]
                left, right = width - right, width - left
            down = (hung.top + (edge - hung.part[1]) * hung.scale for edge in (ymin, ymax))
            across = (hung.left + edge * hung.scale for edge in (left, right))
            found.append(tuple(zip(across, down, strict=True)))
    return [(*first, *second) for first, second in found]


def view_box(view: View, box: Box) -> Box:
    """Convert a box on the wall to fractions of the camera's view."""
    width, height = view.width, view.width * HEIGHT / WIDTH
    left, top = view.x - width / 2, view.y - height / 2
    return (box[0] - left) / width, (box[1] - top) / height, (box[2] - left) / width, (box[3] - top) / height


def _inside(box: Box) -> float:
    """Return the share of a box that lies within the frame."""
    across = max(0.0, min(box[2], 1) - max(box[0], 0)) / (box[2] - box[0])
    down = max(0.0, min(box[3], 1) - max(box[1], 0)) / (box[3] - box[1])
    return across * down if across * down < 1 - 1e-9 else 1


def _pixels(box: Box) -> float:
    return min((box[2] - box[0]) * WIDTH, (box[3] - box[1]) * HEIGHT)


if __name__ == "__main__":
    sys.exit(main())
