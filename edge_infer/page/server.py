"""Main loop of the page's process: browsers, the daemon and the writer, in one thread."""

from __future__ import annotations

import logging
import selectors
import socket
import time
from collections.abc import Callable, Mapping
from typing import Final

from edge_infer.page.admission import BrowserAdmission
from edge_infer.page.connections import BrowserConnection, Doorway
from edge_infer.page.routes import Routes
from edge_infer.page.upstream import Peers, Query, Upstream

log = logging.getLogger(__name__)

IDLE_SECONDS: Final = 15 * 60.0
"""Seconds without a connection after which the process ends; systemd starts it again for the next connection."""
TICK: Final = 1.0


class PageServer:
    """Serves the page on a listening socket until it has had no connection for some time."""

    def __init__(
        self,
        listener: socket.socket,
        peers: Peers,
        files: Mapping[str, tuple[str, bytes]],
        *,
        token: str = "",
        why_not: Callable[[], str] = str,
        idle: float = IDLE_SECONDS,
    ) -> None:
        """``token`` and ``why_not`` are as in `BrowserAdmission` and `Routes`."""
        self._upstream = Upstream(peers)
        self._routes = Routes(files, BrowserAdmission(token), self._upstream, why_not)
        self._door = Doorway(listener, self._routes.handle)
        self._idle = idle
        self.stopping = False

    def run(self) -> None:
        """Serve until idle, or until ``stopping`` is set."""
        last = time.monotonic()
        with selectors.DefaultSelector() as selector:
            try:
                while not self.stopping:
                    self._turn(selector)
                    now = time.monotonic()
                    if self._door.clients:
                        last = now
                    elif now > last + self._idle:
                        return
            finally:
                self._door.close()
                self._upstream.close()

    def _turn(self, selector: selectors.BaseSelector) -> None:
        waiting: dict[object, BrowserConnection | Query] = {}
        selector.register(self._door.listener, selectors.EVENT_READ)
        ends: list[BrowserConnection | Query] = [*self._door.clients, *self._upstream.queries]
        for each in ends:
            waiting[each.connection] = each
            selector.register(each.connection, each.events)
        due = min(self._upstream.due(), self._routes.looks.due())
        ready = selector.select(max(0.0, min(TICK, due - time.monotonic())))
        for key in list(selector.get_map().values()):
            selector.unregister(key.fileobj)
        for key, _ in ready:
            if key.fileobj is self._door.listener:
                self._door.accept()
            elif isinstance(end := waiting[key.fileobj], Query):
                end.ready()
            else:
                _serve(end)
        now = time.monotonic()
        self._routes.looks.step(now)
        self._upstream.step(now)
        self._door.sweep(now)


def _serve(client: BrowserConnection) -> None:
    """Read or write; a fault while a request is read or handled ends this connection alone."""
    try:
        client.ready()
    except Exception:
        log.exception("cannot answer a request of a browser; closing its connection")
        client.close()
