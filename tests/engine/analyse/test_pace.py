"""How much of the time between two frames counts."""

from __future__ import annotations

import pytest

from edge_infer.frames.timing import FrameInterval


def paced(*moments: float) -> FrameInterval:
    pace = FrameInterval()
    for moment in moments:
        pace.frame(moment)
    return pace


def test_between_usual_frames_all_of_it_counts() -> None:
    pace = paced(0.0, 0.2, 0.4, 0.6)
    assert (pace.ahead, pace.gap) == (pytest.approx(0.2), False)
    assert pace.step == pytest.approx(0.2)


def test_of_a_pause_hardly_more_is_time_in_which_somebody_was_missed() -> None:
    pace = paced(0.0, 0.2, 0.4, 0.6, 1.4)
    assert (pace.ahead, pace.gap) == (pytest.approx(0.8), True)
    assert pace.step == pytest.approx(1.5 * (0.2 + 0.1 * 0.6))


def test_a_pause_is_one_though_nobody_looks_ahead_for_all_of_it() -> None:
    assert paced(0.0, 0.35, 0.7, 1.05, 1.4, 2.6).gap
    assert not paced(0.0, 5.0, 10.0).gap


def test_further_than_a_second_nobody_looks_ahead() -> None:
    assert paced(0.0, 5.0).ahead == 1.0
    assert paced(7.0).step == 0.0
