"""Status and state together: nobody is left with what a device said before it vanished."""

from __future__ import annotations

from typing import Any

import pytest

from edge_infer.client.state_view import CATCHING_UP, SILENT, Standing, Standings
from edge_infer.contract.codec import replace
from edge_infer.contract.messages import BoardHealth, EgressHealth, Health, OutboxHealth, State, timestamp
from tests.publisher.samples import BOOT, result
from tests.publisher.samples import state as sample

DOOR = ("gate-3", "door")
NOW = 1_700_000_000.0
"""The time of day when the clock of a test stands at 1000."""


class Clock:
    now = 1000.0

    def __call__(self) -> float:
        return self.now

    def wall(self) -> float:
        return NOW + self.now - 1000.0


def standings(clock: Clock | None = None, *, session: bool = False) -> Standings:
    clock = clock or Clock()
    made = Standings(clock, clock.wall)
    made.connected(session=session)
    return made


def state(count: int, at: float = NOW, **more: Any) -> State:
    """A state of this time of day."""
    return replace(sample(count), ts=timestamp(at), **more)


def health(at: float = NOW) -> Health:
    outbox = OutboxHealth(0, 0, 0, {}, degraded=False)
    return Health(1, timestamp(at), BOOT, {}, {}, outbox, EgressHealth(0), BoardHealth(None, None, None, None))


def test_a_state_holds_while_the_status_is_online() -> None:
    all_ = standings()
    assert all_.status("gate-3", online=True) == []
    assert all_.state(*DOOR, state(2)) == [DOOR]
    now = all_.now(*DOOR)
    assert (now.counts, now.present("face"), now.present("mask"), now.why_not) == ({"face": 2}, True, False, "")
    assert all_.status("gate-3", online=False) == [DOOR]
    now = all_.now(*DOOR)
    assert (now.counts, now.present("face"), now.why_not) == (None, None, "offline")


def test_a_zone_has_three_answers_too() -> None:
    all_ = standings()
    all_.status("gate-3", online=True)
    all_.state(*DOOR, replace(state(2), zones={"drive": {"face": 1}, "gate": {}}))
    now = all_.now(*DOOR)
    assert now.zones == {"drive": {"face": 1}, "gate": {}}
    answers = [now.present("face", zone) for zone in ("drive", "gate", "yard", None)]
    assert answers == [True, False, None, True], "a zone that is not there is not known"
    all_.status("gate-3", online=False)
    assert all_.now(*DOOR).zones is all_.now(*DOOR).present("face", "drive") is None


def test_a_label_that_found_no_room_is_not_known() -> None:
    cut = Standing(replace(sample(1), counts={"person": 2, "car": 0}, more=3))
    assert [cut.present(label) for label in ("person", "car", "cat")] == [True, False, None]
    assert Standing(replace(sample(1), counts={"person": 2})).present("cat") is False


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
    all_.state(*DOOR, state(0, counts=None, reason="source_lost"))
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
    all_.state(*DOOR, state(1, clock.wall()))
    assert all_.now(*DOOR).counts == {"face": 1}


def test_a_pipeline_that_is_gone() -> None:
    all_ = standings()
    all_.status("gate-3", online=True)
    all_.state(*DOOR, state(2))
    assert all_.removed(*DOOR) == [DOOR]
    assert all_.now(*DOOR).why_not == "removed"
    assert all_.removed(*DOOR) == []
    assert all_.removed("nobody", "door") == []


def test_what_a_broker_has_kept_counts_only_once_the_device_has_spoken() -> None:
    """A broker that was without power gives out from its disk what a device said before, which may be gone for good."""
    all_ = standings()
    all_.status("gate-3", online=True, live=False)
    assert all_.state(*DOOR, state(2, NOW - 66), live=False) == [DOOR]
    assert (all_.now(*DOOR).present("face"), all_.now(*DOOR).why_not) == (None, "unconfirmed")
    all_.status("gate-3", online=True, live=True)
    assert all_.now(*DOOR).why_not == "unconfirmed", "its birth comes before its states"
    assert all_.spoken("gate-3", health(), live=False) == []
    assert all_.spoken("gate-3", health(NOW - 100), live=True) == [], "it waited somewhere on its way"
    assert all_.spoken("gate-3", replace(result(1), ts=timestamp(NOW), replay=True), live=True) == []
    assert all_.now(*DOOR).why_not == "unconfirmed"
    assert all_.spoken("gate-3", health(), live=True) == [DOOR]
    assert all_.now(*DOOR).counts == {"face": 2}
    assert all_.spoken("gate-3", health(), live=True) == []


def test_a_state_that_comes_live_needs_nobody_else() -> None:
    all_ = standings()
    all_.status("gate-3", online=True, live=False)
    all_.state(*DOOR, state(2), live=True)
    all_.state("gate-3", "yard", state(1), live=False)
    assert all_.now(*DOOR).present("face") is True
    assert all_.now("gate-3", "yard").why_not == "unconfirmed", "it may come again in a moment, and be another"


