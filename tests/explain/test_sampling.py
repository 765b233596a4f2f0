"""Contributions of cells from sums: what is planted is found, nothing grows with the number of runs."""

from __future__ import annotations

import tracemalloc
from collections.abc import Callable

import numpy as np
import pytest

from edge_infer.explain.sampling import AGREED, Cells, CellSums, Sampler, Visible, rank_correlation


class Asked:
    """A question whose answer is computed from the visible cells."""

    def __init__(self, cells: int, answer: Callable[[Visible, int], float], fills: int = 1) -> None:
        self.cells, self.fills, self._answer = cells, fills, answer

    def __call__(self, visible: Visible, fill: int) -> float:
        return self._answer(visible, fill)


def weights(cells: int, seed: int = 5) -> Cells:
    """A few cells that matter, for and against."""
    found = np.zeros(cells)
    dice = np.random.default_rng(seed)
    found[dice.choice(cells, cells // 8, replace=False)] = dice.uniform(0.5, 1.0, cells // 8)
    found[dice.integers(cells)] = -0.8
    return found


def silent(done: int, most: int) -> None:
    """No progress."""
    del done, most


def test_contributions_are_found_with_their_sign_and_the_halves_agree() -> None:
    planted = weights(64)
    found = Sampler(Asked(64, lambda seen, _: float(seen @ planted)), 1, 4000, silent).run()
    assert found.stop == "agreed"
    assert found.agreement >= AGREED
    assert np.corrcoef(found.evidence, planted)[0, 1] > 0.99
    assert set(np.flatnonzero(found.evidence)) == set(np.flatnonzero(planted))


def test_the_same_seed_gives_the_same_and_two_seeds_agree() -> None:
    planted, dice = weights(64), np.random.default_rng(3)
    noise = dice.normal(0, 0.2, 100_000)
    draws = iter(noise)
    question = Asked(64, lambda seen, _: float(np.tanh(seen @ planted)) + 0 * next(draws))
    one, again, other = (Sampler(question, seed, 4000, silent).run() for seed in (1, 1, 2))
    assert one.evidence.tobytes() == again.evidence.tobytes()
    assert one.evidence.tobytes() != other.evidence.tobytes()
    assert np.corrcoef(one.evidence, other.evidence)[0, 1] >= 0.95


def test_an_answer_that_survives_only_a_few_hidden_cells_gets_only_a_few() -> None:
    needed = np.arange(64) < 12
    found = Sampler(Asked(64, lambda seen, _: float(seen[needed].all())), 1, 3000, silent).run()
    assert found.share == 0.95
    assert set(np.flatnonzero(found.evidence > 0)) == set(np.flatnonzero(needed))


def test_what_changes_nothing_is_said_after_a_few_runs() -> None:
    runs: list[int] = []
    found = Sampler(Asked(9, lambda seen, fill: runs.append(fill) or 0.7, fills=3), 1, 4000, silent).run()  # type: ignore[func-returns-value]
    assert (found.stop, found.runs, found.evidence.any()) == ("unchanged", 0, False)
    assert set(runs) == {0, 1, 2}
    assert len(runs) < 400


def test_another_filling_serves_when_the_first_changes_nothing() -> None:
    planted = weights(64)
    found = Sampler(Asked(64, lambda seen, fill: float(seen @ planted) * fill, fills=2), 1, 3000, silent).run()
    assert np.corrcoef(found.evidence, planted)[0, 1] > 0.99


def test_noise_alone_is_no_evidence() -> None:
    dice = np.random.default_rng(7)
    found = Sampler(Asked(100, lambda seen, _: float(dice.normal())), 1, 2000, silent).run()
    assert found.stop == "budget"
    assert np.count_nonzero(found.evidence) <= 3


def test_an_interrupt_returns_what_was_found_so_far() -> None:
    planted, runs = weights(64), iter(range(10_000))

    def interrupted(seen: Visible, _: int) -> float:
        if next(runs) == 700:
            raise KeyboardInterrupt
        return float(seen @ planted) + 10 * float(seen[0] ^ seen[1] ^ seen[2])

    found = Sampler(Asked(64, interrupted), 1, 4000, silent).run()
    assert found.stop == "interrupted"
    assert 500 < found.runs <= 700


def test_no_mask_is_kept() -> None:
    def peak(runs: int) -> int:
        dice = np.random.default_rng(1)
        question = Asked(200, lambda seen, _: float(dice.normal()))
        tracemalloc.start()
        try:
            assert Sampler(question, 1, runs, silent).run().runs > runs - 200
            return tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()

    assert peak(6000) < peak(2000) + (64 << 10)


@pytest.mark.parametrize(
    ("one", "other", "expected"),
    [
        ((1, 2, 3), (10, 20, 30), 1.0),
        ((1, 2, 3), (3, 2, 1), -1.0),
        ((1, 2, 2, 3), (1, 2, 3, 4), 0.9486833),  # as scipy.stats.spearmanr
        ((0, 0, 0, 5, 9), (0, 0, 0, 9, 5), 0.875),
        ((1, 1, 1), (1, 2, 3), 0.0),
    ],
)
def test_the_rank_correlation(one: tuple[float, ...], other: tuple[float, ...], expected: float) -> None:
    assert rank_correlation(np.array(one, float), np.array(other, float)) == pytest.approx(expected)


def test_the_weighted_mean_of_masks_is_that_of_rise() -> None:
    dice = np.random.default_rng(2)
    visible, answers = dice.random((50, 7)) < 0.5, dice.random(50)
    sums = CellSums(7)
    for part in range(0, 50, 10):
        sums.add(visible[part : part + 10], answers[part : part + 10])
    expected = (answers @ visible) / visible.sum(axis=0) - answers.mean()
    assert sums.weighted_masks() == pytest.approx(expected)
