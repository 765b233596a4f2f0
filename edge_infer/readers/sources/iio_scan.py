"""Layout of samples in a buffer of the kernel's industrial I/O: consecutive scans of all enabled channels.

``scan_elements/in_X_type`` has the storage format of a channel, ``[be|le]:[s|u]bits/storagebits[Xrepeat][>>shift]``,
``in_X_index`` its position. Each channel is aligned to its own size, a scan to the size of its largest channel.

Source: ``Documentation/driver-api/iio/buffers.rst`` and ``Documentation/ABI/testing/sysfs-bus-iio`` of Linux.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

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
            raise ValueError(f"{name} has the type {text!r}, whose bits do not fit into its storage")
        if not index.isdecimal():
            raise ValueError(f"{name} has the index {index!r}; expected a number")
        return cls(name, int(index), order == "be", sign == "s", int(bits), int(storage), int(shift or 0))

    @property
    def dtype(self) -> str:
        """Return the NumPy type of the stored number; unsigned, because the sign bit is known only after the shift."""
        return f"{'>' if self.big else '<'}u{self.storage // 8}"

    def numbers(self, stored: NDArray[Any]) -> NDArray[np.int64]:
        """Return the signed or unsigned numbers from stored ones."""
        wide = stored.astype(np.uint64) >> np.uint64(self.shift)
        if self.bits < 64:
            wide &= np.uint64((1 << self.bits) - 1)
        found = wide.astype(np.int64)
        if self.signed and self.bits < 64:
            found -= (found >> (self.bits - 1)) << self.bits
        return found


class Scan:
    """The layout of a scan of some elements."""

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
