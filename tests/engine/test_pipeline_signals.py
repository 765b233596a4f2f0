"""A pipeline on sound and samples: the same outcome as `infer`, gaps and faults on the way."""

from __future__ import annotations

import re
import threading
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edge_infer.contract.codec import replace
from edge_infer.engine.input.capture import local_capture
from edge_infer.engine.input.sample_stream import SampleStream, make_feed
from edge_infer.engine.output.result_sender import ResultSender
from edge_infer.engine.worker import Worker
from edge_infer.frames.frame import Samples
from edge_infer.ipc.channel import Channel
from edge_infer.ipc.messages import Handover
from edge_infer.models.request import ModelRequest
from edge_infer.models.resolve.resolve import resolve
from edge_infer.plan.records import PipelinePlan, SourcePlan
from edge_infer.readers.sources import source_target
from tests.broker import eventually
from tests.engine.sounds import EVENTS, JOGGING, MANIFESTS, SINE, motions, put
from tests.engine.summing import Entry, adding_model
from tests.engine.test_worker import ends, heard, reasons

__all__ = ["ends"]


def plan(assets: Path, folder: Path, name: str, manifest: str | None = None, **settings: Any) -> PipelinePlan:
    model = resolve(ModelRequest("m", str(put(assets, folder, name, manifest))))
    return PipelinePlan("ear", "mic", model, model.threshold, publish="every", **settings)


def source(kind: str, **options: Any) -> SourcePlan:
    return SourcePlan(
        "mic", kind, source_target(kind), live=False, network=False, options=options, gives="samples", noisy=False
    )


def results(records: list[Any]) -> list[Any]:
    return [record.message for record in records if isinstance(record, Handover)]


def test_what_a_sensor_sent_before_it_fell_silent_still_counts(
    ends: tuple[ResultSender, Channel], assets: Path, tmp_path: Path
) -> None:
    """The pipeline works off a burst for longer than the source may be silent."""
    outlet, channel = ends
    feed = SampleStream(replace(source("mqtt", topic="x"), live=True))
    pipeline, records = Worker(plan(assets, tmp_path, SINE), feed, outlet), list[Any]()
    for number in range(1, 21):
        item = Samples(np.full((1, 1), number / 4, np.float32), 1.0, time.time(), time.monotonic(), number)
        feed.offer(number, lambda item=item: item)  # type: ignore[misc]
    eventually(lambda: feed.blocked() == "source_lost", "silence", 20)
    pipeline.start()
    eventually(lambda: "source_lost" in reasons(heard(channel, records)), "word of the silence", 20)
    eventually(lambda: len(results(heard(channel, records))) == 20, "every reading", 20)
    pipeline.close()
    feed.close()
    assert reasons(records)[-1] == "source_lost"


def test_every_window_of_a_recording_becomes_a_result(
    ends: tuple[ResultSender, Channel], assets: Path, tmp_path: Path
) -> None:
    outlet, channel = ends
    feed = make_feed(source("audio", file=str(assets / "audio" / "speech.wav"), realtime=False))
    pipeline, records = Worker(plan(assets, tmp_path, EVENTS), feed, outlet), list[Any]()
    pipeline.start()
    feed.start(local_capture(feed.plan))
    eventually(lambda: "source_ended" in reasons(heard(channel, records)), "end of the source", 20)
    pipeline.close()
    feed.close()
    found = results(records)
    assert len(found) == (68360 - 15600) // 7800 + 1
    assert np.mean([item.classes[0].score for item in found]) == pytest.approx(0.96, abs=0.01)
    assert {item.classes[0].label for item in found} == {"Speech"}


def test_faults_on_the_way_are_told_and_pass(ends: tuple[ResultSender, Channel], assets: Path, tmp_path: Path) -> None:
    """Samples of another width, then none that are numbers, then good ones again."""
    outlet, channel = ends
    feed = make_feed(source("csv", file="nowhere.csv", rate=10.0))
    assert isinstance(feed, SampleStream)
    pipeline, records = Worker(plan(assets, tmp_path, JOGGING), feed, outlet), list[Any]()
    pipeline.start()
    running = dict(motions(assets))["Running"]
    number = 0

    def offer(values: np.ndarray, *, gap: bool = False) -> None:
        nonlocal number
        number += 1
        item = Samples(values.astype(np.float32), 10.0, time.time(), time.monotonic(), number, gap)
        feed.offer(number, lambda: item)

    offer(running[:24, :2], gap=True)
    eventually(lambda: "engine_failed" in reasons(heard(channel, records)), "the fault", 20)
    offer(np.full((24, 3), np.nan))
    offer(running[:20])
    offer(running[20:24])
    eventually(lambda: results(heard(channel, records)), "a result", 20)
    pipeline.close()
    feed.close()
    (found,) = results(records)
    assert found.classes[0].label == "Jogging"


