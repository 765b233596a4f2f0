"""Status and state together: nobody is left with what a device said before it vanished."""

from __future__ import annotations

from dataclasses import replace

from edge_infer.client.standing import SILENT, Standings
from tests.publisher.samples import state

DOOR = ("gate-3", "door")


class Clock:
    now = 1000.0

    def __call__(self) -> float:
        return self.now


def standings(clock: Clock | None = None) -> Standings:
    made = Standings(clock or Clock())
    made.connected()
    return made


def test_a_state_holds_while_the_status_is_online() -> None:
    all_ = standings()
    assert all_.status("gate-3", online=True) == []
    assert all_.state(*DOOR, state(2)) == [DOOR]
    now = all_.now(*DOOR)
    assert (now.counts, now.present("face"), now.present("mask"), now.why_not) == ({"face": 2}, True, False, "")
    assert all_.status("gate-3", online=False) == [DOOR]
    now = all_.now(*DOOR)
    assert (now.counts, now.present("face"), now.why_not) == (None, None, "offline")


def test_a_device_that_comes_back_has_to_say_it_again() -> None:
    all_ = standings()
    all_.status("gate-3", online=True)
    all_.state(*DOOR, state(2))
    all_.status("gate-3", online=False)
    assert all_.status("gate-3", online=True) == [DOOR]
    assert all_.now(*DOOR).why_not == "starting"
    all_.state(*DOOR, state(0))
    assert all_.now(*DOOR).present("face") is False


def test_retained_messages_come_in_any_order() -> None:
    all_ = standings()
    assert all_.state(*DOOR, state(2)) == [], "without a status there is nothing to tell"
    assert all_.now(*DOOR).why_not == "offline"
    assert all_.status("gate-3", online=True) == [DOOR]
    assert all_.now(*DOOR).present("face") is True
    other = standings()
    other.state(*DOOR, state(2))
    other.status("gate-3", online=False)
    other.status("gate-3", online=True)
    assert other.now(*DOOR).present("face") is None, "it was said before the device went offline"
    third = standings()
    third.status("gate-3", online=False)
    third.state(*DOOR, state(2))
    third.status("gate-3", online=True)
    assert third.now(*DOOR).present("face") is None


def test_a_state_that_is_null_says_why() -> None:
    all_ = standings()
    all_.status("gate-3", online=True)
    all_.state(*DOOR, replace(state(0), counts=None, reason="source_lost"))
    assert (all_.now(*DOOR).state, all_.now(*DOOR).why_not) == (None, "source_lost")


def test_without_a_connection_nothing_is_known() -> None:
    all_ = standings()
    all_.status("gate-3", online=True)
    all_.state(*DOOR, state(2))
    assert all_.disconnected() == [DOOR]
    assert all_.now(*DOOR).why_not == "disconnected"
    assert all_.disconnected() == []
    all_.connected()
    assert all_.now(*DOOR).why_not == "offline"
    all_.status("gate-3", online=True)
    assert all_.now(*DOOR).why_not == "starting"


def test_silence_makes_a_state_void() -> None:
    clock = Clock()
    all_ = standings(clock)
    all_.status("gate-3", online=True)
    all_.state(*DOOR, state(2))
    clock.now += SILENT - 1
    assert all_.aged() == []
    clock.now += 2
    assert all_.aged() == [DOOR]
    assert all_.now(*DOOR).why_not == "silent"
    assert all_.aged() == []
    all_.state(*DOOR, state(1))
    assert all_.now(*DOOR).counts == {"face": 1}


def test_a_pipeline_that_is_gone() -> None:
    all_ = standings()
    all_.status("gate-3", online=True)
    all_.state(*DOOR, state(2))
    assert all_.removed(*DOOR) == [DOOR]
    assert all_.now(*DOOR).why_not == "removed"
    assert all_.removed(*DOOR) == []
    assert all_.removed("nobody", "door") == []
