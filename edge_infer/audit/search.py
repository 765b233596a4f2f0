"""Searches bytes for the pattern: plain, in base64 or hex, compressed, as numbers, as pictures or sound, or scaled."""

from __future__ import annotations

import base64
import binascii
import bz2
import json
import lzma
import re
import zlib
from collections.abc import Callable, Iterator
from typing import Any, Final

from edge_infer.audit.canary import BLOCKS, Canary

DEEPEST: Final = 3
"""Maximum number of nested encodings to undo."""
LARGEST: Final = 16 << 20
"""Maximum number of bytes to decompress."""
_ENOUGH: Final = 6
"""Number of consecutive blocks of a row that cannot match by accident."""
_LEAST: Final = 3 * _ENOUGH
_NEAR, _NEAR_PICTURE, _SKIP = 3, 20, 2
_RUNS: Final = re.compile(rb"(.)\1{2,}", re.DOTALL)
_BASE64: Final = re.compile(rb"[A-Za-z0-9+/_-]{40,}={0,2}")
_HEX: Final = re.compile(rb"(?:[0-9a-fA-F]{2}){24,}")
_NUMBERS: Final = re.compile(rb"(?:-?\d{1,3}(?:\.\d+)?(?:e-?\d+)?[\s,;]+){24,}")
_PICTURES: Final = re.compile(rb"\xff\xd8\xff|\x89PNG\r\n\x1a\n")
_PACKED: Final[tuple[tuple[bytes, Callable[[], Any]], ...]] = (
    (rb"\x78[\x01\x5e\x9c\xda]", zlib.decompressobj),
    (rb"\x1f\x8b\x08", lambda: zlib.decompressobj(31)),
    (rb"BZh[1-9]", bz2.BZ2Decompressor),
    (rb"\xfd7zXZ\x00", lzma.LZMADecompressor),
)