def test_the_age_of_a_state_is_what_its_time_says() -> None:
    """Whatever the way that it came: a broker of MQTT 3.1.1 keeps it for ever, and a bridge forgets its expiry."""
    clock = Clock()
    all_ = standings(clock)
    all_.status("gate-3", online=True, live=False)
    all_.state(*DOOR, state(2, NOW - 200), live=False)
    assert all_.now(*DOOR).why_not == "silent"
    all_.state(*DOOR, state(2, NOW - 50), live=True)
    assert all_.now(*DOOR).present("face") is True
    clock.now += 129
    assert all_.now(*DOOR).present("face") is True
    clock.now += 2
    assert all_.now(*DOOR).why_not == "silent", "180 s after it was said, not after it came"
    assert all_.aged() == [DOOR]


@pytest.mark.parametrize("wrong", [{"clock": "unsynced"}, {"ts": timestamp(NOW + 3600)}])
def test_a_time_that_cannot_be_believed_is_not_used(wrong: dict[str, Any]) -> None:
    clock = Clock()
    all_ = standings(clock)
    all_.status("gate-3", online=True, live=False)
    all_.state(*DOOR, replace(state(2, NOW - 5000), **wrong), live=True)
    assert all_.now(*DOOR).present("face") is True
    clock.now += SILENT + 1
    assert all_.now(*DOOR).why_not == "silent"
    all_.state(*DOOR, replace(state(2, NOW - 5000), **wrong), live=False)
    assert all_.now(*DOOR).why_not == "unconfirmed"


def test_states_of_our_absence_are_left_out() -> None:
    """A session gives them out as if they came now, and then the retained one."""
    all_ = standings(session=True)
    all_.status("gate-3", online=True)
    for count, ago in ((1, 50), (0, 40), (1, 11)):
        assert all_.state(*DOOR, state(count, NOW - ago), live=True) == []
    assert all_.state(*DOOR, replace(state(1), clock="unsynced"), live=True) == []
    assert all_.spoken("gate-3", replace(result(1), ts=timestamp(NOW - 50)), live=True) == []
    all_.state(*DOOR, state(0, NOW - 10.5), live=False)
    assert all_.now(*DOOR).why_not == "unconfirmed"
    all_.state(*DOOR, state(3, NOW - 30), live=True)
    assert all_.now(*DOOR).counts == {"face": 3}


def test_catching_up_ends_where_nothing_is_retained() -> None:
    clock = Clock()
    all_ = standings(clock, session=True)
    all_.status("gate-3", online=True)
    assert all_.state(*DOOR, state(1), live=True) == [DOOR], "it has just been said"
    clock.now += CATCHING_UP + 1
    assert all_.state("gate-3", "yard", state(1, clock="unsynced"), live=True) == [("gate-3", "yard")]
    assert all_.now("gate-3", "yard").present("face") is True


def test_what_a_bridge_says_again_is_no_word_of_the_device() -> None:
    """It hands on as live what the broker behind it has on its disk."""
    all_ = standings()
    all_.status("gate-3", online=True, live=False)
    all_.state(*DOOR, state(2, NOW - 20), live=False)
    all_.spoken("gate-3", health(NOW - 10), live=False)
    all_.status("gate-3", online=True, live=True)
    all_.state(*DOOR, state(2, NOW - 20), live=True)
    all_.spoken("gate-3", health(NOW - 10), live=True)
    assert (all_.now(*DOOR).why_not, all_.health("gate-3")) == ("unconfirmed", None)
    all_.spoken("gate-3", health(), live=True)
    assert all_.now(*DOOR).present("face") is True
    assert all_.health("gate-3") == health()


def test_health_is_known_as_a_state_is() -> None:
    clock = Clock()
    all_ = standings(clock)
    assert all_.health("gate-3") is None
    all_.status("gate-3", online=True, live=False)
    all_.spoken("gate-3", health(NOW - 20), live=False)
    assert all_.health("gate-3") is None
    all_.spoken("gate-3", health(), live=True)
    assert all_.health("gate-3") == health()
    clock.now += SILENT + 1
    assert all_.health("gate-3") is None
    all_.spoken("gate-3", health(clock.wall()), live=True)
    assert all_.health("gate-3") is not None
    all_.status("gate-3", online=False)
    assert all_.health("gate-3") is None


def test_messages_that_are_old_when_they_come_are_reported(caplog: pytest.LogCaptureFixture) -> None:
    all_ = standings()
    for _ in range(3):
        all_.state(*DOOR, state(1, NOW - 600), live=True)
    assert caplog.messages == ["gate-3: message arrived 600 s late (a bridge held it back, or the clocks differ)"]
