"""What pipelines run on: threads measured once for a model on a board, and remembered; CPUs that are there."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path

import pytest

from edge_infer.config.compile.compile import compile_config
from edge_infer.config.compile.hardware import cpus_here
from edge_infer.models.trials.known_results import (
    KNOWN_FILE,
    MAX_KNOWN_TRIALS,
    Count,
    Known,
    Proof,
    read_known,
    write_known,
)
from edge_infer.plan.records import Compiled
from edge_infer.platform.board import board_name

SHIPPED = Path(__file__).parents[2] / "models" / "face-detect" / "1.0.0"
CORES = len(os.sched_getaffinity(0))
CONFIG = """\
device: {{id: gate, state_dir: state}}
models:
  faces: {{file: faces/face_full_range_int8.tflite}}
sources:
  shapes: {{kind: synthetic, size: 320x240}}
pipelines:
  one: {{source: shapes, model: faces{keys}}}
"""
SECOND = "  two: {source: shapes, model: faces}\n"
several = pytest.mark.skipif(CORES == 1, reason="one core: there is nothing to choose")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder with the shipped model and its manifest."""
    shutil.copytree(SHIPPED, tmp_path / "faces")  # models are not opened through links
    return tmp_path


def compiled(folder: Path, keys: str = "", more: str = "", *, store: bool = True) -> Compiled:
    path = folder / "config.yaml"
    path.write_text(CONFIG.format(keys=keys) + more)
    found = compile_config(path, store=store)
    assert not found.problems
    return found


def threads(found: Compiled) -> list[int]:
    assert found.plan is not None
    return [pipeline.threads for pipeline in found.plan.pipelines]


@several
def test_what_was_measured_is_remembered_and_not_measured_again(folder: Path) -> None:
    first = compiled(folder)
    (count,) = read_known(folder / "state").counts
    assert threads(first) == [count.threads]
    assert 1 <= count.threads <= CORES
    assert first.plan is not None
    assert count.about() == (first.plan.pipelines[0].model.sha256, count.runtime, board_name())
    assert count.runtime
    for known in (1, 2):
        write_known(folder / "state", Known((Count(*count.about(), known),)))
        assert threads(compiled(folder)) == [known]
        assert threads(compiled(folder, store=False)) == [known]


@several
def test_another_board_measures_for_itself(folder: Path) -> None:
    compiled(folder)
    (count,) = read_known(folder / "state").counts
    other = Count(count.sha, count.runtime, "another board, 64 cores", 64)
    write_known(folder / "state", Known((other,)))
    assert threads(compiled(folder)) == [read_known(folder / "state").counts[-1].threads]
    assert [each.board for each in read_known(folder / "state").counts] == [other.board, board_name()]


@several
def test_a_file_that_cannot_be_understood_is_made_anew(folder: Path) -> None:
    path = folder / "state" / "trials" / KNOWN_FILE
    path.parent.mkdir(parents=True)
    path.write_text('{"counts": [{"sha": "me"}]}')
    assert threads(compiled(folder)) == [json.loads(path.read_text())["counts"][0]["threads"]]


def test_pipelines_that_share_the_processor_have_a_thread_each(folder: Path) -> None:
    assert threads(compiled(folder, more=SECOND)) == [1, 1]
    assert not (folder / "state" / "trials" / KNOWN_FILE).exists()


def test_what_is_configured_is_not_measured(folder: Path) -> None:
    found = compiled(folder, f", threads: {CORES}")
    assert (threads(found), found.warnings) == ([CORES], ())
    assert not (folder / "state" / "trials" / KNOWN_FILE).exists()


def test_more_threads_than_cores_are_a_warning(folder: Path) -> None:
    found = compiled(folder, ", threads: 64")
    assert threads(found) == [64]
    (warning,) = found.warnings
    assert str(warning) == (
        f"{folder}/config.yaml:7: pipelines.one.threads: 64 threads wait for each other, because this machine has "
        f"{CORES} core{'s' * (CORES > 1)}; auto{f', or a number up to {CORES}' * (CORES > 1)} is faster"
    )


def test_more_threads_than_cpus_of_its_own_are_a_warning(folder: Path) -> None:
    cpu = min(os.sched_getaffinity(0))
    (warning,) = compiled(folder, f", threads: 64, affinity: [{cpu}]").warnings
    assert str(warning) == (
        f"{folder}/config.yaml:7: pipelines.one.threads: 64 threads wait for each other, because its affinity names "
        "one "
        "core; auto is faster"
    )


@several
def test_no_more_threads_than_cpus_of_its_own(folder: Path) -> None:
    compiled(folder)
    (count,) = read_known(folder / "state").counts
    write_known(folder / "state", Known((Count(*count.about(), CORES),)))
    cpus = sorted(os.sched_getaffinity(0))
    found = compiled(folder, f", affinity: {cpus[1:]}")
    assert threads(found) == [CORES - 1]
    assert found.plan is not None
    assert found.plan.pipelines[0].affinity == tuple(cpus[1:])


def test_a_cpu_that_this_machine_has_not_is_refused_with_what_there_is(folder: Path) -> None:
    path = folder / "config.yaml"
    path.write_text(CONFIG.format(keys=", affinity: [0, 4000]"))
    (problem,) = compile_config(path).problems
    assert (problem.line, problem.path) == (7, "pipelines.one.affinity[1]")
    assert problem.text.startswith("this machine has no CPU 4000; it has 0")


@pytest.mark.parametrize(
    ("text", "cpus"), [("0-3\n", {0, 1, 2, 3}), ("0\n", {0}), ("0-1,4,6-7\n", {0, 1, 4, 6, 7}), ("?", None)]
)
def test_the_cpus_of_a_machine(tmp_path: Path, text: str, cpus: set[int] | None) -> None:
    (tmp_path / "online").write_text(text)
    assert cpus_here(tmp_path / "online") == (cpus or os.sched_getaffinity(0))


def test_a_check_writes_nothing_and_measures_nothing(folder: Path) -> None:
    assert threads(compiled(folder, store=False)) == [1]
    assert not (folder / "state").exists()


def test_the_newest_are_remembered() -> None:
    known, runtime = Known(), "ai-edge-litert 2.3.0"
    for number in range(MAX_KNOWN_TRIALS + 5):
        known = known.having(Count(f"{number:064x}", runtime, "board", 2)).having(Proof(f"{number:064x}", 1.0))
    assert len(known.counts) == len(known.proofs) == MAX_KNOWN_TRIALS
    assert known.threads(f"{4:064x}", runtime, "board") is None
    assert known.threads(f"{5:064x}", runtime, "board") == 2
    assert known.threads(f"{5:064x}", "ai-edge-litert 2.4.0", "board") is None
    assert (known.delegated(f"{4:064x}"), known.delegated(f"{5:064x}")) == (None, 1.0)
    again = known.having(Count(f"{5:064x}", runtime, "board", 1))
    assert again.threads(f"{5:064x}", runtime, "board") == 1
    assert len(again.counts) == MAX_KNOWN_TRIALS
