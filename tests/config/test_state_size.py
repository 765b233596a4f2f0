"""Labels of a configuration are counted in every state, with zones too, so all of them have to find room."""

from __future__ import annotations

import re
import string
from pathlib import Path

import pytest

from edge_infer.config.compile.compile import compile_config
from edge_infer.contract.codec import dumps, replace
from edge_infer.contract.messages import MAX_MESSAGE_BYTES, State, Value, timestamp
from edge_infer.engine.events.followed import Followed
from edge_infer.engine.output.outcome import Composer
from edge_infer.engine.tasks.detection import Detections
from edge_infer.plan.outcome_limits import MARKS, state_bytes
from edge_infer.plan.records import TrackPlan, ValuePlan, ZonePlan
from tests.engine.plans import pipeline
from tests.engine.test_outcome import FRAME
from tests.moody import OPS, _Graph, _Model

ZONE = ZonePlan("drive", ((0.0, 0.0), (1.0, 0.0), (1.0, 1.0)))


@pytest.mark.parametrize("zones", [(), (ZONE,), (ZONE, ZonePlan("gate", ZONE.polygon, ("label 1",)))])
def test_what_is_counted_is_what_a_state_has_at_most(zones: tuple[ZonePlan, ...]) -> None:
    names = tuple(f"label {number}" for number in range(9))
    plan = pipeline(names=names, labels=names, track=TrackPlan(), zones=zones)
    counts = tuple((name, 999) for name in names)
    inside = tuple(
        (zone.name, tuple((name, 999) for name in names if zone.labels is None or name in zone.labels))
        for zone in zones
    )
    found = Followed(Detections((), (1, 1)), counts, inside, ())
    state = Composer(plan, "0" * 16)(found, FRAME, 50.0).state(timestamp(0.0))
    assert len(dumps(state)) - len(',"ids":{}') + MARKS == state_bytes(plan)


def test_without_labels_and_without_counts_there_is_nothing_to_fit() -> None:
    assert state_bytes(pipeline()) == 0
    assert state_bytes(pipeline("classification", labels=("cat",))) == 0
    assert 100 < state_bytes(pipeline("pose", labels=("cat",))) < MAX_MESSAGE_BYTES


@pytest.mark.parametrize(
    ("plan", "largest"),
    [
        (ValuePlan("level", "l"), 999_999.123456),
        (ValuePlan("level", "l", step=0.25, min=-10.0, max=10.0), -10.25),
        (ValuePlan("level", "l", step=5.0, min=0.0, max=1e12), 1e12),
    ],
)
def test_values_have_the_room_that_their_digits_need(plan: ValuePlan, largest: float) -> None:
    made = pipeline("regression")
    made = replace(made, model=replace(made.model, values=(plan,) * 3))
    state = State(1, "2026-01-01T00:00:00.000Z", "0" * 16, made.model.title, made.model.sha256[:8],
                  "2026-01-01T00:00:00.000Z", values=(Value("level", plan.rounded(largest), "l"),) * 3)  # fmt: skip
    assert len(dumps(state)) + MARKS <= state_bytes(made) <= len(dumps(state)) + MARKS + 3 * 30
    assert state_bytes(replace(made, model=replace(made.model, values=(plan,) * 32))) > MAX_MESSAGE_BYTES


def several(folder: Path, many: int, name: str = "") -> list[str]:
    """Problems of a configuration with a regression of so many values."""
    model = _Model()
    graph = _Graph(model)
    row = graph.tensor("row", [1, many])
    factors = graph.floats("factors", [1.0] * many, [1, many])
    values = graph.operator(OPS.MUL, [row, factors], graph.tensor("values", [1, many]))
    (folder / "m.tflite").write_bytes(model.packed([graph.packed([row], [values])]))
    names = ", ".join(f"{{name: {name}{letter}, step: 1, min: 0, max: 255}}" for letter in string.ascii_letters[:many])
    (folder / "m.yaml").write_text(
        f"task: regression\nversion: 1.0.0\ninput: {{features: raw, channels: {many}}}\nvalues: [{names}]\n"
    )
    (folder / "config.yaml").write_text(
        "device: {state_dir: state}\nmodels: {m: {file: m.tflite}}\nsources: {s: {kind: mqtt, topic: t}}\n"
        "pipelines:\n  p:\n    source: s\n    model: m\n    max_payload: 4K\n"
    )
    return [f"{each.path}: {each.text}" for each in compile_config(folder / "config.yaml").problems]


def test_a_regression_with_too_many_values_names_a_remedy_that_helps(tmp_path: Path) -> None:
    assert several(tmp_path, 15) == []
    told = re.compile(
        r"pipelines\.p\.model: a state with the (\d+) values of m can take \d+ bytes, and the limit is 1024, "
        r"which has room for 15 values with names of one letter: (.*)"
    )
    (problem,) = several(tmp_path, 15, "long_name_")
    assert (found := told.fullmatch(problem))
    assert found.groups() == ("15", "give them shorter names or units in the manifest")
    (problem,) = several(tmp_path, 16)
    assert (found := told.fullmatch(problem))
    assert found.groups() == ("16", "use a model with fewer values")


@pytest.mark.parametrize(("many", "zones", "fits"), [(12, 1, True), (40, 0, True), (60, 0, False), (12, 5, False)])
def test_check_refuses_labels_that_cannot_all_be_counted(
    assets: Path, tmp_path: Path, many: int, zones: int, fits: bool
) -> None:
    names = [f"label-{number:02}" for number in range(80)]
    areas = ", ".join(f"zone-{number}: [[0, 0], [1, 0], [1, 1]]" for number in range(zones))
    (tmp_path / "config.yaml").write_text(
        f"""\
device: {{state_dir: state}}
models: {{m: {{file: {assets}/models/yolov5n-int8.tflite, labels: [{", ".join(names)}]}}}}
sources: {{s: {{kind: synthetic}}}}
pipelines:
  p:
    source: s
    model: m
    track: true
    zones: {{{areas}}}
    labels: [{", ".join(names[:many])}]
"""
    )
    problems = compile_config(tmp_path / "config.yaml").problems
    if fits:
        assert problems == ()
    else:
        (problem,) = problems
        assert (problem.line, problem.path) == (10, "pipelines.p.labels")
        assert f"a state that counts these {many} labels" in problem.text
        assert "the limit is 1024" in problem.text
