"""The subscriber for asyncio; times as datetime; zones and open events in the standing."""

from __future__ import annotations

import asyncio
from datetime import datetime, timezone

import pytest

from edge_infer.client import AsyncClient, EdgeInferError, EventUpdate, ResultUpdate, Standing, StatusUpdate, when
from edge_infer.client.events_view import MAX_OPEN, EventsView
from edge_infer.contract.codec import dumps
from edge_infer.contract.messages import Event, State, timestamp
from tests.broker import Broker, Talker, free_port
from tests.publisher.samples import BOOT, SHA, TS, P, result


def event(seq: int, kind: str, boot: str = BOOT, **more: object) -> Event:
    return Event(1, TS, boot, seq, kind, **more)  # type: ignore[arg-type]


def test_updates_come_beside_other_tasks(broker: Broker) -> None:
    ticks = 0

    async def tick() -> None:
        nonlocal ticks
        while True:
            ticks += 1
            await asyncio.sleep(0.01)

    async def listen() -> list[object]:
        found: list[object] = []
        async with AsyncClient("127.0.0.1", broker.port) as client:
            beside = asyncio.create_task(tick())
            with Talker(broker.port) as talker:
                talker.say(f"{P}/status", b"online", retain=True)
                talker.say(f"{P}/door/result", dumps(result(1)))
                async for update in client.updates(20):
                    found.append(update)
                    if isinstance(update, ResultUpdate):
                        break
            beside.cancel()
        return found

    found = asyncio.run(listen())
    assert [type(each) for each in found if isinstance(each, (StatusUpdate, ResultUpdate))] == [
        StatusUpdate,
        ResultUpdate,
    ]
    (told,) = [each for each in found if isinstance(each, ResultUpdate)]
    assert told.at == when(TS) == datetime.fromisoformat(TS.replace("Z", "+00:00"))
    assert told.at.tzinfo == timezone.utc
    assert ticks > 0


def test_an_iteration_can_be_cancelled_and_the_client_closes(broker: Broker) -> None:
    async def cancelled() -> bool:
        async with AsyncClient("127.0.0.1", broker.port) as client:

            async def listen() -> None:
                async for _ in client.results():
                    pass

            task = asyncio.create_task(listen())
            await asyncio.sleep(0.2)
            task.cancel()
            await asyncio.wait([task])
            return task.cancelled()

    assert asyncio.run(asyncio.wait_for(cancelled(), 20))


def test_an_error_has_its_remedy() -> None:
    async def refused() -> None:
        async with AsyncClient("127.0.0.1", free_port()):
            pass

    with pytest.raises(EdgeInferError, match="nothing listens"):
        asyncio.run(refused())


def test_open_events_end_with_their_ends() -> None:
    known = EventsView()
    appear, enter = event(1, "appear", id=1, label="face"), event(2, "enter", id=1, zone="drive", label="face")
    start = event(3, "start", label="alarm")
    for each in (appear, enter, start, event(4, "cross", id=1, line="gate", direction="left")):
        known.take("box", "door", each)
    assert known.of("box", "door") == (appear, enter, start)
    known.take("box", "door", event(5, "exit", id=1, zone="drive"))
    known.take("box", "door", event(6, "end", label="alarm"))
    assert known.of("box", "door") == (appear,)
    again = event(1, "appear", "0ff1ce", id=1, label="face")
    known.take("box", "door", again)  # of another engine: what its predecessor left open is over
    assert known.of("box", "door") == (again,)
    for number in range(MAX_OPEN + 5):
        known.take("box", "yard", event(number + 1, "appear", id=number + 1, label="face"))
    assert len(known.of("box", "yard")) == MAX_OPEN
    known.forget("box", "door")
    assert (known.of("box", "door"), len(known.of("box", "yard"))) == ((), MAX_OPEN)


def test_the_standing_has_zones_times_and_open_events(broker: Broker) -> None:
    now = timestamp(datetime.now(timezone.utc).timestamp())
    counted = State(1, now, BOOT, "m@1", SHA[:8], now, {"face": 2}, zones={"drive": {"face": 1}})

    async def listen() -> tuple[Standing, Standing]:
        async with AsyncClient("127.0.0.1", broker.port) as client:
            with Talker(broker.port) as talker:
                talker.say(f"{P}/status", b"online", retain=True)
                talker.say(f"{P}/door/state", dumps(counted), retain=True)
                talker.say(f"{P}/door/event", dumps(event(1, "appear", id=1, label="face")))
                async for update in client.events(20):
                    assert isinstance(update, EventUpdate)
                    break
                known = client.client.standing("gate-3", "door")
                talker.say(f"{P}/status", b"offline", retain=True)
                async for change in client.states(20):
                    if change.standing.why_not == "offline":
                        break
                return known, client.client.standing("gate-3", "door")

    known, gone = asyncio.run(listen())
    assert (known.zones, known.since) == ({"drive": {"face": 1}}, when(now))
    assert [each.type for each in known.events] == ["appear"]
    assert (known.present("face"), known.present("face", "drive"), known.present("face", "yard")) == (True, True, None)
    assert (gone.zones, gone.since, gone.events, gone.present("face")) == (None, None, (), None)
