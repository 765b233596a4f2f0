"""``status --wait``: what a daemon lacks until it serves, when that is hopeless, and what it does not wait for."""

from __future__ import annotations

import signal
import threading
from collections.abc import Mapping
from pathlib import Path

import pytest

from edge_infer.cli import main
from edge_infer.cli.waiting import Glimpse, Judge
from edge_infer.contract.codec import replace
from edge_infer.contract.messages import ModelStatus, OutboxHealth, PipelineHealth, SourceHealth, SourceState
from edge_infer.supervisor.processes.supervisor import LastFailure
from edge_infer.supervisor.status import BrokerStatus, RoomStatus, Status
from tests.broker import Broker
from tests.readers.conftest import free_port
from tests.running import Daemon, config

OUTBOX = OutboxHealth(0, 0, 0, {}, degraded=False)
SERVES = ModelStatus("active", "1.0.0", "c5e0e825")


def rooms(**restarts: int) -> Mapping[str, RoomStatus]:
    return {name.replace("_", " "): RoomStatus(7, count, 1.0) for name, count in restarts.items()}


def status(state: SourceState = "ok", produced: int = 0) -> Status:
    return Status(
        "1", 1.0, "boot", None, rooms(engine=0, publisher=0, reader_cam=0), {"cam": SourceHealth(state, 5.0)},
        {"faces": PipelineHealth(5.0, None, 0, produced)}, {"faces": SERVES}, BrokerStatus(True, "ok"), OUTBOX, None,
        None, feeds={"faces": "cam"},
    )  # fmt: skip


def test_it_serves_once_every_pipeline_has_had_an_outcome() -> None:
    assert Judge().look(status()) == Glimpse(("pipeline faces waits for a frame of cam (ok)",), late=0)
    assert Judge().look(status(produced=1)) == Glimpse(("every pipeline has an outcome",), 0)


@pytest.mark.parametrize("state", ["lost", "ended"])
def test_it_does_not_wait_for_a_source_that_is_away(state: SourceState) -> None:
    assert Judge().look(status(state)) == Glimpse(("every pipeline has an outcome, or lacks its source: cam",), 0)


def test_a_pipeline_of_crops_has_an_outcome_only_where_something_is_found() -> None:
    found = replace(status(produced=1), pipelines={"faces": PipelineHealth(5.0, None, 0, 1)}, feeds={"faces": "cam"})
    with_crops = {**found.pipelines, "ages": PipelineHealth(0.0, None, 0, 0)}
    assert Judge().look(replace(found, pipelines=with_crops)).code == 0


def test_what_the_daemon_lacks_itself_is_no_success_when_time_is_up() -> None:
    nothing = ModelStatus("rejected", None, None, "damaged")
    full = replace(OUTBOX, degraded=True)
    for lacking, line in (
        (replace(status(produced=1), boot=None), "the engine is starting"),
        (replace(status(produced=1), outbox=None), "the publisher is starting"),
        (replace(status(produced=1), models={"faces": nothing}), "model faces: rejected: damaged; no model serves"),
        (
            replace(status(), pipelines={"faces": PipelineHealth(0.0, None, 0, 1, "shapes differ")}),
            "pipeline faces: shapes differ",
        ),
        (
            replace(status(produced=1), outbox=full, broker=BrokerStatus(False, "refused")),
            "the daemon can neither send results (refused) nor store them: the state directory cannot be written",
        ),
    ):
        assert Judge().look(lacking) == Glimpse((line,), None, 1)
    assert Judge().look(replace(status(produced=1), outbox=full)).code == 0  # the broker takes them


def test_a_process_that_ends_again_and_again_ends_the_wait_with_its_reason() -> None:
    judge = Judge()
    trouble = LastFailure("2026-01-01T00:00:00.000Z", "engine ended with exit code 1")
    before = replace(status(), rooms=rooms(engine=5, publisher=0), boot=None, last_error=trouble)
    assert judge.look(before).code is None  # it has run for long; that was before
    assert judge.look(replace(before, rooms=rooms(engine=6, publisher=0))).code is None
    look = judge.look(replace(before, rooms=rooms(engine=7, publisher=0)))
    assert look == Glimpse(("the engine ends repeatedly: engine ended with exit code 1",), 1)


def test_a_reader_that_ends_is_a_fault_unless_its_source_is_lost() -> None:
    cases: tuple[tuple[SourceState, int], ...] = (("starting", 1), ("lost", 0))
    for state, code in cases:
        judge = Judge()
        judge.look(status(state))
        assert judge.look(replace(status(state), rooms=rooms(engine=0, publisher=0, reader_cam=2))).code == code


def test_the_command_waits_for_a_daemon_that_only_begins(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with Broker(tmp_path) as broker:
        daemon = Daemon(tmp_path, config(broker.port))
        timer = threading.Timer(1.0, daemon.start)
        timer.start()
        try:
            assert main(["status", "--wait", "-c", str(daemon.config)]) == 0
        finally:
            timer.join()
            daemon.signal(signal.SIGTERM)
            daemon.wait(20)
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "every pipeline has an outcome"
    assert lines[1].startswith("edge-infer ")


def test_it_says_what_it_waited_for_in_vain(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "config.yaml"
    path.write_text(config(free_port()))
    assert main(["status", "--wait", "--timeout", "1", "-c", str(path)]) == 1
    told = capsys.readouterr().err
    assert told.startswith(f"no daemon answers on {tmp_path}/state/control.sock")
    assert told.splitlines()[1].startswith("edge-infer: timeout after 1s; ")
