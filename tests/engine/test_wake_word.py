"""The wake word of a public model, said by the voices of a speech synthesizer: heard once, and nothing else is."""

from __future__ import annotations

import shutil
import subprocess
import wave
from pathlib import Path

import numpy as np
import pytest

from edge_infer.engine.model.loaded_model import LoadedModel
from edge_infer.engine.tasks.classification import ClassificationFindings
from edge_infer.frames.frame import Samples, Signal
from edge_infer.models.request import ModelRequest
from edge_infer.models.resolve.resolve import resolve
from edge_infer.plan.records import ModelPlan, PipelinePlan
from tests.engine.sounds import WAKE_WORD, put

VOICES = ("slt", "rms", "awb", "kal16")
RATE = 16_000


@pytest.fixture(scope="module")
def model(assets: Path, tmp_path_factory: pytest.TempPathFactory) -> ModelPlan:
    return resolve(ModelRequest("alexa", str(put(assets, tmp_path_factory.mktemp("model"), WAKE_WORD))))


def said(folder: Path, voice: str, text: str) -> Signal:
    """The words between two silences of half a second."""
    if shutil.which("flite") is None:
        pytest.skip("no flite here, which says the wake word: apt-get install flite")
    path = folder / "said.wav"
    subprocess.run(["flite", "-voice", voice, "-t", text, "-o", str(path)], check=True, timeout=60)
    with wave.open(str(path)) as file:
        assert (file.getframerate(), file.getnchannels()) == (RATE, 1)
        values = np.frombuffer(file.readframes(-1), "<i2").astype(np.float32) / np.float32(32768)
    quiet = np.zeros(RATE // 2, np.float32)
    return np.concatenate((quiet, values, quiet))[:, np.newaxis]


def scores(plan: ModelPlan, values: Signal) -> list[float]:
    """Of the word, every 30 ms."""
    with LoadedModel(PipelinePlan("p", "s", plan, 0.0)) as model:
        found = [model.find(frame) for frame in model.frames(Samples(values, RATE, 0.0, 0.0, 1, gap=True))]
    return [
        item.score
        for each in found
        if isinstance(each, ClassificationFindings)
        for item in each.classes
        if item.label == "alexa"
    ]


@pytest.mark.parametrize("voice", VOICES)
def test_the_word_is_heard_where_it_is_said(model: ModelPlan, tmp_path: Path, voice: str) -> None:
    found = scores(model, said(tmp_path, voice, "Alexa, what time is it?"))
    assert max(found) > 0.9
    first = next(position for position, score in enumerate(found) if score > 0.5)
    assert 0.5 < first * 0.03 < 2.0  # seconds: not before it was said, and soon after
    assert max(scores(model, said(tmp_path, voice, "Computer, what time is it?"))) < 0.1
