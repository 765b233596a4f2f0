"""Lists the capture devices of this board and their modes, as the kernel (V4L2) reports them."""

from __future__ import annotations

import errno
import fcntl
import os
import re
import struct
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

# linux/videodev2.h: a request code holds direction, size, type 'V' and index; layouts are the same on every processor.
_QUERYCAP: Final = 0x80685600
_ENUM_FMT: Final = 0xC0405602
_ENUM_FRAMESIZES: Final = 0xC02C564A
_ENUM_FRAMEINTERVALS: Final = 0xC034564B
_CAPTURE: Final = 0x00000001
_DEVICE_CAPS: Final = 0x80000000
_BUFFER_CAPTURE: Final = 1
_DISCRETE: Final = 1
_MOST: Final = 256
"""Maximum number of entries in one list; a driver that reports more is broken."""

Ioctl = Callable[[int, int, bytearray], object]


@dataclass(frozen=True, slots=True)
class Mode:
    """One pixel format (FOURCC) and size with its frame rates, fastest first; ``size`` may describe a range."""

    format: str
    size: str
    fps: tuple[float, ...] = ()

    def __str__(self) -> str:
        rates = ", ".join(f"{rate:g}" for rate in self.fps)
        return f"{self.format} {self.size}" + (f" at {rates} fps" if rates else "")


@dataclass(frozen=True, slots=True)
class CaptureDevice:
    """A device that captures video, or one that could not be queried (``problem`` is the reason)."""

    path: str
    name: str = ""
    bus: str = ""
    modes: tuple[Mode, ...] = ()
    problem: str = ""


def capture_devices(folder: Path = Path("/dev"), ioctl: Ioctl = fcntl.ioctl) -> list[CaptureDevice]:
    """Return the devices in ``folder`` that capture video, without encoders, radios and metadata nodes."""
    names = sorted(folder.glob("video*"), key=lambda path: (len(path.name), path.name))
    paths = [path for path in names if re.fullmatch(r"video\d+", path.name)]
    return [device for path in paths if (device := _ask(path, ioctl)) is not None]


def _ask(path: Path, ioctl: Ioctl) -> CaptureDevice | None:
    try:
        fd = os.open(path, os.O_RDWR | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError as error:
        hint = "; add your user to the group `video`" if isinstance(error, PermissionError) else ""
        return CaptureDevice(str(path), problem=f"cannot be opened: {error.strerror}{hint}")
    try:
        capability = bytearray(104)
        ioctl(fd, _QUERYCAP, capability)
        _driver, card, bus, _version, caps, device_caps = struct.unpack_from("@16s32s32sIII", capability)
        if not (device_caps if caps & _DEVICE_CAPS else caps) & _CAPTURE:
            return None
        return CaptureDevice(str(path), _text(card), _text(bus), tuple(_modes(fd, ioctl)))
    except OSError as error:
        return CaptureDevice(str(path), problem=f"does not answer as a camera: {error.strerror}")
    finally:
        os.close(fd)


def _modes(fd: int, ioctl: Ioctl) -> Iterator[Mode]:
    for answer in _listed(fd, _ENUM_FMT, 64, lambda index: struct.pack("@II", index, _BUFFER_CAPTURE), ioctl):
        (code,) = struct.unpack_from("@I", answer, 44)
        fourcc = struct.pack("@I", code)
        yield from _sizes(fd, fourcc, ioctl)


def _sizes(fd: int, fourcc: bytes, ioctl: Ioctl) -> Iterator[Mode]:
    name = fourcc.decode("latin-1").strip()
    found = False
    for answer in _listed(fd, _ENUM_FRAMESIZES, 44, lambda index: struct.pack("@I4s", index, fourcc), ioctl):
        found = True
        kind, *numbers = struct.unpack_from("@I6I", answer, 8)
        if kind != _DISCRETE:  # one answer describes all sizes of a range
            yield Mode(name, f"{numbers[0]}x{numbers[3]} to {numbers[1]}x{numbers[4]}")
            return
        width, height = numbers[:2]
        yield Mode(name, f"{width}x{height}", _rates(fd, fourcc, width, height, ioctl))
    if not found:
        yield Mode(name, "any size")


def _rates(fd: int, fourcc: bytes, width: int, height: int, ioctl: Ioctl) -> tuple[float, ...]:
    rates = set()
    ask = _ENUM_FRAMEINTERVALS
    for answer in _listed(fd, ask, 52, lambda index: struct.pack("@I4sII", index, fourcc, width, height), ioctl):
        kind, numerator, denominator = struct.unpack_from("@III", answer, 16)
        if numerator:
            rates.add(round(denominator / numerator, 2))
        if kind != _DISCRETE:
            break
    return tuple(sorted(rates, reverse=True))


def _listed(fd: int, request: int, size: int, question: Callable[[int], bytes], ioctl: Ioctl) -> Iterator[bytearray]:
    """Yield the answers to a query with index 0, 1, 2 … until the driver returns EINVAL or ENOTTY."""
    for index in range(_MOST):
        answer = bytearray(question(index).ljust(size, b"\0"))
        try:
            ioctl(fd, request, answer)
        except OSError as error:
            if error.errno in (errno.EINVAL, errno.ENOTTY):
                return
            raise
        yield answer


def _text(field: bytes) -> str:
    return field.split(b"\0")[0].decode("utf-8", "replace")