class Search:
    """Searches for one pattern. The search recognizes a row by the order of its levels, with blocks of any width."""

    def __init__(self, canary: Canary) -> None:
        self._canary = canary
        signed = tuple(tuple(level ^ 0x80 for level in row) for row in canary.rows)
        self._needles = tuple(
            row[start : start + _ENOUGH] for row in (*canary.rows, *signed) for start in range(BLOCKS - _ENOUGH + 1)
        )

        self._words = tuple(word.encode() for word in canary.words)

    def found(self, data: bytes) -> str:
        """Return the form in which the data contains the pattern, in words; empty if the data does not contain it."""
        return self._look(data, ())

    def _look(self, data: bytes, way: tuple[str, ...]) -> str:
        if self._has_rows(data):
            return " in ".join((*reversed(way), "raw bytes")) if not way else " in ".join(reversed(way))
        if self._has_words(data):
            return " in ".join(reversed((*way, "words")))
        for name, view in _pictures(data):
            if self._is_picture(view):
                return " in ".join(reversed((*way, name)))
        for name, view in _signals(data):
            if self._has_rows(view):
                return " in ".join(reversed((*way, name)))
        if len(way) < DEEPEST:
            for name, view in _views(data):
                if how := self._look(view, (*way, name)):
                    return how
        return ""

    def _has_rows(self, data: bytes) -> bool:
        values = bytes(run[0][0] for run in _RUNS.finditer(data))
        return any(_follows(values, needle) for needle in self._needles)

    def _has_words(self, data: bytes) -> bool:
        """Return whether the words occur, in letters of one or two bytes, in upper or lower case."""
        plain = data.replace(b"\0", b"").lower()
        return any(word in plain for word in self._words)

    def _is_picture(self, grey: Any) -> bool:
        height, width = grey.shape
        near = 0
        for y, row in enumerate(self._canary.rows):
            for x, level in enumerate(row):
                there = grey[(2 * y + 1) * height // (2 * BLOCKS), (2 * x + 1) * width // (2 * BLOCKS)]
                near += abs(int(there) - level) <= _NEAR_PICTURE
        return near >= BLOCKS * BLOCKS * 3 // 4


def _follows(values: bytes, needle: tuple[int, ...]) -> bool:
    """Return whether these levels follow each other, with only few other values between them."""
    at = skipped = 0
    for value in values:
        if abs(value - needle[at]) <= _NEAR:
            at, skipped = at + 1, 0
            if at == len(needle):
                return True
        elif at and abs(value - needle[at - 1]) > _NEAR:
            skipped += 1
            if skipped > _SKIP:
                at, skipped = int(abs(value - needle[0]) <= _NEAR), 0
    return False


def _views(data: bytes) -> Iterator[tuple[str, bytes]]:
    for text in _HEX.findall(data):
        yield "hex", binascii.unhexlify(text)
    for text in _BASE64.findall(data):
        plain = text.rstrip(b"=").replace(b"-", b"+").replace(b"_", b"/")
        plain = plain[: len(plain) - (len(plain) % 4 == 1)]
        yield "base64", base64.b64decode(plain + b"=" * (-len(plain) % 4))
    for pattern, make in _PACKED:
        for match in re.finditer(pattern, data):
            try:
                view = make().decompress(data[match.start() :], LARGEST)
            except (zlib.error, lzma.LZMAError, OSError, ValueError, EOFError):
                continue
            if len(view) > BLOCKS:
                yield "compressed data", view
    for text in _NUMBERS.findall(data):
        yield "numbers", _levels([float(word) for word in re.split(rb"[\s,;]+", text) if word])


def _signals(data: bytes) -> Iterator[tuple[str, bytes]]:
    """Yield values of two or four bytes as levels, in the ranges of sound and models: 0 to 1, or -1 to 1."""
    import numpy as np

    for name, kind in (("floats", "<f4"), ("sound", "<i2"), ("sound", ">i2")):
        size = np.dtype(kind).itemsize
        for start in range(min(size, len(data))):
            values = np.frombuffer(data, kind, (len(data) - start) // size, start)
            with np.errstate(invalid="ignore"):  # some bytes are not finite numbers
                values = values[np.abs(values) <= 1].astype(np.float64) if size == 4 else values / 32768
            if len(values) >= _LEAST:
                yield name, np.rint(127.5 * (values + 1)).astype(np.uint8).tobytes()
                yield name, np.rint(255 * values[values >= 0]).astype(np.uint8).tobytes()


def _levels(numbers: Any) -> bytes:
    """Return numbers as grey levels: from 0..1, from -1..1, or unchanged."""
    least, most = min(numbers), max(numbers)
    if most <= 1.0:
        return bytes(round(255 * n if least >= 0 else 127.5 * (n + 1)) & 0xFF for n in numbers if -1 <= n <= 1)
    return bytes(round(n) & 0xFF for n in numbers if abs(n) < 1e6)


def _pictures(data: bytes) -> Iterator[tuple[str, Any]]:
    """Yield everything that can be decoded as a picture, in grey."""
    for match in _PICTURES.finditer(data):
        import cv2
        import numpy as np

        grey = cv2.imdecode(np.frombuffer(data[match.start() :], np.uint8), cv2.IMREAD_GRAYSCALE)
        if grey is not None and min(grey.shape) >= BLOCKS:
            yield "a picture", grey


def leaks(canary: Canary) -> dict[str, bytes]:
    """Return the deliberate leaks of the positive control: one of every kind that the audit claims to find."""
    import cv2
    import numpy as np

    grey = canary.picture(56, 40)
    sound = np.asarray(canary.samples(400, 0, 512), np.float32)
    slower = np.interp(np.arange(0, 511, 1.7), np.arange(512), sound)
    line = canary.line().encode()
    pixels = np.frombuffer(canary.picture(96, 72), np.uint8).reshape(72, 96)
    return {
        "raw": canary.picture(64, 48, 3),
        "re-scaled": cv2.resize(pixels, (61, 43), interpolation=cv2.INTER_LINEAR).tobytes(),
        "signed": bytes(level ^ 0x80 for level in grey),
        "base64": base64.b64encode(grey),
        "hex": grey.hex().encode(),
        "compressed": zlib.compress(grey),
        "compressed in base64": base64.b64encode(zlib.compress(grey, 9)),
        "numbers": json.dumps(list(grey)).encode(),
        "floats": (np.frombuffer(grey, np.uint8) / np.float32(255)).astype(np.float32).tobytes(),
        "PNG": cv2.imencode(".png", pixels)[1].tobytes(),
        "samples": sound.tobytes(),
        "samples at another rate": slower.astype(np.float32).tobytes(),
        "sound": (32767 * sound).astype("<i2").tobytes(),
        "sound in base64": base64.b64encode((32767 * sound).astype("<i2").tobytes()),
        "numbers of a signal": json.dumps([round(float(value), 3) for value in sound]).encode(),
        "words": line.upper(),
        "words of two bytes a letter": canary.line().encode("utf-16-le"),
        "words in hex": line.hex().encode(),
        "words compressed in base64": base64.b64encode(zlib.compress(line)),
        "JPEG in base64": base64.b64encode(cv2.imencode(".jpg", pixels)[1].tobytes()),
    }
