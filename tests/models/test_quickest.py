"""Numbers of threads are tried in a child that may start threads, whoever runs it."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from edge_infer.contract.codec import dumps
from edge_infer.errors import ModelError
from edge_infer.models.request import ModelRequest
from edge_infer.models.trials import hardware
from edge_infer.models.trials.probe import probe
from edge_infer.models.trials.tune_threads import quickest, search
from edge_infer.plan.records import PipelinePlan

SHIPPED = Path(__file__).parents[2] / "models" / "face-detect" / "1.0.0"


def pipeline(file: Path) -> PipelinePlan:
    model = probe(ModelRequest("m", str(file)))
    return PipelinePlan("p", "s", model, model.threshold)


def test_a_child_tries_and_says_how_many() -> None:
    request = ModelRequest("m", str(SHIPPED))
    assert hardware.threads(pipeline(SHIPPED), request, 2) in (1, 2)
    assert hardware.threads(pipeline(SHIPPED), request, 1) == 1


@pytest.mark.parametrize(
    ("gain", "noise", "found"),
    [(1.12, 0.02, {1}), (1.6, 0.04, {2}), (1.0, 0.0, {1})],
)
def test_within_the_noise_it_is_the_smaller_number(gain: float, noise: float, found: set[int]) -> None:
    """Twenty starts on a board whose measurements vary by so much have one answer."""
    random = np.random.default_rng(1)

    def measure(count: int) -> float:
        return (0.02 if count == 1 else 0.02 / gain) * random.uniform(1 - noise, 1 + noise)

    assert {search(measure, 2) for _ in range(20)} == found


def test_a_tiny_model_has_one(assets: Path) -> None:
    assert quickest(pipeline(assets / "models" / "vww_96_int8.tflite"), 8) == 1


def test_a_model_that_is_gone_is_told(tmp_path: Path) -> None:
    plan = pipeline(Path(shutil.copytree(SHIPPED, tmp_path / "faces")))
    shutil.rmtree(tmp_path / "faces")
    with pytest.raises(ModelError, match="cannot be read: No such file or directory"):
        hardware.threads(plan, ModelRequest("m", str(tmp_path / "faces")), 2)


LIMITED = """
import os, sys, threading
from edge_infer.contract.codec import decode_json
from edge_infer.plan.records import PipelinePlan
from edge_infer.models.trials.child_main import limit
from edge_infer.models.trials.tune_threads import quickest
plan = decode_json(PipelinePlan, sys.stdin.buffer.read())
quickest(plan, 1)  # imports all there is, from where the other user may not look
os.setgroups([])
os.setgid(65534)
os.setuid(65534)
limit(os.stat(plan.model.path).st_size, 30.0, 2)
print(quickest(plan, 2) in (1, 2))
"""


@pytest.mark.skipif(os.geteuid() != 0, reason="only root may become another user")
def test_the_threads_may_be_started_by_who_is_not_root() -> None:
    done = subprocess.run(
        [sys.executable, "-B", "-c", LIMITED],
        input=dumps(pipeline(SHIPPED)),
        capture_output=True,
        check=False,
        timeout=60,
    )
    assert done.stdout == b"True\n", done.stderr.decode()
