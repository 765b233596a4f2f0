"""The same subscriber for programs with asyncio."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any, Final, TypeVar

from edge_infer.client.connection import Client
from edge_infer.client.updates import EventUpdate, ResultUpdate, StateUpdate, Update

if TYPE_CHECKING:
    from typing_extensions import Self

WAIT: Final = 0.5
"""Seconds of one wait in the thread; a cancelled iteration and a closed client wait for it."""
Answer = TypeVar("Answer")


class AsyncClient:
    """An asynchronous context manager around a `Client`, which lives in a thread of its own.

    Its arguments and errors are those of `Client`. ``client`` is the inner one. Its `standing`, `health` and
    `snapshots` return at once, and may be called between two updates.
    """

    def __init__(self, host: str = "127.0.0.1", port: int | None = None, **options: Any) -> None:
        self.client = Client(host, port, **options)
        self._thread = ThreadPoolExecutor(1, "edge-infer-client")

    async def __aenter__(self) -> Self:
        """Connect; raises `EdgeInferError` with the cause and the remedy."""
        try:
            await self._run(self.client.__enter__)
        except BaseException:
            self._thread.shutdown(wait=False)
            raise
        return self

    async def __aexit__(self, *_: object) -> None:
        """Disconnect."""
        await self._run(self.client.close)
        self._thread.shutdown(wait=False)

    async def updates(self, seconds: float | None = None) -> AsyncIterator[Update]:
        """Yield every update as it arrives, for this time or for ever."""
        end = time.monotonic() + seconds if seconds is not None else float("inf")
        while (left := end - time.monotonic()) > 0:
            for update in await self._run(lambda left=left: self.client.poll(min(WAIT, left))):  # type: ignore[misc]
                yield update

    async def results(self, seconds: float | None = None) -> AsyncIterator[ResultUpdate]:
        """Yield the results among the `updates`."""
        async for update in self.updates(seconds):
            if isinstance(update, ResultUpdate):
                yield update

    async def events(self, seconds: float | None = None) -> AsyncIterator[EventUpdate]:
        """Yield the events among the `updates`."""
        async for update in self.updates(seconds):
            if isinstance(update, EventUpdate):
                yield update

    async def states(self, seconds: float | None = None) -> AsyncIterator[StateUpdate]:
        """Yield a state whenever a message about it arrives or it is not known any more."""
        async for update in self.updates(seconds):
            if isinstance(update, StateUpdate):
                yield update

    async def _run(self, call: Callable[[], Answer]) -> Answer:
        return await asyncio.get_running_loop().run_in_executor(self._thread, call)
