"""A daemon whose model runs on a delegate: which share of it is told, and what happens when the delegate goes."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from tests.broker import Broker, Subscriber, eventually
from tests.running import Daemon, config

RESULTS = "edge-infer/box/faces/result"


def text(port: int, library: Path, more: str) -> str:
    delegate = f"delegate: {{library: {library}, min_delegated: 0.05, {more}}}"
    return config(port, "{kind: synthetic, size: 320x240}").replace("fps: 10}", f"fps: 10, {delegate}}}")


def told(subscriber: Subscriber) -> dict[str, Any]:
    """The last that was said of the model's delegate in the pipeline."""
    said = [json.loads(each.payload) for each in subscriber.on("edge-infer/box/model/faces") if each.payload]
    found: dict[str, Any] = said[-1].get("delegate", {}).get("faces", {}) if said else {}
    return found


def test_the_processor_takes_over_and_that_is_told(broker: Broker, library: Path, tmp_path: Path) -> None:
    now = tmp_path / "now"
    with (
        Subscriber(broker.port) as subscriber,
        Daemon(tmp_path, text(broker.port, library, f"on_failure: cpu, options: {{fail_when: {now}}}")) as daemon,
    ):
        daemon.wait_serving()
        eventually(lambda: 0.05 < told(subscriber).get("share", 0.0) < 1, "the share of the delegate")
        assert told(subscriber)["library"] == library.name
        assert "reason" not in told(subscriber)
        assert f"delegate in faces: {library.name} runs" in daemon.command("status").stdout
        now.touch()
        eventually(lambda: told(subscriber).get("share") == 0.0, "the processor")
        assert told(subscriber)["reason"] == "the delegate failed while running"
        assert "the accelerator has gone" in daemon.command("models", "show", "faces").stdout
        subscriber.first(len(subscriber.on(RESULTS)) + 5, RESULTS)
        assert "faults" not in daemon.status()["pipelines"]["faces"]


def test_or_it_is_a_fault_of_the_model(broker: Broker, library: Path, tmp_path: Path) -> None:
    now = tmp_path / "now"
    with Daemon(tmp_path, text(broker.port, library, f"options: {{fail_when: {now}}}")) as daemon:
        daemon.wait_serving()
        now.touch()
        error = "the delegate failed while running: the accelerator has gone"
        eventually(lambda: error in daemon.status()["pipelines"]["faces"].get("error", ""), "the fault")
        now.unlink()
        eventually(lambda: "error" not in daemon.status()["pipelines"]["faces"], "the model at work again")


def test_one_that_crashes_at_work_is_done_without(broker: Broker, library: Path, tmp_path: Path) -> None:
    now = tmp_path / "now"
    with (
        Subscriber(broker.port) as subscriber,
        Daemon(tmp_path, text(broker.port, library, f"on_failure: cpu, options: {{crash_when: {now}}}")) as daemon,
    ):
        daemon.wait_serving()
        now.touch()
        eventually(lambda: told(subscriber).get("share") == 0.0, "the processor", 60)
        assert "the engine was killed by SIGSEGV, 3 times within 60 s" in told(subscriber)["reason"]
        subscriber.first(len(subscriber.on(RESULTS)) + 5, RESULTS)
