"""The buffer of an IIO sensor: configured through sysfs, read from ``/dev/iio:deviceX``.

The sensor fills the buffer at its own rate, independent of this process.
"""

from __future__ import annotations

import contextlib
import math
import os
import re
import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import numpy as np
from numpy.typing import NDArray

from edge_infer.errors import SourceError
from edge_infer.platform.closing import Closing
from edge_infer.readers.sources import Block
from edge_infer.readers.sources.byte_input import wait_readable
from edge_infer.readers.sources.faults import Faults

if TYPE_CHECKING:
    from typing_extensions import Self


# Layout of samples in a buffer of the kernel's industrial I/O: consecutive scans of all enabled channels.
#
# ``scan_elements/in_X_type`` has the storage format of a channel, ``[be|le]:[s|u]bits/storagebits[Xrepeat][>>shift]``,
# ``in_X_index`` its position. Each channel is aligned to its own size, a scan to the size of its largest channel.
#
# Source: ``Documentation/driver-api/iio/buffers.rst`` and ``Documentation/ABI/testing/sysfs-bus-iio`` of Linux.

TIMESTAMP: Final = "timestamp"
_TYPE: Final = re.compile(r"(be|le):([su])(\d+)/(8|16|32|64)(?:X(\d+))?(?:>>(\d+))?")


@dataclass(frozen=True, slots=True)
class Element:
    """One channel in a scan: ``bits`` of a number of ``storage`` bits after a right shift by ``shift``."""

    name: str
    index: int
    big: bool
    signed: bool
    bits: int
    storage: int
    shift: int

    @classmethod
    def parse(cls, name: str, index: str, text: str) -> Element:
        """Parse an element; raises ValueError for invalid types and indexes.

        Types with repetitions, such as quaternions, are rejected too.
        """
        match = _TYPE.fullmatch(text)
        if match is None:
            raise ValueError(f"{name} has the type {text!r}; expected one such as le:s12/16>>4")
        order, sign, bits, storage, repeat, shift = match.groups()
        if int(repeat or 1) > 1:
            raise ValueError(f"{name} has {repeat} numbers a sample ({text}), which cannot be read as one channel")
        if not 1 <= int(bits) <= int(storage) or int(shift or 0) + int(bits) > int(storage):
            raise ValueError(f"{name} has the type {text!r}; its bits do not fit into its storage")
        if not index.isdecimal():
            raise ValueError(f"{name} has the index {index!r}; expected a number")
        return cls(name, int(index), order == "be", sign == "s", int(bits), int(storage), int(shift or 0))

    @property
    def dtype(self) -> str:
        """Return the NumPy type of the stored number; unsigned, because the sign bit is known only after the shift."""
        return f"{'>' if self.big else '<'}u{self.storage // 8}"

    def numbers(self, stored: NDArray[Any]) -> NDArray[np.int64]:
        """Convert stored values to the signed or unsigned numbers that they represent."""
        wide = stored.astype(np.uint64) >> np.uint64(self.shift)
        if self.bits < 64:
            wide &= np.uint64((1 << self.bits) - 1)
        found = wide.astype(np.int64)
        if self.signed and self.bits < 64:
            found -= (found >> (self.bits - 1)) << self.bits
        return found


