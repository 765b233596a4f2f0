"""What the engine numbers is kept until it is safe, and nobody is waited for."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Callable, Iterator

import pytest

from edge_infer.contract.messages import DetectedObject, Result, State
from edge_infer.engine.output import result_sender as module
from edge_infer.engine.output.result_sender import ResultSender
from edge_infer.errors import WireError
from edge_infer.ipc.channel import Channel
from edge_infer.ipc.messages import MAX_TALLIES, Acked, EngineHello, Handover, StateSnapshot, Tally

BOOT = "abcdef"
STAMP = "2026-11-25T08:45:12.345Z"


def numbered(label: str = "face") -> Callable[[int], Result]:
    def make(seq: int) -> Result:
        found = (DetectedObject(label, 0.9, (0.0, 0.0, 0.5, 0.5)),)
        return Result(1, STAMP, BOOT, seq, "m@1", "0" * 8, "detection", 1.0, objects=found)

    return make


def state(count: int) -> State:
    return State(1, STAMP, BOOT, "m@1", "0" * 8, counts={"face": count})


@pytest.fixture
def ends() -> Iterator[tuple[ResultSender, Channel]]:
    left, right = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    ours = Channel(left.detach(), ())
    theirs = Channel(right.detach(), (Handover, StateSnapshot, EngineHello))
    yield ResultSender(ours, BOOT), theirs
    ours.close()
    theirs.close()


def drain(channel: Channel) -> list[object]:
    records: list[object] = []
    while (record := channel.receive()) is not None:
        records.append(record)
    return records


def numbers(records: list[object], pipeline: str) -> list[int]:
    return [r.message.seq for r in records if isinstance(r, Handover) and r.pipeline == pipeline]


def test_each_pipeline_counts_on_its_own_from_one(ends: tuple[ResultSender, Channel]) -> None:
    outlet, channel = ends
    for name in ("door", "yard", "door"):
        outlet.hand_over(name, numbered())
    records = drain(channel)
    assert numbers(records, "door") == [1, 2]
    assert numbers(records, "yard") == [1]


def test_a_new_publisher_gets_what_was_not_acknowledged_and_every_state(ends: tuple[ResultSender, Channel]) -> None:
    outlet, channel = ends
    for _ in range(4):
        outlet.hand_over("door", numbered())
    outlet.state("door", state(1))
    drain(channel)
    outlet.acked(Acked("door", BOOT, "result", 2, lost=1))
    outlet.again()
    records = drain(channel)
    assert records[0] == EngineHello(BOOT, (Tally("door", "result", 4, 2, 1),))
    assert numbers(records, "door") == [3, 4]
    assert records[-1] == StateSnapshot("door", state(1))
    outlet.again()
    assert drain(channel)[0] == EngineHello(BOOT, (Tally("door", "result", 4, 2, 1),), again=True)


def test_an_acknowledgement_of_another_boot_frees_nothing(ends: tuple[ResultSender, Channel]) -> None:
    outlet, _ = ends
    outlet.hand_over("door", numbered())
    outlet.acked(Acked("door", "fedcba", "result", 9))
    assert outlet.kept == 1
    outlet.acked(Acked("door", BOOT, "result", 1))
    assert outlet.kept == 0


def test_a_publisher_that_does_not_listen_costs_the_oldest_and_no_time(
    ends: tuple[ResultSender, Channel], monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    outlet, channel = ends
    monkeypatch.setattr(module, "KEEP", 50_000)
    for _ in range(5_000):
        outlet.hand_over("door", numbered("x" * 100))
    outlet.state("door", state(1))
    outlet.state("door", state(2))
    seen: list[object] = []
    while part := drain(channel):
        seen += part
        outlet.flush()
    got = numbers(seen, "door")
    assert got == sorted(got)
    assert got[-1] == 5_000
    assert len(got) < 5_000  # the gap tells of what was dropped
    outlet._given_up.settle(time.monotonic() + 10.0)
    what = "data dropped or damaged: results and events dropped because the publisher is too slow"
    assert [record.getMessage() for record in caplog.records] == [
        f"{what} ({number} so far)" for number in (1, 5_000 - len(got))
    ]
    assert [r for r in seen if isinstance(r, StateSnapshot)] == [StateSnapshot("door", state(2))]


def test_a_pipeline_whose_source_waits_waits_for_room_and_not_for_ever(
    ends: tuple[ResultSender, Channel], monkeypatch: pytest.MonkeyPatch
) -> None:
    outlet, channel = ends
    stop = threading.Event()
    outlet.await_room("door", stop)  # there is room
    while not outlet.crowded or outlet._kept_bytes["door"] <= module.CROWDED:
        outlet.hand_over("door", numbered("x" * 100))
        drain(channel)
    waiting = threading.Thread(target=outlet.await_room, args=("door", stop))
    waiting.start()
    waiting.join(3 * module.TICK)
    assert waiting.is_alive()
    outlet.acked(Acked("door", BOOT, "result", outlet.numbered("door")))
    waiting.join(15.0)
    assert not waiting.is_alive()
    monkeypatch.setattr(module, "ROOM_WITHIN", 0.1)
    while outlet._kept_bytes["door"] <= module.CROWDED:
        outlet.hand_over("door", numbered("x" * 100))
    outlet.await_room("door", stop)  # no publisher takes anything: it ends all the same
    monkeypatch.setattr(module, "ROOM_WITHIN", 3600.0)
    outlet.await_room("door", stop)  # … and costs nothing from then on


def test_a_pipeline_waits_as_long_as_the_publisher_takes_something(
    ends: tuple[ResultSender, Channel], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "ROOM_WITHIN", 0.5)
    outlet, channel = ends
    while outlet._kept_bytes["pipe"] <= 1.2 * module.CROWDED:
        outlet.hand_over("pipe", numbered("x" * 100))
        drain(channel)
    waiting = threading.Thread(target=outlet.await_room, args=("pipe", threading.Event()))
    waiting.start()
    for seq in range(1, 16):  # for longer than that
        time.sleep(0.1)
        assert waiting.is_alive()
        outlet.acked(Acked("pipe", BOOT, "result", seq))
    outlet.acked(Acked("pipe", BOOT, "result", outlet.numbered("pipe")))
    waiting.join(15.0)
    assert not waiting.is_alive()
    assert outlet._impatient == set()


def test_a_flood_of_one_pipeline_costs_no_other_anything(ends: tuple[ResultSender, Channel]) -> None:
    outlet, channel = ends
    for turn in range(3 * module.KEEP // 200):
        outlet.hand_over("broker", numbered("x" * 100))
        if turn % 40 == 0:
            outlet.hand_over("pipe", numbered("x" * 100))
    assert not outlet._has_to_wait("pipe")
    drain(channel)  # what fitted at first
    outlet.again()
    seen: list[object] = []
    while part := drain(channel):
        seen += part
        outlet.flush()
    assert numbers(seen, "pipe") == list(range(1, outlet.numbered("pipe") + 1))
    assert len(numbers(seen, "broker")) < outlet.numbered("broker")
    outlet.acked(Acked("pipe", BOOT, "result", outlet.numbered("pipe")))  # though older ones of the other are kept
    assert outlet._kept_bytes["pipe"] == 0


def test_what_is_written_counts_from_the_first(ends: tuple[ResultSender, Channel]) -> None:
    outlet, channel = ends
    while outlet.written() == outlet.given():
        outlet.hand_over("door", numbered("x" * 100))
    full = outlet.written()
    for _ in range(10):
        outlet.hand_over("yard", numbered("x" * 100))
    assert outlet.written() == full
    drain(channel)
    outlet.flush()
    assert outlet.written() == outlet.given() == full + 11


def test_a_forgotten_pipeline_is_not_spoken_of_again(ends: tuple[ResultSender, Channel]) -> None:
    outlet, channel = ends
    outlet.state("door", state(1))
    drain(channel)
    outlet.forget("door")
    outlet.again()
    assert drain(channel) == [EngineHello(BOOT)]


def test_what_no_publisher_would_take_is_a_fault_here_and_has_no_number(ends: tuple[ResultSender, Channel]) -> None:
    """A decoder of another package may give any score; the publisher would have the whole engine killed for it."""
    outlet, channel = ends

    def impossible(seq: int) -> Result:
        found = (DetectedObject("face", 1.7, (0.0, 0.0, 0.5, 0.5)),)
        return Result(1, STAMP, BOOT, seq, "m@1", "0" * 8, "detection", 1.0, objects=found)

    with pytest.raises(WireError, match="score"):
        outlet.hand_over("door", impossible)
    with pytest.raises(WireError, match="counts"):
        outlet.state("door", state(-1))
    assert drain(channel) == []
    outlet.hand_over("door", numbered())
    assert numbers(drain(channel), "door") == [1]


def test_removed_pipelines_come_last_in_the_tallies_and_keep_their_numbers(ends: tuple[ResultSender, Channel]) -> None:
    outlet, channel = ends
    for turn in range(4):
        names = [f"p{turn}-{number}" for number in range(180)]
        for name in names:
            outlet.hand_over(name, numbered())
            drain(channel)
            outlet.acked(Acked(name, BOOT, "result", 1))
        told = [each.pipeline for each in outlet.tallies()]
        assert told[:180] == names
        assert len(told) == min(180 * (turn + 1), MAX_TALLIES), "a new publisher may lack the account of removed ones"
        for name in names:
            outlet.forget(name)
    outlet.hand_over("p0-0", numbered())
    outlet.forget("p0-0")
    assert [(each.pipeline, each.given, each.safe) for each in outlet.tallies()][:2] == [("p0-0", 2, 1), ("p0-1", 1, 1)]
    for number in range(600):
        outlet.hand_over(f"q{number}", numbered())
        outlet.forget(f"q{number}")
    assert len(outlet.tallies()) == MAX_TALLIES
