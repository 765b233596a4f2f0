"""Fetches retained messages that a subscription to all devices did not bring, because brokers limit their number.

By default, mosquitto sends 1,020 retained messages and EMQX 1,000, and both drop the others silently. A survey
therefore subscribes to all statuses, then to all infos, and then to the devices with incomplete snapshots, a few
at a time. Each of these subscriptions ends when its messages have arrived.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from typing import Final

from edge_infer.client.snapshots import Snapshots

QUIET: Final = 1.0
"""Seconds without a retained message after which the broker is assumed to have sent all that it will send."""
BATCH: Final = 500
"""Maximum number of retained messages that one step requests: below every known limit of a broker."""
SUSPECT: Final = 500
"""Number of retained messages from which the first subscription may be incomplete."""
GUESS: Final = 20
"""Assumed number of retained messages of a device that has not published their number."""


class Survey:
    """One survey for each connection. The caller subscribes to what `step` returns, instead of the previous filters."""

    def __init__(
        self, prefix: str, snapshots: Snapshots, *, all_devices: bool, clock: Callable[[], float] = time.monotonic
    ) -> None:
        """Without ``all_devices`` no survey is needed: the subscription to one device brings everything."""
        self._prefix = prefix
        self._snapshots = snapshots
        self._all = all_devices
        self._clock = clock
        self.filters: tuple[str, ...] = ()
        """The filters of the current step, in addition to the client's own."""
        self._devices: tuple[str, ...] = ()
        self._steps: Iterator[tuple[str, ...]] = iter(())
        self._retained = 0
        self._heard_at = 0.0
        self.done = False
        """Whether the survey is over: all retained messages have arrived, or the rest will not come."""

    def begin(self) -> None:
        """Start anew, with a new connection that has just subscribed."""
        self.filters, self._devices, self.done, self._retained = (), (), False, 0
        self._heard_at = self._clock()
        self._steps = self._plan()

    def heard(self) -> None:
        """Record that a retained message has arrived."""
        self._retained += 1
        self._heard_at = self._clock()

    def step(self) -> tuple[str, ...] | None:
        """Return the filters of the next step; empty after the last step, None while the current step continues."""
        if self.done or not self._over():
            return None
        self._heard_at = self._clock()
        self.filters = next(self._steps, ())
        self.done = not self.filters
        return self.filters

    def _over(self) -> bool:
        if self._devices and all(self._snapshots.of(name).complete for name in self._devices):
            return True
        return self._clock() - self._heard_at > QUIET

    def _plan(self) -> Iterator[tuple[str, ...]]:
        if not self._all:
            return
        lacking = [name for name, each in self._snapshots.all().items() if not each.complete]
        if not lacking and self._retained < SUSPECT:
            return
        yield (f"{self._prefix}/+/status",)
        yield (f"{self._prefix}/+/info",)
        lacking = [name for name, each in self._snapshots.all().items() if not each.complete]
        while lacking:
            batch: list[str] = []
            size = 0
            while lacking and (not batch or size + self._size(lacking[0]) <= BATCH):
                size += self._size(lacking[0])
                batch.append(lacking.pop(0))
            self._devices = tuple(batch)
            yield tuple(f"{self._prefix}/{name}/#" for name in batch)
        self._devices = ()

    def _size(self, device: str) -> int:
        expected = self._snapshots.of(device).expected
        return GUESS if expected is None else expected