def test_a_value_that_cannot_be_is_said_to_be_implausible(
    ends: tuple[ResultSender, Channel], assets: Path, tmp_path: Path
) -> None:
    outlet, channel = ends
    rows = tmp_path / "angle.csv"
    rows.write_text("angle\n0.5236\n1.5708\n4.7124\n")
    manifest = MANIFESTS[SINE].replace("min: -1.2", "min: 0, unit: x, step: 0.1")
    feed = make_feed(source("csv", file=str(rows), rate=10.0, realtime=False))
    pipeline, records = Worker(plan(assets, tmp_path, SINE, manifest), feed, outlet), list[Any]()
    pipeline.start()
    feed.start(local_capture(feed.plan))
    eventually(lambda: len(results(heard(channel, records))) == 3, "three results", 20)
    pipeline.close()
    feed.close()
    values = [item.values[0] for item in results(records)]
    assert [value.value for value in values] == [pytest.approx(0.5, abs=0.11), pytest.approx(1.0, abs=0.11), None]
    assert [value.implausible is True for value in values] == [False, False, True]


@pytest.mark.parametrize(("task", "faults"), [("regression", 1), ("anomaly", 2)])
def test_outputs_that_are_no_numbers_are_told_counted_and_pass(
    ends: tuple[ResultSender, Channel], tmp_path: Path, task: str, faults: int
) -> None:
    """A value is implausible then; of a distance nothing can be said, so that the window counts, too."""
    outlet, channel = ends
    rows = tmp_path / "rows.csv"
    rows.write_text("x\n1\n3e38\n2\n")
    path = tmp_path / "sum.tflite"
    path.write_bytes(adding_model(Entry("x", (1, 1)), Entry("more", (1, 1)), out=(1, 1)))
    path.with_suffix(".yaml").write_text(
        f"task: {task}\nthreshold: 1\ninput: {{features: raw, rate: 10}}\ninputs: {{more: {{value: 3e38}}}}\n"
    )
    model = resolve(ModelRequest("m", str(path)))
    feed = make_feed(source("csv", file=str(rows), rate=10.0, realtime=False))
    pipeline = Worker(PipelinePlan("ear", "mic", model, 1.0, publish="every"), feed, outlet)
    records: list[Any] = []
    pipeline.start()
    feed.start(local_capture(feed.plan))
    eventually(lambda: "source_ended" in reasons(heard(channel, records)), "the end of the source", 20)
    health = pipeline.health()
    pipeline.close()
    feed.close()
    assert health.faults == faults
    if task == "regression":
        assert [item.values[0].implausible is True for item in results(records)] == [False, True, False]
    else:
        assert [item.anomaly.state for item in results(records)] == ["anomalous", "anomalous"]
        assert "engine_failed" in reasons(records)


def test_a_reading_is_finished_when_its_result_needs_this_process_no_more(
    ends: tuple[ResultSender, Channel], assets: Path, tmp_path: Path
) -> None:
    outlet, channel = ends
    feed = SampleStream(source("system", columns=["cpu"]))
    worker = Worker(plan(assets, tmp_path, SINE), feed, outlet)
    worker.start()
    try:
        feed.offer(1, lambda: one_row(1))
        records: list[Any] = []
        eventually(lambda: results(heard(channel, records)), "the first result")
        eventually(lambda: feed.settled() is None, "the end of the first")
        count = 1000  # results of which do not fit into the channel
        for number in range(2, count + 2):
            feed.offer(number, lambda number=number: one_row(number))  # type: ignore[misc]
        eventually(lambda: outlet.given() == count + 1, "all results")
        finished = feed.settled()
        assert finished is not None
        assert finished == outlet.written() < count
        eventually(lambda: heard(channel, records) and outlet.flush(), "room")
        eventually(lambda: feed.settled() is None, "the end of all")
    finally:
        worker.close()


def one_row(number: int) -> Samples:
    return Samples(np.ones((1, 1), np.float32), 1.0, 0.0, time.monotonic(), number)


@pytest.mark.parametrize("again", [False, True], ids=["the pipeline ends", "the engine ends"])
def test_the_rest_of_the_block_at_work_is_counted_or_left_to_the_next_engine(
    ends: tuple[ResultSender, Channel],
    assets: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    *,
    again: bool,
) -> None:
    outlet, channel = ends
    feed = SampleStream(replace(source("csv", file="x", rate=1000.0), live=True, holds_writer=True))
    pipeline = Worker(plan(assets, tmp_path, SINE), feed, outlet)
    give, there, go = outlet.hand_over, threading.Event(), threading.Event()

    def hand_over(*args: Any) -> Any:
        if outlet.numbered("ear") == 10:
            there.set()
            assert go.wait(20)
        return give(*args)

    monkeypatch.setattr(outlet, "hand_over", hand_over)
    block = Samples(np.zeros((500, 1), np.float32), 1000.0, time.time(), time.monotonic(), 1, True)
    feed.offer(1, lambda: block)
    pipeline.start()
    assert there.wait(20), "in the 11th of 500 rows"
    if again:
        feed.stop()
    pipeline.stop()
    go.set()
    pipeline.close()
    lost = sum(map(int, re.findall(r"drops (\d+) rows", caplog.text)))
    if again:
        assert (lost, feed.settled()) == (0, 0)
    else:
        assert 500 <= len(results(heard(channel, []))) + lost <= 501
