"""Reads one picture from a file."""

from __future__ import annotations

import logging
import stat
import struct
from pathlib import Path
from typing import Final

import cv2
import numpy as np

from edge_infer.errors import InputError
from edge_infer.frames.ffmpeg import silenced
from edge_infer.frames.frame import Pixels

log = logging.getLogger(__name__)

LARGEST: Final = 64 << 20
"""Maximum bytes of a file; a larger file is not accepted as a picture."""
_BITFIELDS: Final = 3
_PNG: Final = b"\x89PNG\r\n\x1a\n"
_ANIMATION: Final = (b"acTL", b"fcTL", b"fdAT")
_MOST_CHUNKS: Final = 1 << 16
"""Maximum chunks before the image of a PNG, or in an animated PNG, so that a file of tiny chunks takes little time."""


def read_picture(path: str) -> Pixels:
    """Return the pixels as blue, green, red, upright; raises `InputError` that begins with the path."""
    try:
        if stat.S_ISFIFO(Path(path).stat().st_mode):  # opening it could block forever
            raise InputError(f"{path}: this is a pipe, not a file")
        with Path(path).open("rb") as file:
            data = file.read(LARGEST + 1)
    except IsADirectoryError as error:
        raise InputError(
            f"{path}: this is a folder; name the pictures in it, as in {path.rstrip('/')}/*.jpg"
        ) from error
    except OSError as error:
        raise InputError(f"{path}: {error.strerror or error}") from error
    if not data:
        raise InputError(f"{path}: the file is empty")
    if len(data) > LARGEST:
        raise InputError(f"{path}: the file is larger than {LARGEST >> 20} MB; make it smaller first")
    pixels = decode_picture(data)
    if pixels is None:
        known = "JPEG, PNG, BMP, WebP, TIFF, PNM, and other formats of this OpenCV"
        raise InputError(f"{path}: not a readable picture ({known}), or damaged, or far too large")
    return pixels


def decode_picture(data: bytes) -> Pixels | None:
    """Return the pixels of a whole file as blue, green, red; None if it is not a picture.

    Messages of libraries go to the debug log, because the caller reports the error (in a loop only once).
    """
    with silenced() as printed:
        try:
            pixels = cv2.imdecode(np.frombuffer(_without_animation(data), np.uint8), cv2.IMREAD_COLOR)
        except cv2.error:  # raised for sizes that exceed OpenCV's limit
            return None
    for line in "".join(printed).splitlines():
        log.debug("%s", line)
    return _bitfield_bitmap(data) if pixels is None else np.asarray(pixels, np.uint8)


def format_of(data: bytes) -> str:
    """Return the format of a picture by its first 16 bytes, such as ``JPEG``; empty for a rare format."""
    if data[:4] == b"RIFF" and data[8:12] == b"WEBP":
        return "WebP"
    return next((name for start, name in _FORMATS.items() if data.startswith(start)), "")


_FORMATS: Final = {
    b"\xff\xd8\xff": "JPEG",
    _PNG: "PNG",
    b"GIF8": "GIF",
    b"BM": "BMP",
    b"II*\0": "TIFF",
    b"MM\0*": "TIFF",
}


def _without_animation(data: bytes) -> bytes | bytearray:
    """Return a PNG without the chunks of its animation, and all other data as it is.

    OpenCV's decoder for animated PNG ignores errors in the image data: rows that are missing then contain memory that
    nobody wrote. It uses this decoder if ``acTL`` comes before the image. Otherwise it decodes the image itself,
    and refuses incomplete data.
    """
    if not data.startswith(_PNG):
        return data
    kept, start, animated = bytearray(_PNG), len(_PNG), False
    for _ in range(_MOST_CHUNKS):
        if start + 8 > len(data):
            break
        length, kind = struct.unpack_from(">I4s", data, start)
        end = start + 12 + length
        if kind == b"IDAT" and not animated:
            return data
        if kind in _ANIMATION:
            animated = True
        else:
            kept += data[start:end]
        start = end
    return kept


def _bitfield_bitmap(data: bytes) -> Pixels | None:
    """Decode a 16-bit BMP with bit masks, which microcontroller cameras write and OpenCV cannot read."""
    if len(data) < 66 or data[:2] != b"BM":
        return None
    start, width, height, bits, kind = struct.unpack_from("<10xI4xii2xHI", data)
    masks = struct.unpack_from("<3I", data, 54)
    rows, stride = abs(height), (width * 2 + 3) // 4 * 4
    if bits != 16 or kind != _BITFIELDS or width <= 0 or rows == 0 or start + rows * stride > len(data):
        return None
    if not all(0 < mask < 1 << 16 for mask in masks):
        return None
    words = np.frombuffer(data, "<u2", rows * stride // 2, start).reshape(rows, -1)[:, :width].astype(np.uint32)
    planes = [_eight_bits(words, mask) for mask in reversed(masks)]
    pixels = np.stack(planes, axis=2)
    return pixels if height < 0 else pixels[::-1].copy()


def _eight_bits(words: np.ndarray[tuple[int, ...], np.dtype[np.uint32]], mask: int) -> Pixels:
    lowest = mask & -mask
    return ((words & mask) // lowest * 255 // (mask // lowest)).astype(np.uint8)
