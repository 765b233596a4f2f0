"""A delegate in the interpreter: it computes what it takes, and what happens when it fails is what was declared."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from edge_infer.engine.interpreter import Interpreter
from edge_infer.errors import ModelError
from edge_infer.plan.records import DelegatePlan
from tests.running import MODEL


def plan(library: Path | str, least: float = 0.0, failing: str = "refuse", **options: str) -> DelegatePlan:
    return DelegatePlan(str(library), tuple(options.items()), least, failing)  # type: ignore[arg-type]


def outputs(interpreter: Interpreter, seed: int = 1) -> list[NDArray[Any]]:
    """What it makes of noise, as real numbers."""
    chance = np.random.default_rng(seed)
    view = interpreter.input()
    view[...] = chance.integers(-128, 128, view.shape).astype(view.dtype)
    del view
    found = interpreter.invoke()
    return [tensor.dequantize(values) for tensor, values in zip(interpreter.outputs, found, strict=True)]


def apart(one: list[NDArray[Any]], other: list[NDArray[Any]]) -> float:
    """The mean distance of two values, in shares of the range of their output."""
    return max(float(np.abs(a - b).mean()) / float(np.ptp(a) or 1.0) for a, b in zip(one, other, strict=True))


def test_it_computes_the_operators_that_it_takes(library: Path) -> None:
    alone = Interpreter(str(MODEL))
    helped = Interpreter(str(MODEL), delegate=plan(library))
    steps = alone.steps()
    adds = sum(step.name == "ADD" for step in steps)
    every = sum(step.name != "DELEGATE" for step in steps)
    assert adds > 0
    assert helped.delegated == pytest.approx(adds / every)
    assert apart(outputs(alone), outputs(helped)) < 0.1
    wrong = Interpreter(str(MODEL), delegate=plan(library, mood="wrong"))
    assert apart(outputs(alone), outputs(wrong)) > 0.2


def test_it_may_take_all(library: Path, assets: Path) -> None:
    file = str(assets / "models" / "hello_world_int8.tflite")
    alone, helped = Interpreter(file), Interpreter(file, delegate=plan(library, 1.0, ops="fc"))
    assert helped.delegated == 1.0
    assert alone.delegated == 0.0
    for seed in range(10):
        assert apart(outputs(alone, seed), outputs(helped, seed)) <= 2 * alone.outputs[0].scale[0]


def test_the_share_is_that_of_the_delegate_and_not_of_the_runtimes_own(library: Path) -> None:
    with pytest.raises(ModelError, match=r"takes 0 of \d+ operators \(0%\), less than min_delegated \(1%\); it leaves"):
        Interpreter(str(MODEL), delegate=plan(library, 0.01, mood="sulk"))


def test_a_part_is_not_enough(library: Path) -> None:
    with pytest.raises(ModelError, match=r"less than min_delegated \(90%\); it leaves .*CONV_2D"):
        Interpreter(str(MODEL), delegate=plan(library, 0.9))


@pytest.mark.parametrize(
    ("name", "mood", "words"),
    [
        ("/nowhere/lib.so", "good", "cannot be loaded: /nowhere/lib.so: cannot open shared object file"),
        ("libm.so.6", "good", "cannot be loaded: libm.so.6 is not a delegate, it has no tflite_plugin_create_delegate"),
        ("", "refuse", "cannot be loaded: there is no accelerator on this board"),
    ],
)
def test_one_that_cannot_be_loaded(library: Path, name: str, mood: str, words: str) -> None:
    with pytest.raises(ModelError, match=words):
        Interpreter(str(MODEL), delegate=plan(name or library, mood=mood))
    there = Interpreter(str(MODEL), delegate=plan(name or library, failing="cpu", mood=mood))
    assert words in there.failure
    assert there.delegated == 0.0
    assert apart(outputs(there), outputs(Interpreter(str(MODEL)))) == 0.0


def test_one_that_fails_while_running_is_a_fault(library: Path, tmp_path: Path) -> None:
    helped = Interpreter(str(MODEL), delegate=plan(library, fail_when=str(tmp_path / "now")))
    outputs(helped)
    (tmp_path / "now").touch()
    with pytest.raises(ModelError, match="the delegate failed while running: the accelerator has gone"):
        outputs(helped)
    (tmp_path / "now").unlink()
    assert helped.failure == ""
    outputs(helped)


def test_or_the_processor_takes_over_with_the_very_frame(library: Path, tmp_path: Path) -> None:
    helped = Interpreter(str(MODEL), delegate=plan(library, failing="cpu", fail_when=str(tmp_path / "now")))
    outputs(helped)
    assert helped.delegated > 0
    (tmp_path / "now").touch()
    assert apart(outputs(helped, 2), outputs(Interpreter(str(MODEL)), 2)) == 0.0
    assert helped.failure.startswith("the delegate failed while running: the accelerator has gone")
    assert helped.delegated == 0.0
    (tmp_path / "now").unlink()
    outputs(helped, 3)
    assert helped.delegated == 0.0


def test_one_that_is_known_to_be_of_no_use_is_not_even_loaded() -> None:
    useless = DelegatePlan("/nowhere/lib.so", on_failure="cpu", unusable="it crashed")
    there = Interpreter(str(MODEL), delegate=useless)
    assert there.failure == "it crashed"
    assert there.delegated == 0.0