class Scan:
    """The layout of a scan, which has one value of each element."""

    def __init__(self, elements: Sequence[Element]) -> None:
        self.elements = tuple(sorted(elements, key=lambda element: element.index))
        offsets, end = [], 0
        for element in self.elements:
            size = element.storage // 8
            end = -(-end // size) * size
            offsets.append(end)
            end += size
        largest = max((element.storage // 8 for element in self.elements), default=1)
        self.size = -(-end // largest) * largest
        """Bytes of one scan."""
        self._dtype = np.dtype(
            {
                "names": [element.name for element in self.elements],
                "formats": [element.dtype for element in self.elements],
                "offsets": offsets,
                "itemsize": self.size,
            }
        )

    def parse(self, data: bytes) -> dict[str, NDArray[np.int64]]:
        """Return the numbers of each channel from complete scans."""
        table = np.frombuffer(data, self._dtype)
        return {element.name: element.numbers(table[element.name]) for element in self.elements}


LENGTH: Final = 2.0
"""Seconds of samples that the kernel's buffer holds."""
SILENCE: Final = 5.0
"""Seconds without data (or ten intervals, if that is longer) after which the buffer counts as failed."""
TURN: Final = 0.5
"""Seconds between two checks for an interruption during a wait."""
NEAR: Final = 0.05
"""Maximum relative difference between the sensor's rate and the requested rate."""
CHUNK: Final = 1 << 16
LATE: Final = 1.5
"""Number of intervals between two timestamps above which a sample is missing."""

Factors = Mapping[str, tuple[float, float]]
"""Offset and scale by channel."""


@dataclass(frozen=True, slots=True)
class IioRate:
    """Samples a second, and the trigger that produces them, for sensors that need one."""

    rate: float
    trigger: str | None


class IioBuffer(Closing):
    """Blocks from a sensor's buffer; ``__enter__`` configures and starts the buffer.

    Closing stops the buffer if this object started it. A setting that already has the right value is not written, so
    that a user without write permission can read a buffer that was configured before. Timestamps are enabled if the
    sensor has them, because they show which samples the kernel lost.
    """

    def __init__(self, folder: Path, node: Path, factors: Factors, pace: IioRate, faults: Faults) -> None:
        """``factors`` has the channels in the wanted order; ``node`` is the character device."""
        self._folder = folder
        self._node = node
        self._factors = factors
        self._wanted = pace.rate
        self._trigger = pace.trigger
        self._faults = faults
        self._fd = -1
        self._started = False
        self._rate = pace.rate
        self._part = b""
        self._ready: deque[Block] = deque()
        self._last: int | None = None
        self._gap = False

    def __enter__(self) -> Self:
        try:
            self._set_up()
            self._fd = os.open(self._node, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
        except SourceError:
            self.close()
            raise
        except OSError as error:
            self.close()
            hint = f"; may the user open {self._node}?" if isinstance(error, PermissionError) else ""
            raise SourceError(f"{self._node} cannot be read: {error.strerror}{hint}") from error
        return self

    def read(self, stopped: Callable[[], bool]) -> Block | None:
        """Return the next block, waiting for it; None once ``stopped`` returns true.

        Raises `SourceError` if the sensor is gone or silent.
        """
        limit = max(SILENCE, 10 / self._rate)
        end = time.monotonic() + limit
        while not self._ready:
            if stopped():
                return None
            if wait_readable(self._fd, min(end, time.monotonic() + TURN)):
                self._take()
            elif time.monotonic() >= end:
                raise SourceError(f"{self._node} has sent nothing for {limit:g} s: does its trigger fire?")
        return self._ready.popleft()

    def close(self) -> None:
        """Stop the buffer if this object started it; may be called twice, and after a failed start."""
        fd, self._fd = self._fd, -1
        if fd >= 0:
            os.close(fd)
        if self._started:
            self._started = False
            with contextlib.suppress(OSError):  # the device and its buffer are gone
                (self._folder / "buffer" / "enable").write_text("0")

    def _set_up(self) -> None:
        files = {name: self._folder / "scan_elements" / f"in_{name}_en" for name in self._factors}
        missing = next((name for name, file in files.items() if not file.exists()), None)
        if missing is not None:
            raise SourceError(
                f"{self._folder.name} has no buffer for {missing} (there is no {files[missing]}); read it without "
                "`buffer: true`"
            )
        every = {file.name[3:-3]: file for file in (self._folder / "scan_elements").glob("in_*_en")}
        states = {file: "1" if name in files or name == TIMESTAMP else "0" for name, file in every.items()}
        running = _text(self._folder / "buffer" / "enable") == "1"
        right = all(_text(file) == state for file, state in states.items())
        if running and not right:
            self._write(self._folder / "buffer" / "enable", "0")
        for file, state in states.items():
            self._write(file, state)
        self._rate = self._set_rate()
        if self._trigger is not None:
            self._write(self._folder / "trigger" / "current_trigger", self._trigger)
        if not (running and right):
            self._write(self._folder / "buffer" / "length", str(max(2, math.ceil(LENGTH * self._rate))))
            self._write(self._folder / "buffer" / "enable", "1")
            self._started = True
        self._scan = Scan([self._element(name) for name, file in every.items() if states[file] == "1"])

    def _element(self, name: str) -> Element:
        place = self._folder / "scan_elements"
        try:
            return Element.parse(name, _text(place / f"in_{name}_index"), _text(place / f"in_{name}_type"))
        except ValueError as error:
            raise SourceError(f"{self._folder.name}: {error}") from error

    def _set_rate(self) -> float:
        """Set the sample rate; return the rate that results.

        The rate is written to the trigger's file if that exists, otherwise to the sensor's own file. If neither exists,
        the requested rate is returned.
        """
        files = [self._folder / "sampling_frequency"]
        if self._trigger is not None:
            named = [each for each in self._folder.parent.glob("trigger*") if _text(each / "name") == self._trigger]
            files = [each / "sampling_frequency" for each in named] + files
        file = next((file for file in files if file.exists()), None)
        if file is None:
            return self._wanted
        if not self._near(_text(file)):
            self._write(file, f"{self._wanted:g}")
        found = _text(file)
        if not self._near(found):
            possible = _text(self._folder / "sampling_frequency_available")
            raise SourceError(
                f"{self._folder.name} delivers {found} samples a second, not {self._wanted:g}"
                + (f"; it supports {possible}" if possible else "")
            )
        return float(found)

    def _near(self, text: str) -> bool:
        try:
            return abs(float(text) - self._wanted) <= NEAR * self._wanted
        except ValueError:
            return False

    def _write(self, file: Path, value: str) -> None:
        """Write the value unless the file already has it; raises `SourceError`."""
        if _text(file) == value:
            return
        try:
            file.write_text(value)
        except OSError as error:
            raise SourceError(
                f"{file} cannot be set to {value}: {error.strerror}; set the buffer up as root (a udev rule), or allow "
                "the user to write there"
            ) from error

    def _take(self) -> None:
        """Turn complete scans into blocks, one before and one after each gap."""
        try:
            data = os.read(self._fd, CHUNK)
        except BlockingIOError:
            return
        except OSError as error:
            raise SourceError(f"{self._node} cannot be read any more: {error.strerror}") from error
        if not data:
            raise SourceError(f"{self._node} has disappeared: the sensor was removed")
        data = self._part + data
        whole = len(data) // self._scan.size * self._scan.size
        self._part = data[whole:]
        if not whole:
            return
        columns = self._scan.parse(data[:whole])
        values = np.stack(
            [(columns[name] + offset) * scale for name, (offset, scale) in self._factors.items()], axis=1
        ).astype(np.float32)
        starts = self._gaps(columns[TIMESTAMP]) if TIMESTAMP in columns else []
        self._hand_on(values, starts)

    def _hand_on(self, values: NDArray[np.float32], starts: list[int]) -> None:
        """Queue the rows of one read as blocks, cut before each row in ``starts``."""
        now, wall = time.monotonic(), time.time()
        for start, end in zip([0, *starts], [*starts, len(values)], strict=True):
            self._gap = self._gap or start in starts
            if end > start:
                late = (len(values) - end) / self._rate
                self._ready.append(Block(values[start:end], self._rate, wall - late, now - late, self._gap))
                self._gap = False

    def _gaps(self, stamps: NDArray[np.int64]) -> list[int]:
        """Return the rows before which samples are missing, from timestamps in nanoseconds.

        The missing samples are also counted as faults.
        """
        before = stamps[0] - 1e9 / self._rate if self._last is None else self._last
        self._last = int(stamps[-1])
        intervals = np.diff(stamps.astype(np.float64), prepend=float(before)) * self._rate / 1e9
        found = np.flatnonzero(intervals > LATE)
        if found.size:
            missed = int(np.sum(np.rint(intervals[found]) - 1))
            self._faults.note(f"{missed} samples lost because its buffer was full", missed)
        return [int(row) for row in found]


def _text(file: Path) -> str:
    try:
        return file.read_text("utf-8", "replace").strip()
    except OSError:
        return ""
