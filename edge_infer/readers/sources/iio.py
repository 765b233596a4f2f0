"""Sensors of the kernel's industrial I/O (IIO): accelerometers, gyroscopes, thermometers, analogue inputs.

The source polls the sensor's sysfs files one by one, at the configured rate. With ``buffer``, it reads the sensor's
buffer at the sensor's rate.
"""

from __future__ import annotations

import math
import re
import threading
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar, Final

import numpy as np

from edge_infer.errors import SourceError
from edge_infer.plan.records import Gives
from edge_infer.platform.closing import Closing
from edge_infer.readers.sources import Block
from edge_infer.readers.sources.faults import Faults
from edge_infer.readers.sources.iio_buffer import IioBuffer, IioRate
from edge_infer.readers.sources.row_parser import is_usable

if TYPE_CHECKING:
    from typing_extensions import Self

STRETCH: Final = 0.1
"""Length of a block in seconds; it contains at least one sample."""
POLLED: Final = 10_000.0
"""Maximum samples per second when the files are polled."""
LATE: Final = 0.1
"""Seconds by which reading may lag behind before the missed samples are skipped."""


@dataclass(frozen=True, slots=True)
class IioOptions:
    """``device`` is the content of the sensor's ``name`` file, or the folder's name; ``rate`` is in samples per second.

    With ``buffer`` the source reads the character device below ``dev``; a ``trigger`` may set the pace.
    """

    device: str
    channels: tuple[str, ...]
    rate: float
    root: str = "/sys/bus/iio/devices"
    buffer: bool = False
    trigger: str | None = None
    dev: str = "/dev"

    def __post_init__(self) -> None:
        if not self.channels:
            raise ValueError("channels is empty; expected a list such as [accel_x, accel_y, accel_z]")
        if not 0 < self.rate <= 100_000:
            raise ValueError(f"invalid rate {self.rate:g}; expected samples a second, at most 100000")
        if self.rate > POLLED and not self.buffer:
            raise ValueError(f"rate {self.rate:g} is too high to read without a buffer; add buffer: true")
        if self.trigger is not None and not self.buffer:
            raise ValueError("trigger needs a buffer to fill; add buffer: true")


@dataclass(frozen=True, slots=True)
class IioChannel:
    """A channel: its file, and the conversion of its raw number to the unit: ``(raw + offset) * scale``."""

    name: str
    file: Path
    offset: float
    scale: float

    def read(self) -> float:
        """Return the current value; raises OSError if the device is gone, ValueError if the value is not a number."""
        return (float(self.file.read_bytes()) + self.offset) * self.scale


class IioSource(Closing):
    """Samples at a steady rate. Missed samples count in ``faults`` and are marked as a gap."""

    gives: ClassVar[Gives] = "samples"
    noisy: ClassVar[bool] = False
    live: ClassVar[bool] = True
    network: bool = False
    lossless: bool = False
    Options = IioOptions

    def __init__(self, options: IioOptions) -> None:
        self.patience = 1 / options.rate
        self.faults = Faults()
        self._options = options
        self._closed = threading.Event()
        self._channels: list[IioChannel] = []
        self._buffer: IioBuffer | None = None
        self._due = 0.0

    def __enter__(self) -> Self:
        options = self._options
        folder = find_device(Path(options.root), options.device)
        self._closed.clear()
        try:
            self._channels = [make_channel(folder, name, buffered=options.buffer) for name in options.channels]
            if options.buffer:
                factors = {channel.name: (channel.offset, channel.scale) for channel in self._channels}
                node = Path(options.dev) / folder.name
                buffer = IioBuffer(folder, node, factors, IioRate(options.rate, options.trigger), self.faults)
                self._buffer = buffer.__enter__()
        except (OSError, ValueError) as error:
            if isinstance(error, SourceError):
                raise
            raise SourceError(f"{options.device} cannot be read: {error}") from error
        self._due = time.monotonic()
        return self

    def read(self) -> Block | None:
        """Return the samples of the next 0.1 s, at least one; raises `SourceError` when the device is gone."""
        if self._buffer is not None:
            return self._buffer.read(self._closed.is_set)
        interval = 1 / self._options.rate
        rows: list[list[float]] = []
        gap = False
        wanted = max(1, round(STRETCH * self._options.rate))
        while len(rows) < wanted:
            late = time.monotonic() - self._due
            if late > max(LATE, interval):
                missed = math.ceil(late / interval)
                if rows:
                    break  # they are contiguous; the next block has the gap
                gap, self._due = True, self._due + missed * interval
                self.faults.note(f"{missed} samples missed because the board was too slow; a lower rate helps", missed)
            if self._closed.wait(max(0.0, self._due - time.monotonic())):
                return None
            rows.append(self._sample())
            self._due += interval
        return Block(np.array(rows, np.float32), self._options.rate, time.time(), time.monotonic(), gap)

    def interrupt(self) -> None:
        """End a wait in another thread."""
        self._closed.set()

    def close(self) -> None:
        """Stop reading; may be called twice."""
        self._closed.set()
        self._channels = []
        buffer, self._buffer = self._buffer, None
        if buffer is not None:
            buffer.close()

    def _sample(self) -> list[float]:
        try:
            values = [channel.read() for channel in self._channels]
        except OSError as error:
            raise SourceError(f"{self._options.device} cannot be read any more: {error.strerror}") from error
        except ValueError as error:
            raise SourceError(f"{self._options.device} returned a value that is not a number: {error}") from error
        if not values or not all(map(is_usable, values)):
            raise SourceError(
                f"{self._options.device} returned {values}; expected finite numbers within the range of a 32-bit float"
            )
        return values


