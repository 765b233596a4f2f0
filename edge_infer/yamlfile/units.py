"""Durations, sizes in bytes and picture sizes, as people write them."""

from __future__ import annotations

import re
from typing import Final

SECONDS: Final = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0, "y": 365 * 86400.0}
BYTES: Final = {"": 1, "K": 1 << 10, "M": 1 << 20, "G": 1 << 30}
NUMBER: Final = r"[0-9]{1,15}(?:\.[0-9]{1,9})?"


def parse_duration(value: str | float) -> float:
    """Return seconds of ``500ms``, ``10s``, ``2h``, ``7d``, ``1y`` or a plain number; raises ValueError for others."""
    if isinstance(value, (int, float)) and not isinstance(value, bool):
        return float(value)
    found = re.fullmatch(rf"({NUMBER})(ms|s|m|h|d|y)", value) if isinstance(value, str) else None
    if found is None:
        raise ValueError("a duration is a number of seconds, or a number with its unit: 500ms, 10s, 5m, 2h, 7d, 1y")
    return round(float(found[1]) * SECONDS[found[2]], 9)


def parse_seconds(word: str) -> float:
    """Do the same as `parse_duration` for a word on a command line, where a plain number comes as text."""
    if re.fullmatch(rf"-{NUMBER}(ms|s|m|h|d|y)?", word):
        raise ValueError(
            f"{word} is negative; a duration is a number of seconds from 0 on, or one with its unit: 500ms, 10s"
        )
    return float(word) if re.fullmatch(NUMBER, word) else parse_duration(word)


def parse_size(value: str | int) -> int:
    """Return bytes of ``64M``, ``256K``, ``1G`` (powers of 1,024) or a plain number; raises ValueError for others."""
    if isinstance(value, int) and not isinstance(value, bool):
        return int(value)
    found = re.fullmatch(rf"({NUMBER})([KMG]?)", value) if isinstance(value, str) else None
    if found is None:
        raise ValueError("a size is a number of bytes, or a number with its unit: 256K, 64M, 1G")
    return int(float(found[1]) * BYTES[found[2]])


def parse_pixels(value: str) -> tuple[int, int]:
    """Return the width and height for ``640x480``; raises ValueError otherwise."""
    found = re.fullmatch(r"([0-9]{1,5})x([0-9]{1,5})", value) if isinstance(value, str) else None
    if found is None:
        raise ValueError("a picture size is WIDTHxHEIGHT in pixels: 640x480")
    return int(found[1]), int(found[2])


def format_duration(seconds: float) -> str:
    """Return a short text that `parse_duration` reads as this number of seconds; ``60s`` rather than ``1m``."""
    for unit, factor, least in (
        ("y", 31536000, 31536000),
        ("d", 86400, 86400),
        ("h", 3600, 3600),
        ("m", 60, 120),
        ("s", 1, 1),
        ("ms", 0.001, 0),
    ):
        if seconds >= least and round(seconds / factor, 6).is_integer():
            return f"{round(seconds / factor)}{unit}"
    return f"{seconds:g}"


def rough_duration(seconds: float) -> str:
    """Return a short text for people: seconds; minutes and seconds; or hours and minutes."""
    whole = int(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60} s"
    return f"{whole // 3600} h {whole % 3600 // 60} min"


def format_size(size: int) -> str | int:
    """Return a short text that `parse_size` reads as this number of bytes."""
    for unit in ("G", "M", "K"):
        if size and size % BYTES[unit] == 0:
            return f"{size // BYTES[unit]}{unit}"
    return size
