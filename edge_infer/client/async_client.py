"""The subscriber library for programs with asyncio."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any, Final, TypeVar

from edge_infer.client.connection import Client
from edge_infer.client.message_numbers import Series
from edge_infer.client.snapshots import Snapshot
from edge_infer.client.state_view import Standing
from edge_infer.client.update_log import UpdateReader
from edge_infer.client.updates import EventUpdate, ResultUpdate, StateUpdate, Update
from edge_infer.contract.messages import Health

if TYPE_CHECKING:
    from typing_extensions import Self

WAIT: Final = 0.5
"""Maximum seconds of one wait in the thread; closing the client waits for its end."""
Answer = TypeVar("Answer")


class AsyncClient:
    """An asynchronous context manager around a `Client`, which lives in a thread of its own.

    Its arguments, errors and names are those of `Client`; ``client`` is the `Client` inside. Only the iterations wait.
    """

    def __init__(self, host: str = "127.0.0.1", port: int | None = None, **options: Any) -> None:
        self.client = Client(host, port, **options)
        self._thread = ThreadPoolExecutor(1, "edge-infer-client")
        self._turn: asyncio.Future[None] | None = None

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

    @property
    def repetitions(self) -> int:
        """The number of duplicate messages, which were dropped."""
        return self.client.repetitions

    @property
    def forgotten(self) -> int:
        """The number of devices, pipelines and models that were forgotten because messages named too many."""
        return self.client.forgotten

    def gaps(self) -> dict[Series, list[tuple[int, int]]]:
        """Return the missing numbers by series, as `Client.gaps` does."""
        return self.client.gaps()

    def standing(self, device: str, pipeline: str) -> Standing:
        """Return the current state of a pipeline, as far as it is known, and its open events."""
        return self.client.standing(device, pipeline)

    def health(self, device: str) -> Health | None:
        """Return the current health of a device; None while the health is unknown."""
        return self.client.health(device)

    def snapshot(self, device: str) -> Snapshot:
        """Return a `Snapshot`, which shows whether the client has all retained messages of a device."""
        return self.client.snapshot(device)

    def snapshots(self) -> Mapping[str, Snapshot]:
        """Return the snapshot of each device that the client knows from messages."""
        return self.client.snapshots()

    @property
    def settled(self) -> bool:
        """Whether the broker has sent all retained messages that it will send on the current connection."""
        return self.client.settled

    @property
    def complete(self) -> bool:
        """Whether the client has all retained messages of every device; false before it is `settled`."""
        return self.client.complete

    def updates(self, seconds: float | None = None) -> AsyncIterator[Update]:
        """Yield every update as it arrives, for ``seconds`` or until the client is closed.

        Several iterations at the same time each yield all updates. A cancelled wait loses nothing: this iteration or
        the next continues at the same update.
        """
        return _Iteration(self, object, seconds)

    def results(self, seconds: float | None = None) -> AsyncIterator[ResultUpdate]:
        """Yield the results among the `updates`."""
        return _Iteration(self, ResultUpdate, seconds)

    def events(self, seconds: float | None = None) -> AsyncIterator[EventUpdate]:
        """Yield the events among the `updates`."""
        return _Iteration(self, EventUpdate, seconds)

    def states(self, seconds: float | None = None) -> AsyncIterator[StateUpdate]:
        """Yield the state of a pipeline whenever a message about it arrives or it becomes unknown."""
        return _Iteration(self, StateUpdate, seconds)

    async def turn(self, seconds: float) -> None:
        """Wait at most ``seconds`` for messages; all iterations wait for the same turn of the thread."""
        if self._turn is None or self._turn.done():
            self._turn = asyncio.get_running_loop().run_in_executor(self._thread, self.client.turn, WAIT)
        done, _ = await asyncio.wait({self._turn}, timeout=min(seconds, WAIT))
        for turn in done:
            turn.result()

    async def _run(self, call: Callable[[], Answer]) -> Answer:
        return await asyncio.get_running_loop().run_in_executor(self._thread, call)


class _Iteration(AsyncIterator[Any]):
    """One iteration. It is no generator, because a cancelled wait would end a generator."""

    def __init__(self, client: AsyncClient, kind: type[Any], seconds: float | None) -> None:
        self._client = client
        self._kind = kind
        self._seconds = seconds
        self._end: float | None = None
        self._reader: UpdateReader | None = None

    async def __anext__(self) -> Any:
        client = self._client.client
        if self._end is None:
            self._end = time.monotonic() + self._seconds if self._seconds is not None else float("inf")
        reader = self._reader = self._reader or client.begin(self._kind, self._end)
        while (update := reader.read()) is None:
            if reader.over or client.closed:
                reader.close()
                raise StopAsyncIteration
            try:
                await self._client.turn(self._end - time.monotonic())
            except BaseException:
                reader.close()
                self._reader = None
                raise
        return update
