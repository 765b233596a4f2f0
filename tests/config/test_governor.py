"""``governor`` in a configuration: what it says, what is wrong with it, and what this board cannot tell it."""

from __future__ import annotations

from pathlib import Path

import pytest

from edge_infer.config.compile.compile import compile_config
from edge_infer.config.schema.governor import Governor, unseen
from edge_infer.plan.records import Compiled, GovernorPlan
from tests.running import MODEL

REST = f"""\
models: {{faces: {{file: {MODEL}}}}}
sources: {{cam: {{kind: synthetic}}}}
pipelines:
  door: {{source: cam, model: faces}}
  yard: {{source: cam, model: faces}}
  007: {{source: cam, model: faces}}
"""
A_NAME = "a name of letters, digits, _ and - (at most 64, the first a letter or digit)"


def compiled(folder: Path, governor: str, rest: str = REST) -> Compiled:
    path = folder / "config.yaml"
    path.write_text(f"{governor}\n{rest}")
    return compile_config(path)


@pytest.mark.parametrize(
    ("written", "plan"),
    [
        ("", None),
        ("governor:", None),
        ("governor: false", None),
        ("governor: true", GovernorPlan(80.0, None, ("007", "yard", "door"))),
        ("governor: {}", GovernorPlan(80.0, None, ("007", "yard", "door"))),
        ("governor: true  # and priorities", GovernorPlan(80.0, None, ("door", "007", "yard"))),
        (
            "governor: {max_temperature: 70, max_load: 0.9, shed: [yard, 007]}",
            GovernorPlan(70.0, 0.9, ("yard", "007")),
        ),
    ],
)
def test_what_it_becomes(tmp_path: Path, written: str, plan: GovernorPlan | None) -> None:
    ranked = REST.replace("door: {", "door: {priority: -1, ") if "priorities" in written else REST
    found = compiled(tmp_path, written, ranked)
    assert found.problems == ()
    assert found.plan is not None
    assert found.plan.governor == plan


@pytest.mark.parametrize(
    ("written", "problem"),
    [
        ("governor: 80", "governor: expected true, false, or the keys shed, max_temperature, max_load, not 80"),
        ("governor: {max_temp: 80}", 'governor.max_temp: is not known here; did you mean "max_temperature"?'),
        ("governor: {max_temperature: 8}", "governor.max_temperature: expected a number between 30 and 120, not 8"),
        ("governor: {max_load: 90}", "governor.max_load: expected a number between 0.1 and 1, not 90"),
        (
            "governor: {shed: []}",
            "governor.shed: names no pipeline, so the governor could slow none; remove this key to allow all",
        ),
        (
            "governor: {shed: yard}",
            'governor.shed: expected a list of pipelines such as [yard-faces, door-faces], not "yard"',
        ),
        (
            "governor: {shed: [yard, door, yard]}",
            'governor.shed[2]: "yard" is already in this list; remove one of the two',
        ),
        ("governor: {shed: [yard, dor]}", 'governor.shed[1]: there is no "dor" under pipelines; did you mean "door"?'),
        ("governor: {shed: [7]}", 'governor.shed[0]: there is no "7" under pipelines; known: door, yard, 007'),
        (
            "governor: {shed: [{a: 1}]}",
            f"governor.shed[0]: expected {A_NAME}, not a group of keys",
        ),
    ],
)
def test_what_is_wrong_with_it(tmp_path: Path, written: str, problem: str) -> None:
    found = compiled(tmp_path, written)
    assert found.plan is None
    assert [str(each) for each in found.problems] == [f"{tmp_path}/config.yaml:1: {problem}"]


def test_without_any_pipeline_there_is_nobody_to_name(tmp_path: Path) -> None:
    found = compiled(tmp_path, "governor: {shed: [yard]}", "pipelines: {}\n")
    assert [each.text for each in found.problems] == ['there is no "yard" under pipelines; there is none']
    misspelt = compiled(tmp_path, "governor: {shed: [yard]}", REST.replace("pipelines:", "pipeline:"))
    assert [each.path for each in misspelt.problems] == ["pipeline"]


def test_a_board_without_a_sensor_is_warned_of(tmp_path: Path) -> None:
    assert unseen(None, tmp_path) == []
    [(where, text)] = unseen(Governor.model_validate({"max_temperature": 70}), tmp_path)
    assert where == ("governor", "max_temperature")
    assert text == (
        "this board reports no temperature: no zone in /sys/class/thermal can be read; the governor uses only "
        "throttling "
        "(max_load is not given)"
    )
    [(where, text)] = unseen(Governor.model_validate({"max_load": 0.9}), tmp_path)
    assert where == ("governor",)
    assert text == (
        "this board reports no temperature: no zone in /sys/class/thermal can be read; the governor uses only "
        "throttling "
        "and the load"
    )
    zone = tmp_path / "sys/class/thermal/thermal_zone0/temp"
    zone.parent.mkdir(parents=True)
    zone.write_text("45000\n")
    assert unseen(Governor(), tmp_path) == []


def test_the_warning_of_a_whole_configuration_has_its_line(tmp_path: Path) -> None:
    found = compiled(tmp_path, "governor:\n  max_load: 0.9\n  max_temperature: 70")
    assert found.problems == ()
    assert [each.line for each in found.warnings] in ([], [3])  # this machine may have a sensor
