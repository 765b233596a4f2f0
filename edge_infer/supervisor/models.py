"""Model requests over the control socket: the history, a rollback or a retry."""

from __future__ import annotations

from collections.abc import Callable

from edge_infer.codec import encode
from edge_infer.config.words import plain
from edge_infer.errors import EdgeInferError
from edge_infer.supervisor.control import MAX_ECHO, Request
from edge_infer.supervisor.swap import Swap


class Models:
    """Answers every request at once; ``status`` shows the effects later."""

    def __init__(self, swap: Swap, read: Callable[[], None]) -> None:
        """Reload the configuration with ``read``: this retries a model that could not even be applied."""
        self._swap = swap
        self._read = read

    def begin(self, request: Request) -> None:
        """Handle ``action``: ``history``, ``rollback`` or ``retry``, the last two with a ``name``."""
        action, name = request.body.get("action"), request.body.get("name")
        if isinstance(name, str):
            name = plain(name, MAX_ECHO)  # no model name is longer
        try:
            if action == "history":
                request.answer({"history": [encode(each) for each in self._swap.record.history]})
            elif action == "rollback" and isinstance(name, str):
                request.answer({"done": self._swap.roll_back(name, request.peer.user)})
            elif action == "retry" and isinstance(name, str):
                request.answer({"done": self._retry(name, request.peer.user)})
            else:
                request.answer(
                    {"error": f"this daemon does not know the request {plain(repr(action), MAX_ECHO)} about models"}
                )
        except EdgeInferError as error:
            request.answer({"error": str(error)})

    def _retry(self, name: str, user: str) -> str:
        rejected = any(each.state == "rejected" for each in self._swap.record.refused.get(name, ()))
        done = self._swap.retry(name, user)
        if rejected:
            self._read()
            return f"{name}: the configuration is read again; edge-infer status tells what became of it"
        return done
