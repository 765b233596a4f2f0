"""Stops as systemd makes them with ``KillMode=control-group``: the signal reaches every process of the service."""

from __future__ import annotations

import os
import re
import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from edge_infer.publisher import process as publisher
from edge_infer.publisher.outbox import stored_outbox
from edge_infer.supervisor.processes import readers, supervisor
from tests.broker import Broker, Subscriber, eventually
from tests.running import PYTHON, ROOT, Daemon, alive, config

P = "edge-infer/box"
CAMERA = (
    "import sys, time\nwhile True:\n sys.stdout.buffer.write(bytes([int(time.time() * 20) % 256]) * (64 * 48 * 3))\n"
    " sys.stdout.buffer.flush()\n time.sleep(0.05)\n"
)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGABRT])
def test_a_killed_supervisor_costs_nothing(
    box: Path, broker: Broker, subscriber: Subscriber, number: signal.Signals
) -> None:
    """SIGABRT is the watchdog's. The account of the next start has all that the subscriber received."""
    with Daemon(box, config(broker.port)) as daemon:
        daemon.wait_serving()
        subscriber.wait(f"{P}/faces/result", lambda heard: heard.value["seq"] >= 20)
        rooms = daemon.pids()
        daemon.signal(signal.SIGKILL)
        for pid in rooms.values():
            os.kill(pid, number)
        daemon.wait(10)
        eventually(lambda: not any(alive(pid) for pid in rooms.values()), "their end", 4.0)
        time.sleep(0.5)
        received = len(subscriber.on(f"{P}/faces/result"))
        accounts = list[dict[str, int]]()
        daemon.start()

        def account() -> bool:
            if found := daemon.status().get("outbox"):
                accounts.append(found)
            return bool(accounts) and accounts[-1]["delivered"] > received

        eventually(account, "results of the next start", 30.0)
        assert min(each["delivered"] for each in accounts) >= received, "delivered never goes back"
        assert accounts[-1]["lost"] == {}


@contextmanager
def with_camera(box: Path, broker: Broker, subscriber: Subscriber) -> Iterator[Daemon]:
    """A daemon with results of a camera that a reader reads."""
    (box / "camera.py").write_text(CAMERA)
    source = f"{{kind: exec, command: [{PYTHON}, camera.py], size: 64x48, format: rgb24}}"
    with Daemon(box, config(broker.port, source)) as daemon:
        daemon.wait_serving()
        subscriber.wait(f"{P}/faces/result")
        yield daemon


def test_a_stop_that_reaches_the_readers_first_starts_none_again(
    box: Path, broker: Broker, subscriber: Subscriber
) -> None:
    with with_camera(box, broker, subscriber) as daemon:
        rooms = daemon.pids()
        daemon.signal(signal.SIGTERM)
        for pid in rooms.values():
            os.kill(pid, signal.SIGTERM)
        assert daemon.wait(20) == 0, daemon.log.read_text()
        said = daemon.log.read_text().partition("stopping")
        assert said[1], "it stops"
        assert "starting a new one" not in said[0] + said[2]
        last = subscriber.on(f"{P}/faces/state")[-1].value
        assert (last["counts"], last["reason"]) == (None, "stopped")


def test_a_reader_that_hangs_at_the_stop_is_killed_and_makes_no_failed_service(
    box: Path, broker: Broker, subscriber: Subscriber
) -> None:
    """A camera driver may hang for ever. ``systemctl stop`` then leaves no failed unit: no result is lost by it."""
    with with_camera(box, broker, subscriber) as daemon:
        reader = next(pid for name, pid in daemon.pids().items() if name.startswith("reader"))
        os.kill(reader, signal.SIGSTOP)
        daemon.signal(signal.SIGTERM)
        assert daemon.wait(20) == 0, daemon.log.read_text()
        assert f"reader cam (pid {reader}) did not stop; killing it" in daemon.log.read_text()
        assert not alive(reader)


def test_the_limits_of_a_stop_fit_into_that_of_the_unit() -> None:
    unit = (ROOT / "systemd" / "edge-infer.service").read_text()
    allowed = re.search(r"^TimeoutStopSec=(\d+)s$", unit, re.MULTILINE)
    assert allowed is not None
    longest = supervisor.ENGINE_STOP + readers.STOP + supervisor.PUBLISHER_STOP
    assert longest < supervisor.STOP_ALL < float(allowed[1])
    assert publisher.LAST_WORDS + stored_outbox.CLOSE_WITHIN < supervisor.PUBLISHER_STOP


def test_a_publisher_that_is_replaced_may_be_silent_as_long_as_at_a_stop() -> None:
    """It sends no heartbeat while it writes its last commit to a slow card. As a thread it would end the daemon."""
    house = supervisor.ProcessSupervisor("info")
    house.publisher.heard = time.monotonic() + 1.0
    assert dict(house._patiences())[house.publisher] < supervisor.PUBLISHER_STOP
    house._replaced.add(house.publisher)
    assert dict(house._patiences())[house.publisher] == supervisor.PUBLISHER_STOP
