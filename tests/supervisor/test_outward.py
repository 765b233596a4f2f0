"""What the engine writes does not leave the device but in closed forms."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from edge_infer.config.compile.checks import unfit
from edge_infer.contract.codec import ABSENT, decode
from edge_infer.contract.messages import ConfigStatus, DelegateStatus, ModelStatus
from edge_infer.errors import ModelError, WireError, quoted
from edge_infer.ipc.messages import EngineReport
from edge_infer.models.request import ModelRequest
from edge_infer.plan.device_limits import WORDS_AT_ONCE, WORDS_EVERY
from edge_infer.plan.records import Problem
from edge_infer.supervisor.control.peer import ChangeLimit
from edge_infer.supervisor.redaction import EngineWords, published
from edge_infer.supervisor.reload.reload import Reload


def said(reason: str) -> object:
    return EngineWords().outward(ModelStatus("rolled_back", "1.0.0", "eac9143a", reason)).reason


@pytest.mark.parametrize(
    ("words", "told"),
    [
        ("a frame took 3.21 s, longer than the limit of 0.5 s", None),
        ("its outputs were the same, bit by bit, for 20 different inputs", None),
        ("its output aW1hZ2U= has values that are not finite", "an output has values that are not finite"),
        ("the delegate failed while running: aW1hZ2U=", "the delegate failed while running"),
        ("the delegate takes 3 of 129 operators (2%), less than aW1hZ2U=", "the delegate takes 3 of 129 operators"),
        ("the delegate says aW1hZ2U=", "edge-infer status shows why"),
        ("aW1hZ2U=", "edge-infer status shows why"),
        ("a» and «b", "edge-infer status shows why"),
        ("", "edge-infer status shows why"),
    ],
)
def test_words_of_the_engine(words: str, told: str | None) -> None:
    assert said(f"it cannot be loaded: {quoted(words)}") == f"it cannot be loaded: {told or words}"


def test_words_of_a_delegate_are_those_of_the_engine() -> None:
    lost = DelegateStatus("libedgetpu.so.1", 0.0, quoted("the delegate cannot be loaded: aW1hZ2U="))
    status = EngineWords().outward(ModelStatus("active", "1.0.0", "eac9143a", delegate={"door": lost}))
    assert isinstance(status.delegate, Mapping)
    assert status.delegate["door"].reason == "the delegate cannot be loaded"


def test_sentences_of_the_supervisor_are_told_as_they_are() -> None:
    text = "the engine died of SIGSEGV while it was on probation"
    assert said(text) == text
    assert EngineWords().outward(ModelStatus("active", "1.0.0", "eac9143a")).reason is ABSENT
    assert said(quoted("x" * 600)[:500]) == "edge-infer status shows why", "cut off before its end"


@pytest.mark.parametrize("runtime", ["ai-edge-litert 2.1.0", "tflite-runtime 2.14.0", "tflite-runtime", ""])
def test_a_runtime_is_a_name_and_a_version(runtime: str) -> None:
    report = {"boot": "9f2c1a", "digest": "", "pipelines": {}, "sources": {}, "models": {}, "running": {}}
    kept = {key: value for key, value in report.items() if key in EngineReport.__struct_fields__}
    assert decode(EngineReport, {**kept, "runtime": runtime}).runtime == runtime
    with pytest.raises(WireError, match="runtime"):
        decode(EngineReport, {**kept, "runtime": f"{runtime} aW1hZ2U="})


def test_new_texts_with_numbers_pass_rarely() -> None:
    now = [0.0]
    words = EngineWords(lambda: now[0])

    def told(seconds: float) -> object:
        text = quoted(f"a frame was not finished within {seconds} s")
        return words.outward(ModelStatus("rolled_back", "1.0.0", "eac9143a", text)).reason

    passed = {told(number / 7) for number in range(100)}
    assert len(passed) == WORDS_AT_ONCE + 1
    assert "edge-infer status shows why" in passed
    assert told(0.0) == "a frame was not finished within 0.0 s", "one that is known"
    now[0] = WORDS_EVERY + 1
    assert told(99.5) == "a frame was not finished within 99.5 s"


WORDS = "/nowhere/m.tflite: /proc/version=Linux aW1hZ2U="


def test_words_of_a_model_on_trial_stay_on_the_device() -> None:
    """They are in the answer of a reload and in `status`. On the topics are their places."""
    said: list[ConfigStatus] = []
    house: Any = SimpleNamespace(note=lambda *_: None, announce=lambda _, status: said.append(status))
    reload = Reload(Path("/nowhere/config.yaml"), house, SimpleNamespace(), lambda: None, ChangeLimit())  # type: ignore[arg-type]
    wrong = Problem("config.yaml", 3, "models.m.file", WORDS, outside=True, foreign=True)
    again = Problem("config.yaml", 4, "models.n.file", f"{quoted(WORDS)} (so it was before)", outside=True)
    ours = Problem("config.yaml", 7, "models.n", "no such key")
    reload._reject("0" * 64, (wrong, wrong, again, ours))
    reload.close()
    assert reload.status is not None
    assert reload.status.errors[0] == f"config.yaml:3: models.m.file: {WORDS}"
    (status,) = said
    assert status.errors == (
        "config.yaml:3: models.m.file: edge-infer check shows why",
        "config.yaml:4: models.n.file: edge-infer check shows why (so it was before)",
        "config.yaml:7: models.n: no such key",
    )


def test_the_reason_of_a_model_that_failed_its_trial_is_quoted() -> None:
    failed = unfit(ModelRequest("m", "/nowhere/m.tflite"), "1", ModelError(f"a» {WORDS} «b", tried=True, foreign=True))
    assert failed.reason == f"«a' {WORDS} 'b»"
    assert said(failed.reason) == "edge-infer status shows why"
    assert unfit(ModelRequest("m", "/nowhere/m.tflite"), "1", ModelError("no file")).reason == "no file"
    assert published(Problem("c", 1, "", f"x {'y' * 999} «{WORDS}")) == f"c:1: x {'y' * 999} edge-infer check shows why"
