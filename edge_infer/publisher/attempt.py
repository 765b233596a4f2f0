"""One attempt to connect to the broker, in its own thread: name lookups, connections and handshakes may hang."""

from __future__ import annotations

import os
import threading

from edge_infer.config.plan import MqttPlan
from edge_infer.publisher.client import Manner, OneWayClient, dial, hang_up


class Attempt:
    """Connects in the background.

    Its file is readable once there is an outcome. It may be abandoned and keeps no process alive.
    """

    def __init__(self, plan: MqttPlan, manner: Manner) -> None:
        self._plan = plan
        self._manner = manner
        self._lock = threading.Lock()
        self._abandoned = False
        self._client: OneWayClient | None = None
        self._error: OSError | ValueError | None = None
        self._readable, self._writable = os.pipe()
        threading.Thread(target=self._run, name="dial", daemon=True).start()

    def fileno(self) -> int:
        """Return the file descriptor for select: readable when the attempt is done."""
        return self._readable

    def outcome(self) -> OneWayClient | OSError | ValueError | None:
        """Return the client, which the caller then owns, or the error; None while the attempt is running."""
        with self._lock:
            client, self._client = self._client, None
            return client or self._error

    def close(self) -> None:
        """Abandon the attempt. If it still connects, it closes the connection itself. May be called twice."""
        with self._lock:
            self._abandoned = True
            client, self._client = self._client, None
        if client:
            hang_up(client)
        if self._readable >= 0:
            os.close(self._readable)
            self._readable = -1

    def _run(self) -> None:
        client, error = None, None
        try:
            client = dial(self._plan, self._manner)
        except (OSError, ValueError) as fault:
            error = fault.with_traceback(None)  # its frames reference the client, which references them
        with self._lock:
            self._error = error
            if not self._abandoned:
                self._client = client
            elif client:
                hang_up(client)
        os.close(self._writable)  # the end of file makes the other end readable
