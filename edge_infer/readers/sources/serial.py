"""Samples from a sensor at a serial port: lines of CSV or JSON, or binary frames."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import math
import os
import struct
import termios
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, Final, Literal

from edge_infer.errors import SourceError
from edge_infer.plan.records import Gives
from edge_infer.platform.closing import Closing
from edge_infer.readers.sources import Block
from edge_infer.readers.sources.byte_input import CHUNK, ByteLines, EndOfInputError, wait_readable
from edge_infer.readers.sources.faults import Faults
from edge_infer.readers.sources.row_gatherer import RowGatherer, Rows, TextRows, next_block
from edge_infer.readers.sources.row_parser import Row, RowParser, is_usable

if TYPE_CHECKING:
    from typing_extensions import Self


# Parser of binary frames in a stream that may start, break off or be corrupted anywhere.

STALE: Final = 1.0
"""Seconds of silence after which an incomplete frame is abandoned."""


class BinaryRows:
    """Rows from binary frames: a ``header``, then values in ``layout``. The caller closes ``fd``.

    The bytes of the header may also occur among the values. While frame boundaries are unknown, a frame counts only if
    another header, or silence, follows it.
    """

    def __init__(self, fd: int, header: bytes, layout: struct.Struct) -> None:
        self._fd = fd
        self._header = header
        self._layout = layout
        self._size = len(header) + layout.size
        self._bytes = bytearray()
        self._heard = 0.0
        self._known = False
        self._before = False

    def next(self, deadline: float) -> Sequence[Row]:
        """Return the row of the next frame; empty if the deadline passes. Raises ValueError if bytes were dropped."""
        while True:
            stale = self._heard + STALE if self._bytes else math.inf
            silent = time.monotonic() >= stale
            row = self._parse(silent=silent)
            if row is not None:
                return (row,)
            if silent and self._bytes:
                self._left_out(len(self._bytes), f"an incomplete frame: {len(self._bytes)} of {self._size} bytes")
                continue
            if wait_readable(self._fd, min(deadline, stale)):
                data = os.read(self._fd, CHUNK)
                if not data:
                    raise EndOfInputError
                self._bytes += data
                self._heard = time.monotonic()
            elif time.monotonic() >= deadline:
                return ()

    def _parse(self, *, silent: bool) -> Row | None:
        """Return a complete frame from the start of the buffer, if any; drop bytes that cannot start a frame."""
        while len(self._bytes) >= self._size:
            if self._bytes.startswith(self._header):
                follows = bytes(self._bytes[self._size : self._size + len(self._header)])
                if self._known or follows == self._header or (silent and not follows):
                    return self._unpack()
                if self._header.startswith(follows):
                    return None  # too early to decide
            place = self._bytes.find(self._header, 1)
            end = place if place > 0 else len(self._bytes) - len(self._header) + 1
            self._left_out(end, f"{end} bytes that do not start a frame")
        return None

    def _unpack(self) -> Row:
        values = self._layout.unpack(self._bytes[len(self._header) : self._size])
        del self._bytes[: self._size]
        self._known = self._before = True
        if not all(map(is_usable, values)):
            raise ValueError("a frame with a value that is not a finite number, or too large for a 32-bit float")
        return tuple(map(float, values))

    def _left_out(self, count: int, text: str) -> None:
        """Drop bytes and raise ValueError.

        Fewer bytes than a frame before the first frame are not a fault, because reading may start in the middle of a
        frame.
        """
        del self._bytes[:count]
        self._known = False
        if self._before or count >= self._size:
            raise ValueError(text)


# Open a serial device in raw mode, at a speed, and exclusively.

SPEEDS: Final = {
    int(name[1:]): value for name, value in vars(termios).items() if name[0] == "B" and name[1:].isdecimal()
}
"""Baud rates that this system supports, and their termios constants."""


def open_tty(device: str, baud: int) -> int:
    """Return an open non-blocking descriptor, with the receive buffer cleared. Raises `SourceError`."""
    try:
        fd = os.open(device, os.O_RDWR | os.O_NOCTTY | os.O_NONBLOCK | os.O_CLOEXEC)
    except FileNotFoundError as error:
        raise SourceError(
            f"{device} does not exist: no device is plugged in there; names under /dev/serial/by-id/ stay the same"
        ) from error
    except PermissionError as error:
        raise SourceError(f"no permission to open {device}: the daemon's user must be in group `dialout`") from error
    except OSError as error:
        why = "another program uses it" if error.errno == errno.EBUSY else os.strerror(error.errno or 0)
        raise SourceError(f"{device} cannot be opened: {why}") from error
    try:
        fcntl.ioctl(fd, termios.TIOCEXCL)
        termios.tcsetattr(fd, termios.TCSANOW, _raw(termios.tcgetattr(fd), SPEEDS[baud]))
        termios.tcflush(fd, termios.TCIFLUSH)
    except (OSError, termios.error) as error:
        close_tty(fd)
        raise SourceError(f"{device} is not a serial device: {error.args[-1]}") from error
    return fd


def close_tty(fd: int) -> None:
    """Close the device and end the exclusive use, even if another program has it open too."""
    with contextlib.suppress(OSError):
        fcntl.ioctl(fd, termios.TIOCNXCL)
    os.close(fd)


def _raw(found: list[int | list[bytes | int]], speed: int) -> list[int | list[bytes | int]]:
    """Return the raw settings: 8 data bits, no parity, 1 stop bit, no flow control, no translation (cfmakeraw(3)).

    HUPCL is off, because otherwise each close and reopen would reset Arduino-like boards.
    """
    control = termios.CS8 | termios.CREAD | termios.CLOCAL
    characters = found[6]
    assert isinstance(characters, list)
    characters[termios.VMIN], characters[termios.VTIME] = 0, 0
    return [0, 0, control, 0, speed, speed, characters]


SILENCE: Final = 10.0
"""Seconds without usable data (or as many intervals, if that is longer) after which the port is reopened."""
LONGEST_FRAME: Final = 4096
FIRST: Final = 30.0
"""Seconds that the first rows may take if no rate is configured."""


@dataclass(frozen=True, slots=True)
class SerialOptions:
    """``layout`` is a Python ``struct`` format for the bytes of a frame after its ``header``, which is in hex."""

    device: str
    baud: int = 115200
    format: Literal["csv", "json", "struct"] = "csv"
    columns: tuple[str, ...] = ()
    rate: float | None = None
    layout: str | None = None
    header: str | None = None

    def __post_init__(self) -> None:
        if self.baud not in SPEEDS:
            known = ", ".join(str(speed) for speed in sorted(SPEEDS) if speed >= 1200)
            raise ValueError(f"this system does not support baud {self.baud}; it supports {known}")
        given = [key for key in ("layout", "header") if getattr(self, key) is not None]
        if given and self.format != "struct":
            both = "belong" if len(given) > 1 else "belongs"
            raise ValueError(
                f"{' and '.join(given)} {both} to format: struct, but the format is {self.format}; set format: struct "
                f"for binary frames, or remove {' and '.join(given)}"
            )
        if self.format == "struct" and len(given) < 2:
            raise ValueError(
                "format: struct needs both layout and header: layout lists the numbers of a frame (such as <hhh), "
                "header the bytes at its start (such as aa55), which mark the next frame after a disturbance"
            )
        if self.layout is not None:
            values = struct_of(self.layout)
            if self.columns and len(self.columns) != values:
                raise ValueError(
                    f"layout {self.layout} has {values} values, columns names {len(self.columns)}; to skip a value, "
                    "write `x` for each of its bytes in `layout`, such as <2xf"
                )
        if self.header is not None and not bytes_of(self.header):
            raise ValueError(f"header {self.header} is invalid; expected pairs of hexadecimal digits such as aa55")


class SerialSource(Closing):
    """Samples of a serial device. Invalid or incomplete data is dropped, counted in ``faults``, and marked as a gap."""

    gives: ClassVar[Gives] = "samples"
    noisy: ClassVar[bool] = False
    live: ClassVar[bool] = True
    network: bool = False
    lossless: bool = False
    patience: ClassVar[float] = math.inf  # it waits in select with a deadline of its own
    Options = SerialOptions

    def __init__(self, options: SerialOptions) -> None:
        self.faults = Faults()
        self._options = options
        self._gatherer = RowGatherer(options.rate)
        self._fd = -1
        self._rows: Rows | None = None
        self._silent = False
        """Whether the port is opened again after a silence. That resets no board, which would send other text first."""

    def __enter__(self) -> Self:
        options = self._options
        silent, self._silent = self._silent, False
        self._fd = open_tty(options.device, options.baud)
        self._gatherer = RowGatherer(options.rate)
        if options.layout is not None and options.header is not None:
            self._rows = BinaryRows(self._fd, bytes_of(options.header), struct.Struct(options.layout))
        else:
            lines = ByteLines(self._fd, STALE)
            lines.skip_first(unless_silent=silent)
            self._rows = TextRows(lines, RowParser(options.columns, "json" if options.format == "json" else "csv"))
        return self

    @property
    def values(self) -> int:
        """The number of values in a frame; 0 for lines, which determine it themselves."""
        return 0 if self._options.layout is None else struct_of(self._options.layout)

    def read(self) -> Block | None:
        """Return the rows of about 0.1 s; raises `SourceError` if no usable data arrives or the device is gone."""
        device = self._options.device
        if self._rows is None:
            raise SourceError(f"{device} is not open")
        rate = self._gatherer.rate_known
        limit = FIRST if rate is None else max(SILENCE, SILENCE / rate)
        before = self.faults.count
        try:
            block = next_block(self._rows, self._gatherer, self.faults, limit)
        except (EndOfInputError, OSError) as error:
            raise SourceError(f"{device} has disappeared: it was unplugged, or its other end was closed") from error
        if block is not None:
            return block
        if self.faults.count > before:
            raise SourceError(
                f"{device} has sent no usable data for {limit:g} s ({self.faults.since_good} faults); the last "
                f"was {self.faults.last}; check baud {self._options.baud} and format"
            )
        self._silent = True
        raise SourceError(f"{device} has sent nothing for {limit:g} s: check the sensor's power and rate")

    def close(self) -> None:
        """Close the device; may be called twice."""
        fd, self._fd, self._rows = self._fd, -1, None
        if fd >= 0:
            close_tty(fd)


def struct_of(layout: str) -> int:
    """Return the number of values in a layout; raises ValueError."""
    wrong = f"layout {layout} should begin with < or > and then have the type of each number, such as <hhh or >Iff"
    if layout[:1] not in ("<", ">"):
        raise ValueError(wrong)
    try:
        size = struct.calcsize(layout)
    except struct.error as error:
        raise ValueError(f"{wrong} ({error})") from error
    if size > LONGEST_FRAME:
        raise ValueError(f"layout {layout} has {size} bytes; a frame has at most {LONGEST_FRAME}")
    values = struct.unpack(layout, bytes(size))
    if not values or not all(isinstance(value, (int, float)) for value in values):
        raise ValueError(wrong)
    return len(values)


def bytes_of(header: str) -> bytes:
    """Return the bytes of hexadecimal digits; empty if they are invalid."""
    try:
        return bytes.fromhex(header)
    except ValueError:
        return b""
