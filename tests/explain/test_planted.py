"""Planted truth: the evidence lies where a model written by hand looks, in numbers and in words."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from edge_infer.engine.model.loaded_model import LoadedModel
from edge_infer.errors import InputError
from edge_infer.explain.answers import Wanted, sampling_plan
from edge_infer.explain.explanation import Explainer, Order
from edge_infer.models.request import ModelRequest
from edge_infer.models.resolve.resolve import resolve
from tests.explain.planted import SIDE, Patch, noise, planted_detector


@contextmanager
def explainer(
    file: Path, seed: int = 0, wanted: Wanted | None = None, threshold: float | None = None
) -> Iterator[Explainer]:
    """One for a model beside its manifest."""
    plan = resolve(ModelRequest("planted", str(file)))
    order = Order(plan.threshold if threshold is None else threshold, wanted or Wanted(), seed, 2000)
    with LoadedModel(sampling_plan(plan, plan.threshold)) as model:
        yield Explainer(model, plan, order, lambda done, most: None)


def patches() -> list[Patch]:
    dice = np.random.default_rng(4)
    found = []
    for _ in range(20):
        width, height = dice.integers(14, 40, 2).tolist()
        left, top = int(dice.integers(0, SIDE - width)), int(dice.integers(0, SIDE - height))
        found.append((left, top, left + width, top + height))
    return found


@pytest.mark.parametrize("patch", patches(), ids=str)
def test_the_evidence_for_a_box_lies_in_the_patch_that_the_model_looks_at(tmp_path: Path, patch: Patch) -> None:
    with explainer(planted_detector(tmp_path, patch)) as explain:
        found = explain.picture("noise", noise(sum(patch)))
    assert found.inside is not None
    assert found.inside >= 0.9
    assert found.cut.box == pytest.approx([side / SIDE for side in patch], abs=0.01)
    assert found.text.startswith(
        f"thing {found.answer.score:.2f}: {found.inside:.0%} of the evidence lies inside the box"
    )


@pytest.mark.parametrize(
    ("patch", "where"),
    [
        ((0, 24, 9, 48), "on the left border"),
        ((40, 88, 56, 96), "on the bottom border"),
        ((70, 40, 84, 56), "right of the box"),
        ((40, 14, 56, 30), "above the box"),
    ],
)
def test_evidence_beside_the_box_is_told_with_its_place(tmp_path: Path, patch: Patch, where: str) -> None:
    with explainer(planted_detector(tmp_path, patch, box=(36, 36, 60, 60))) as explain:
        found = explain.picture("noise", noise(1))
    assert found.inside is not None
    assert found.inside <= 0.1
    assert found.places[0][0] == where
    assert found.places[0][1] >= 0.8


def test_the_same_seed_gives_the_same_numbers_and_another_one_nearly(tmp_path: Path) -> None:
    file = planted_detector(tmp_path, (24, 30, 50, 60))
    maps: list[NDArray[np.float64]] = []
    for seed in (1, 1, 2):
        with explainer(file, seed) as explain:
            maps.append(explain.picture("noise", noise(1)).sampled.evidence)
    assert maps[0].tobytes() == maps[1].tobytes()
    assert maps[0].tobytes() != maps[2].tobytes()
    assert np.corrcoef(maps[0], maps[2])[0, 1] >= 0.95


def test_a_black_patch_is_explained_with_white_filling(tmp_path: Path) -> None:
    """A model of darkness: nothing changes when what is black already is hidden in black."""
    patch = (24, 24, 48, 48)
    file = planted_detector(tmp_path, patch, gain=-0.9, offset=0.9)
    pixels = np.zeros((SIDE, SIDE, 3), np.uint8)
    with explainer(file) as explain:
        found = explain.picture("dark", pixels)
    assert found.inside is not None
    assert found.inside >= 0.9


def test_an_answer_that_nothing_changes_is_told(tmp_path: Path) -> None:
    with explainer(planted_detector(tmp_path, (24, 24, 48, 48), gain=0.0, offset=0.8)) as explain:
        found = explain.picture("noise", noise(1))
    assert found.sampled.stop == "unchanged"
    assert found.inside is None
    assert found.text == "nothing in the input changes the answer thing 0.80: the model gives it for every mask"


@pytest.mark.parametrize(
    ("threshold", "point", "said"),
    [
        (0.5, (0.1, 0.1), "finds nothing at 0.1,0.1 above its threshold of 0.5, so there is no answer to explain"),
        (
            0.95,
            (0.5, 0.5),
            "above its threshold of 0.95, .*; --threshold admits weaker ones, of which the best is thing 0",
        ),
        (0.95, (0.1, 0.1), "above its threshold of 0.95, so there is no answer to explain$"),
        (0.95, None, "finds nothing above its threshold of 0.95, .* of which the best is thing 0"),
    ],
)
def test_only_weaker_answers_at_the_point_are_offered(
    tmp_path: Path, threshold: float, point: tuple[float, float] | None, said: str
) -> None:
    file = planted_detector(tmp_path, (36, 36, 60, 60))
    with explainer(file, wanted=Wanted(point=point), threshold=threshold) as explain, pytest.raises(InputError) as told:
        explain.picture("noise", noise(1))
    assert re.search(said, str(told.value))
    assert ("; the best object elsewhere is thing 0." in str(told.value)) == (threshold == 0.5)
    assert "--threshold" not in str(told.value) or point != (0.1, 0.1)


@pytest.mark.parametrize(("agreement", "doubt"), [(0.49, "the evidence is not reliable yet; "), (0.5, "")])
def test_evidence_is_not_reliable_if_the_halves_of_the_masks_disagree(
    tmp_path: Path, agreement: float, doubt: str
) -> None:
    with explainer(planted_detector(tmp_path, (36, 36, 60, 60))) as explain:
        found = explain.picture("noise", noise(1))
    sampled = dataclasses.replace(found.sampled, agreement=agreement, stop="budget")
    text = dataclasses.replace(found, sampled=sampled, inside=0.8, places=()).text
    assert text.startswith(f"thing {found.answer.score:.2f}: {doubt}80% of the evidence lies inside the box (all masks")
    assert text.endswith(f"their halves agree to {agreement:.2f}; --masks allows more)")
