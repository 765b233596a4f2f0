"""Whether the runtime's fast path works: how that is measured, judged, and what helps."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from edge_infer.contract.codec import decode_json
from edge_infer.models.trials.fast_path import CHILD, SHOW_PROCESSOR, Timed, remedy, shipped_model
from tests.running import MODEL


@pytest.mark.parametrize(
    ("fast", "slow", "gain", "works"),
    [
        (2.4, 11.4, 4.8, True),
        (230.0, 229.0, 1.0, False),
        (10.0, 11.4, 1.1, False),
        (10.0, 12.0, 1.2, True),
        (1e-6, 1e6, 1000.0, True),
        (0.0, 0.0, 1.0, False),
    ],
)
def test_the_gain_has_one_decimal_and_a_bound(fast: float, slow: float, gain: float, works: bool) -> None:
    timed = Timed("ai-edge-litert 2.3.0", fast, slow)
    assert (timed.gain, timed.works) == (gain, works)


def test_what_helps_depends_on_what_lacks(tmp_path: Path) -> None:
    assert remedy("ai-edge-litert 2.3.0", tmp_path) == SHOW_PROCESSOR
    (tmp_path / "proc").mkdir()
    (tmp_path / "proc/cpuinfo").touch()
    assert remedy("ai-edge-litert 2.3.0", tmp_path) == SHOW_PROCESSOR
    (tmp_path / "proc/cpuinfo").write_text("processor: 0\n")
    assert "another version" in remedy("ai-edge-litert 2.3.0", tmp_path)
    # The older runtime is not suspected of a fault.
    told = remedy("tflite-runtime 2.14.0", tmp_path)
    assert "ai-edge-litert" in told
    assert "cpuinfo" not in told


def test_the_model_that_comes_along_is_found(tmp_path: Path) -> None:
    assert shipped_model(tmp_path) == MODEL


@pytest.mark.parametrize("words", [(), ("--background",)])
def test_the_child_says_one_thing(words: tuple[str, ...]) -> None:
    done = subprocess.run(
        [sys.executable, "-m", CHILD, str(MODEL), *words], capture_output=True, timeout=120, check=True
    )
    timed = decode_json(Timed, done.stdout)
    assert timed.error == ""
    assert 0 < timed.fast < timed.slow
    assert timed.works
