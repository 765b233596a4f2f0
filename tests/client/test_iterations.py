"""Several iterations over one client, iterations that are cancelled, and what they leave to the next one."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator, Callable
from itertools import islice

import pytest

from edge_infer.client import AsyncClient, Client, EdgeInferError, EventUpdate, ResultUpdate, Series, StatusUpdate
from edge_infer.client.update_log import MAX_BEHIND, UpdateLog
from edge_infer.contract.codec import dumps
from edge_infer.contract.messages import Event
from tests.broker import DEADLINE, Broker, Talker, eventually
from tests.publisher.samples import BOOT, TS, P, result

COUNT = 30
LATER = float("inf")


def say(talker: Talker, count: int = COUNT, first: int = 1) -> None:
    """Results and events by turns."""
    for seq in range(first, first + count):
        talker.say(f"{P}/door/result", dumps(result(seq)))
        talker.say(f"{P}/door/event", dumps(Event(1, TS, BOOT, seq, "appear", id=seq)))


def number(update: ResultUpdate | EventUpdate) -> int:
    return update.result.seq if isinstance(update, ResultUpdate) else update.event.seq


async def numbers(updates: AsyncIterator[ResultUpdate] | AsyncIterator[EventUpdate], last: int = COUNT) -> list[int]:
    found = []
    async for update in updates:
        found.append(number(update))
        if found[-1] == last:
            break
    return found


def test_iterations_at_the_same_time_each_see_everything(broker: Broker) -> None:
    async def listen() -> list[list[int]]:
        async with AsyncClient("127.0.0.1", broker.port) as client:
            with Talker(broker.port) as talker:
                saying = asyncio.get_running_loop().run_in_executor(None, say, talker)
                each = (client.results(DEADLINE), client.events(DEADLINE), client.results(DEADLINE))
                found = await asyncio.gather(*(numbers(updates) for updates in each))
                await saying
        return found

    assert asyncio.run(listen()) == [list(range(1, COUNT + 1))] * 3


def test_iterations_of_one_thread_by_turns_each_see_everything(broker: Broker) -> None:
    with Client("127.0.0.1", broker.port) as client, Talker(broker.port) as talker:
        say(talker)
        pairs = list(islice(zip(client.results(DEADLINE), client.events(DEADLINE), strict=False), COUNT))
    expected = list(range(1, COUNT + 1))
    assert [(one.result.seq, two.event.seq) for one, two in pairs] == list(zip(expected, expected, strict=True))


def test_an_iteration_goes_on_where_the_last_one_ended(broker: Broker) -> None:
    with Client("127.0.0.1", broker.port) as client, Talker(broker.port) as talker:
        say(talker, 3)
        found = [number(next(updates())) for updates in (client.results, client.events, client.results, client.events)]
    assert found == [1, 1, 2, 2]


@pytest.mark.parametrize("beside", [False, True], ids=["alone", "beside another iteration"])
@pytest.mark.parametrize("again", [False, True], ids=["a new iteration each time", "the same iteration"])
def test_a_cancelled_iteration_loses_nothing(broker: Broker, *, beside: bool, again: bool) -> None:
    async def listen() -> tuple[list[int], list[int]]:
        found: list[int] = []
        async with AsyncClient("127.0.0.1", broker.port) as client:
            other = asyncio.create_task(numbers(client.results(DEADLINE))) if beside else None
            with Talker(broker.port) as talker:
                saying = asyncio.get_running_loop().run_in_executor(None, say, talker)
                events = client.events()
                while not found or found[-1] != COUNT:
                    try:
                        update = await asyncio.wait_for(anext(events), 0.003)
                        found.append(update.event.seq)
                    except asyncio.TimeoutError:
                        events = events if again else client.events()
                await saying
            assert client.gaps() == {}
            return found, await other if other else list(range(1, COUNT + 1))

    assert asyncio.run(asyncio.wait_for(listen(), DEADLINE)) == (list(range(1, COUNT + 1)),) * 2


def test_a_task_that_is_cancelled_at_work_loses_only_what_it_has(broker: Broker) -> None:
    async def listen() -> list[int]:
        found: list[int] = []

        async def work(client: AsyncClient) -> None:
            async for update in client.events():
                found.append(update.event.seq)
                await asyncio.sleep(0.002)

        async with AsyncClient("127.0.0.1", broker.port) as client:
            with Talker(broker.port) as talker:
                say(talker)
                while not found or found[-1] != COUNT:
                    task = asyncio.create_task(work(client))
                    await asyncio.sleep(0.01)
                    task.cancel()
                    await asyncio.wait([task])
        return found

    assert asyncio.run(asyncio.wait_for(listen(), DEADLINE)) == list(range(1, COUNT + 1))


def test_both_clients_have_the_same_names(broker: Broker) -> None:
    def names(kind: type) -> set[str]:
        return {name for name in vars(kind) if not name.startswith("_")}

    assert names(Client) - names(AsyncClient) == {"close", "closed", "poll", "begin"}

    async def listen() -> None:
        async with AsyncClient("127.0.0.1", broker.port, device="gate-3") as client:
            with Talker(broker.port) as talker:
                talker.say(f"{P}/status", b"online", retain=True)
                for seq in (1, 4, 4):
                    talker.say(f"{P}/door/result", dumps(result(seq)))
                talker.say(f"{P}/yard/event", dumps(Event(1, TS, BOOT, 1, "appear", id=1)))
                await numbers(client.events(DEADLINE), 1)
            async for _ in client.updates(2.0):
                pass
            assert client.gaps() == {Series("gate-3", "door", "result", BOOT): [(2, 3)]}
            assert (client.repetitions, client.forgotten, client.settled, client.complete) == (1, 0, True, False)
            assert client.snapshots() == {"gate-3": client.snapshot("gate-3")}
            assert client.health("gate-3") is None
            assert client.standing("gate-3", "door").why_not == "removed"

    asyncio.run(listen())


def test_another_thread_is_told_to_make_its_own_client(broker: Broker) -> None:
    with Client("127.0.0.1", broker.port) as client:
        listening = threading.Thread(target=lambda: list(client.updates(1.0)))
        listening.start()

        def refused() -> bool:
            try:
                client.turn(0.001)
            except EdgeInferError as error:
                return "another thread iterates over this client" in str(error)
            return False

        eventually(refused, "refusal")
        listening.join()


def test_who_is_too_far_behind_is_told_and_keeps_no_memory() -> None:
    log = UpdateLog()
    slow, quick, update = log.begin(object, LATER), log.begin(object, LATER), StatusUpdate("gate-3", online=True)
    for _ in range(MAX_BEHIND):
        log.add(update)
        assert quick.read() is update
    assert slow.read() is update, "it is as far behind as it may be"
    for _ in range(MAX_BEHIND):
        log.add(update)
        assert quick.read() is update
    with pytest.raises(EdgeInferError, match="more than 5000 updates behind"):
        slow.read()
    assert len(log._updates) == MAX_BEHIND


def test_what_an_iteration_leaves_while_others_go_on_is_for_the_next_one_of_its_kind() -> None:
    log = UpdateLog()
    first, second = StatusUpdate("one", online=True), StatusUpdate("two", online=True)
    other, reader = log.begin(object, LATER), log.begin(StatusUpdate, LATER)
    log.add(first)
    assert reader.read() is first
    reader.close()
    log.add(second)
    read: Callable[[], object] = other.read
    assert [read(), read(), read()] == [first, second, None]
    again = log.begin(StatusUpdate, LATER)
    assert [again.read(), again.read()] == [second, None]
    assert not log._updates
