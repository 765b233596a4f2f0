"""Reconnect policy: finds the cause of an ended connection from the lifetimes of recent ones, and sets the pause."""

from __future__ import annotations

from typing import Final

from edge_infer.codec import replace
from edge_infer.config.plan import MqttPlan
from edge_infer.publisher.backoff import Backoff
from edge_infer.publisher.clock import Clock
from edge_infer.publisher.trouble import Trouble

SUSPICIOUS: Final = 3
"""Number of short connections in a row, to a broker that was reachable each time, after which the client id is
suspected to be in use twice. With MQTT 3.1.1 the broker does not report that."""


class Diagnosis:
    """Remembers failures until a connection has lived ``stable`` seconds, or ``settled`` if the id is in use twice."""

    def __init__(self, plan: MqttPlan, clock: Clock, stable: float, settled: float) -> None:
        self._plan = plan
        self._clock = clock
        self._stable = stable
        self._settled = settled
        self._backoff = Backoff()
        self._short = 0
        self._contested = False
        self.waits_for_clock = False
        """Whether the last failure may be gone as soon as the time is known."""

    def forget(self) -> None:
        """Forget earlier failures: the operator has changed something, so the next failure counts as the first."""
        self._backoff.reset()

    def failed(self, trouble: Trouble, lived: float | None) -> tuple[Trouble, float]:
        """Return the failure to report, and the seconds until the next attempt.

        ``lived`` is the lifetime of the connection, or None if the broker accepted none.
        """
        if lived is not None and lived >= (self._settled if self._contested else self._stable):
            self._backoff.reset()
            self._contested = False
        self._short = self._short + 1 if lived is not None and lived < self._stable else 0
        if self._short >= SUSPICIOUS and not trouble.refused:
            whose = f"does another client use the client id {self._plan.client_id!r}? give each device its own"
            text = f"{trouble.text}, again soon after it was made: {whose}"
            trouble = replace(trouble, text=text, refused=True, taken=True)
        self._contested |= trouble.taken
        self.waits_for_clock = trouble.clock and not self._clock.known
        if self.waits_for_clock:
            trouble = replace(trouble, text=f"{trouble.text} Waiting for a time service to set it")
        curable = trouble.other_version or trouble.lower_will
        return trouble, self._backoff.failed(refused=trouble.refused and not curable, taken=trouble.taken)