def find_device(root: Path, device: str) -> Path:
    """Return the folder of a sensor, given the name of the sensor or of the folder; raises `SourceError`."""
    named: dict[str, list[Path]] = {}
    for folder in sorted(root.glob("*")):
        for name in {folder.name, _text(folder / "name"), _text(folder / "label")} - {""}:
            named.setdefault(name, []).append(folder)
    found = named.get(device, [])
    if len(found) > 1:
        folders = " and ".join(folder.name for folder in found)
        raise SourceError(f"{len(found)} sensors have the name {device}; set device to one of {folders}")
    if not found:
        known = ", ".join(sorted(name for name in named if not name.startswith("iio:")))
        raise SourceError(f"there is no sensor {device} under {root}; known: {known or 'none'}")
    return found[0]


def make_channel(folder: Path, name: str, *, buffered: bool = False) -> IioChannel:
    """Return a channel by its full name (``accel_x``), or by its suffix (``x``) if that is unique.

    Raises `SourceError`.
    """
    pattern, place = (_ELEMENT, folder / "scan_elements") if buffered else (_CHANNEL, folder)
    found = {match[1]: file for file in place.glob("in_*") if (match := pattern.fullmatch(file.name))}
    fits = [name] if name in found else [channel for channel in found if channel.endswith(f"_{name}")]
    if len(fits) != 1:
        many = f"{' and '.join(sorted(fits))} end in {name}" if fits else f"it has no channel {name}"
        kind = "its channels with a buffer" if buffered else "its channels"
        raise SourceError(f"{_text(folder / 'name')}: {many}; {kind} are {', '.join(sorted(found)) or 'none'}")
    file = found[fits[0]]
    if file.name.endswith("_input"):
        return IioChannel(fits[0], file, 0.0, 1.0)
    return IioChannel(fits[0], file, _factor(folder, fits[0], "offset", 0.0), _factor(folder, fits[0], "scale", 1.0))


_ELEMENT: Final = re.compile(r"in_(.+?)_en")
_CHANNEL: Final = re.compile(r"in_(.+?)_(?:raw|input)")


def _factor(folder: Path, channel: str, what: str, otherwise: float) -> float:
    """Return the channel's own factor, or that of its type: ``in_accel_x_scale`` or ``in_accel_scale``."""
    kind = re.match(r"[a-z]+", channel)
    for name in (channel, channel.rpartition("_")[0], kind[0] if kind else ""):
        text = _text(folder / f"in_{name}_{what}") if name else ""
        if text:
            return float(text)
    return otherwise


def _text(file: Path) -> str:
    try:
        return file.read_text("utf-8", "replace").strip()
    except OSError:
        return ""
