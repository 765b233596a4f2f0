"""Samples from a sensor at a serial port: lines of CSV or JSON, or binary frames."""

from __future__ import annotations

import math
import struct
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, Final, Literal

from edge_infer.closing import Closing
from edge_infer.config.plan import Gives
from edge_infer.errors import SourceError
from edge_infer.readers.sources import Block
from edge_infer.readers.sources.binary import STALE, BinaryRows
from edge_infer.readers.sources.bytelines import ByteLines, EndOfInputError
from edge_infer.readers.sources.faults import Faults
from edge_infer.readers.sources.gather import Gatherer, Rows, TextRows, next_block
from edge_infer.readers.sources.rows import RowParser
from edge_infer.readers.sources.tty import SPEEDS, close_tty, open_tty

if TYPE_CHECKING:
    from typing_extensions import Self

SILENCE: Final = 10.0
"""Seconds (or as many intervals, if longer) without usable data after which the port is reopened."""
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
            raise ValueError(f"baud {self.baud} is not known to this system; it knows {known}")
        if len({self.format == "struct", self.layout is not None, self.header is not None}) > 1:
            raise ValueError(
                "format: struct, layout and header belong together: layout says what is in a frame (such as <hhh), "
                "header the bytes that each begins with (such as aa55), to find the next one after a disturbance"
            )
        if self.layout is not None:
            values = struct_of(self.layout)
            if self.columns and len(self.columns) != values:
                raise ValueError(f"layout {self.layout} has {values} values, columns names {len(self.columns)}")
        if self.header is not None and not bytes_of(self.header):
            raise ValueError(f"header {self.header} is no pairs of hexadecimal digits such as aa55")


class SerialSource(Closing):
    """Samples of a serial device. Broken or cut data is dropped, counted in ``faults``, and marked as a gap."""

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
        self._gatherer = Gatherer(options.rate)
        self._fd = -1
        self._rows: Rows | None = None

    def __enter__(self) -> Self:
        options = self._options
        self._fd = open_tty(options.device, options.baud)
        self._gatherer = Gatherer(options.rate)
        if options.layout is not None and options.header is not None:
            self._rows = BinaryRows(self._fd, bytes_of(options.header), struct.Struct(options.layout))
        else:
            lines = ByteLines(self._fd, self.faults, STALE)
            lines.skip_first()
            self._rows = TextRows(lines, RowParser(options.columns, "json" if options.format == "json" else "csv"))
        return self

    def read(self) -> Block | None:
        """Return the rows of some 0.1 s; raises `SourceError` when no usable data arrives, or the device is gone."""
        device = self._options.device
        if self._rows is None:
            raise SourceError(f"{device} is not open")
        rate = self._gatherer.rate_known
        limit = FIRST if rate is None else max(SILENCE, SILENCE / rate)
        before = self.faults.count
        try:
            block = next_block(self._rows, self._gatherer, self.faults, limit)
        except (EndOfInputError, OSError) as error:
            raise SourceError(f"{device} is gone: it was unplugged, or its other end was closed") from error
        if block is not None:
            return block
        if self.faults.count > before:
            raise SourceError(
                f"{device} has sent nothing usable for {limit:g} s ({self.faults.since_good} times); "
                f"the last was {self.faults.last}; are baud {self._options.baud} and format right?"
            )
        raise SourceError(f"{device} has said nothing for {limit:g} s: is the sensor on, and is rate right?")

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
        raise ValueError(f"layout {layout} has {size} bytes; at most {LONGEST_FRAME} can be one frame")
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
