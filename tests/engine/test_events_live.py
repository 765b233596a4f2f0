"""Events of a real daemon on the shipped clip: whatever happens, what was begun is ended once, with the reason."""

from __future__ import annotations

import os
import signal
from collections import Counter
from pathlib import Path

from edge_infer.contract.codec import ABSENT, decode_json
from edge_infer.contract.messages import Event, State
from tests.broker import Broker, Subscriber, eventually
from tests.running import Daemon, config

FOLLOWED = "track: {lost: 400ms}, zones: {all: [[0, 0], [1, 0], [1, 1], [0, 1]]}, threshold: 0.4"
TOPIC = "edge-infer/box/faces/event"


def followed(port: int, keys: str = FOLLOWED) -> str:
    return config(port).replace("publish: every, fps: 10", f"publish: change, fps: 10, {keys}")


def told(heard: Subscriber) -> list[Event]:
    return [decode_json(Event, message.payload) for message in heard.on(TOPIC)]


def open_now(events: list[Event]) -> Counter[tuple[object, ...]]:
    """Begins less ends, by what they are of; never below nothing."""
    found: Counter[tuple[object, ...]] = Counter()
    for event in events:
        zone = event.zone if event.type in ("enter", "exit") else ABSENT
        found[event.boot, event.id, zone] += 1 if event.type in ("appear", "enter") else -1
        assert found[event.boot, event.id, zone] in (0, 1)
    return +found


def all_ended(events: list[Event]) -> int:
    """How many there are, once nothing is open; 0 before."""
    return 0 if open_now(events) else len(events)


def test_whatever_happens_what_began_ends_once_and_says_why(broker: Broker, tmp_path: Path) -> None:
    with Subscriber(broker.port) as heard, Daemon(tmp_path, followed(broker.port)) as daemon:
        eventually(lambda: open_now(told(heard)), "a face in the zone", 40)
        os.kill(daemon.pids()["engine"], signal.SIGKILL)
        eventually(lambda: "engine_failed" in reasons(heard), "ends after a kill")
        begun = eventually(lambda: all_ended(told(heard)), "ends of all that was open")
        for corner in ("0.99", "0.98", "0.97", "0.96"):  # a slow machine may be late for a face that is just leaving
            eventually(lambda: open_now(told(heard)[begun:]), "a face again", 40)
            daemon.config.write_text(followed(broker.port, FOLLOWED.replace("[1, 1]", f"[1, {corner}]")))
            assert daemon.reload()["state"] == "applied"
            eventually(lambda: all_ended(told(heard)), "ends after a reload, or of a face that left")
            if "config_changed" in reasons(heard):
                break
        assert "config_changed" in reasons(heard)
        eventually(lambda: open_now(told(heard)), "a face once more", 40)
        asked = daemon.command("why", "--last", "1m", "--pipeline", "faces")
        assert "appear: told" in asked.stdout, asked.stdout + asked.stderr
        assert "appear: told" in daemon.command("why", "--at", "10s ago").stdout
        told_before = daemon.command("why", "--at", "2h ago")
        assert "no decisions of that time came close to being reported" in told_before.stdout
        assert "faces: there is no record of decisions before 20" in told_before.stderr
        other = daemon.command("why", "--label", "cat")
        assert "no decisions of that time came close to being reported" in other.stdout
        assert "has no label 'cat'" in other.stderr
        assert 'did you mean "faces"?' in daemon.command("why", "--pipeline", "face").stderr
        begun = len(told(heard))
        eventually(
            lambda: any(event.type == "appear" for event in told(heard)[begun:]), "a face that has just come", 40
        )
        daemon.signal(signal.SIGTERM)
        daemon.wait(20)
        eventually(lambda: not open_now(told(heard)), "ends of all")
        assert reasons(heard) <= {"engine_failed", "config_changed", "stopped"}
        states = [decode_json(State, message.payload) for message in heard.on("edge-infer/box/faces/state")]
        assert any(isinstance(s.zones, dict) and s.zones["all"].get("face") for s in states)


def reasons(heard: Subscriber) -> set[object]:
    return {event.reason for event in told(heard)} - {ABSENT}
