"""Every family of models: what carried the answer is found in pictures, sound, samples and text."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edge_infer.engine.model.loaded_model import LoadedModel
from edge_infer.engine.tasks.classification import ClassificationFindings
from edge_infer.explain.answers import Wanted, sampling_plan
from edge_infer.explain.explanation import Explainer, Explanation, Order
from edge_infer.explain.heat import drawn
from edge_infer.frames.frame import Line
from edge_infer.models.request import ModelRequest
from edge_infer.models.resolve.resolve import resolve
from tests.engine.sounds import EVENTS, KEYWORDS, MACHINE, WAKE_WORD, normal_machine, put
from tests.explain.planted import RATE, planted_listener, planted_mover, tone
from tests.explain.sentences import SENTENCES


@contextmanager
def opened(
    file: Path, budget: int, threshold: float | None = None, labels: Path | None = None, **wanted: Any
) -> Iterator[Explainer]:
    """An explainer of a model."""
    request = ModelRequest(file.stem, str(file), threshold=threshold, labels_file=str(labels) if labels else None)
    plan = resolve(request)
    with LoadedModel(sampling_plan(plan, plan.threshold)) as model:
        yield Explainer(model, plan, Order(plan.threshold, Wanted(**wanted), 0, budget), lambda *_: None)


def explained(file: Path, given: Path, budget: int = 300, **options: Any) -> Explanation:
    with opened(file, budget, **options) as explainer:
        (found,) = explainer.file(str(given))
    picture = drawn([found])
    assert picture.dtype == np.uint8
    assert picture.ndim == 3
    return found


@pytest.mark.parametrize(
    ("model", "picture", "label", "inside"),
    [
        ("st_ssd_mobilenet_v1_025_192_int8.tflite", "bus.jpg", None, 0.5),
        ("movenet_single_pose_lightning_ptq.tflite", "squat.bmp", None, 0.5),
        ("deeplabv3_mnv2_dm05_pascal_quant.tflite", "segmentation_input_rotation0.jpg", "15", 0.5),
        ("openmv_fomo_face_detection.tflite", "astronaut.png", None, 0.3),
    ],
)
def test_answers_with_a_place(assets: Path, model: str, picture: str, label: str | None, inside: float) -> None:
    found = explained(assets / "models" / model, assets / "images" / picture, label=label)
    assert found.inside is not None
    assert found.inside >= inside
    assert label is None or found.answer.label == label


def test_a_class_of_the_whole_picture(assets: Path) -> None:
    model = assets / "models" / "mobilenet_v1_0.25_128_quant.tflite"
    labels = assets / "labels" / "imagenet_labels.txt"
    found = explained(model, assets / "images" / "fox.jpeg", 1200, labels=labels)
    assert (found.answer.label, found.inside, found.cut.box) == ("red fox, Vulpes vulpes", None, None)
    assert found.places[0][0].startswith("in the ")
    assert "of the evidence lies in the " in found.text


@pytest.mark.parametrize("begin", [0.05, 0.42, 0.63, 0.88])
def test_a_tone_in_noise_is_marked_within_a_tenth_of_a_second(tmp_path: Path, begin: float) -> None:
    sound = np.random.default_rng(1).normal(0, 0.05, RATE).astype(np.float32) + 0.5 * tone(begin)
    np.save(tmp_path / "sound.npy", sound)
    found = explained(planted_listener(tmp_path, begin), tmp_path / "sound.npy", 1500)
    assert found.answer.label == "tone"
    grid = found.cut.grid(found.sampled.evidence)
    positive = np.maximum(grid["values"], 0)
    times, bands = grid["seconds"], grid["hertz"]
    cells = (times[1:] > begin - 0.1) & (times[:-1] < begin + 0.2)
    assert positive[cells].sum() >= 0.95 * positive.sum()
    band = int(np.searchsorted(bands, 1500.0)) - 1
    assert positive[:, band].sum() >= 0.8 * positive.sum()
    assert found.places[0][0].startswith("at ")


def test_samples_are_marked_by_time_and_axis(tmp_path: Path) -> None:
    rows = np.random.default_rng(1).normal(0, 0.1, (24, 3))
    rows[8:12, 1] += 1.0
    np.save(tmp_path / "rows.npy", rows)
    found = explained(planted_mover(tmp_path, slice(8, 12), 1), tmp_path / "rows.npy", 1500)
    assert found.answer.label == "move"
    assert next(place for place, _ in found.places if "axis" in place) == "in axis 1"
    times = [place[0] for place in found.places if "s" in place[0].split()]
    assert times
    assert all(0.7 <= float(time.split()[1]) <= 1.2 for time in times)


@pytest.mark.parametrize(
    ("name", "sound", "threshold", "label"),
    [
        (KEYWORDS, "yes_1000ms.wav", 0.5, "Yes"),
        (EVENTS, "speech.wav", 0.3, "Speech"),
        (WAKE_WORD, "speech.wav", 0.0, "nothing"),
    ],
)
def test_public_models_of_sound(
    assets: Path, tmp_path: Path, *, name: str, sound: str, threshold: float, label: str
) -> None:
    found = explained(put(assets, tmp_path, name), assets / "audio" / sound, 400, threshold=threshold)
    assert found.answer.label == label
    assert found.sampled.stop in ("agreed", "budget")
    assert {"seconds", "values"} < set(found.cut.grid(found.sampled.evidence))


def test_a_machine_that_differs(assets: Path, tmp_path: Path) -> None:
    """Noise in one stretch of a recording of a sound machine is what makes it differ."""
    recording = normal_machine(assets)
    recording[100:103] += 40.0
    np.save(tmp_path / "machine.npy", recording)
    found = explained(put(assets, tmp_path, MACHINE), tmp_path / "machine.npy", 1500, threshold=0.0)
    assert found.answer.label == "anomaly"
    assert found.places


def test_the_deciding_word_is_first(assets: Path, tmp_path: Path) -> None:
    """It is the word without which alone the answer falls most."""
    text = tmp_path / "sentences.txt"
    text.write_text("\n".join(SENTENCES))
    right = 0
    with opened(assets / "models" / "nl_classifier_with_regex_tokenizer.tflite", 600, 0.0) as explainer:
        for found, sentence in zip(explainer.file(str(text)), SENTENCES, strict=True):
            words = sentence.split()
            without = [" ".join(words[:place] + words[place + 1 :]) for place in range(len(words))]
            scores = [score_of(explainer.model, each, found.answer.label) for each in without]
            deciding = int(np.argmin(scores))
            right += found.cut.grid(found.sampled.evidence)["words"][deciding] in found.places[0][0]
    assert right >= 18


def score_of(model: LoadedModel, text: str, label: str) -> float:
    found = model.find(Line(text, 0.0, 0.0, 1))
    assert isinstance(found, ClassificationFindings)
    return next(item.score for item in found.classes if item.label == label)
