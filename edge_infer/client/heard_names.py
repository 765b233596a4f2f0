"""The names in received messages, of a limited number: a publisher that invents names must not fill the memory."""

from __future__ import annotations

from collections import OrderedDict
from typing import Final

MOST_DEVICES: Final = 4096
MOST_OF_DEVICE: Final = 1024
"""Maximum number of pipelines and models of one device; a device reports at most 512 of each."""
MOST_IN_ALL: Final = 16384


class HeardNames:
    """Remembers the order in which names were last received, and returns names to forget when there are too many.

    The device with the most names loses its own names, so no device can displace the names of others.
    """

    def __init__(self) -> None:
        self.forgotten = 0
        """Number of devices and names that were forgotten."""
        self._devices: OrderedDict[str, OrderedDict[str, None]] = OrderedDict()
        self._count = 0

    def hear(self, device: str, name: str = "") -> list[tuple[str, str]]:
        """Record a message of a device about a pipeline or model; return the (device, name) pairs to forget.

        An empty name stands for the whole device.
        """
        names = self._devices.setdefault(device, OrderedDict())
        self._devices.move_to_end(device)
        lost = []
        if len(self._devices) > MOST_DEVICES:
            gone, its = self._devices.popitem(last=False)
            self._count -= len(its)
            lost.append((gone, ""))
        if name:
            self._count += name not in names
            names[name] = None
            names.move_to_end(name)
            if len(names) > MOST_OF_DEVICE:
                lost.append(self._oldest_of(device))
            elif self._count > MOST_IN_ALL:
                lost.append(self._oldest_of(max(self._devices, key=lambda each: len(self._devices[each]))))
        self.forgotten += len(lost)
        return lost

    def _oldest_of(self, device: str) -> tuple[str, str]:
        self._count -= 1
        return device, self._devices[device].popitem(last=False)[0]
