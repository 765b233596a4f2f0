"""The account of a pipeline that an edit removes, and that comes back later."""

from __future__ import annotations

import os
import signal
from pathlib import Path

from tests.broker import UNLIMITED, Broker, Subscriber, eventually
from tests.running import Daemon, config

P = "edge-infer/box"
YARD = "  yard: {source: cam, model: faces, threads: 1, publish: every, fps: 5, threshold: 0.6}\n"


def test_a_removed_pipeline_keeps_its_account_over_the_death_of_the_publisher(box: Path) -> None:
    """Everything of it is with the broker, and the account on the disk is up to two minutes old."""
    (box / "broker").mkdir()
    with Broker(box / "broker", *UNLIMITED) as broker, Subscriber(broker.port) as subscriber:
        both, one = config(broker.port) + YARD, config(broker.port)
        with Daemon(box, both) as daemon:
            daemon.wait_serving()
            subscriber.first(10, f"{P}/yard/result")
            daemon.config.write_text(one)
            assert daemon.reload()["state"] == "applied"
            eventually(lambda: not subscriber.on(f"{P}/yard/state")[-1].payload, "the end of its topics")
            first = daemon.pids()["publisher"]
            os.kill(first, signal.SIGKILL)
            eventually(lambda: daemon.pids().get("publisher", first) != first, "a new publisher", 30.0)
            daemon.wait_serving()
            daemon.config.write_text(both)
            assert daemon.reload()["state"] == "applied"
            heard = len(subscriber.on(f"{P}/yard/result"))
            eventually(lambda: len(subscriber.on(f"{P}/yard/result")) >= heard + 5, "results of it", 30.0)
            eventually(lambda: daemon.status()["outbox"]["delivered"] >= 15, "the account")
            account = daemon.status()["outbox"]
            assert account["lost"].keys() <= {"unknown"}, account
            assert account["produced"] == account["delivered"] + account["pending"] + sum(account["lost"].values())
