"""The verdict of ``scripts/faults soak --hours``, and a run of seconds."""

from __future__ import annotations

from pathlib import Path

from tests.faults.long_soak import Course, plot, steady

HOUR = tuple(float(second) for second in range(0, 3600, 10))


def test_what_grows_is_told_from_what_settles() -> None:
    leaks = Course("engine", "MB", HOUR, tuple(100 + second / 1800 for second in HOUR))
    assert round(leaks.growth, 1) == 1.7
    assert not leaks.kept
    assert str(leaks).endswith("BROKEN")
    settles = Course("engine", "MB", HOUR, tuple(100 + min(second / 60, 8) for second in HOUR))
    assert settles.kept, str(settles)
    saw = Course("engine", "files", HOUR, tuple(20.0 + place % 3 for place in range(len(HOUR))))
    assert saw.kept, str(saw)


def test_a_plot_is_low_where_the_values_are() -> None:
    assert plot((1, 1, 5.1, 9), 4) == "▁▁▅█"
    assert plot((3, 3, 3)) == "▁▁▁"


def test_seconds_of_steady_running(tmp_path: Path) -> None:
    courses = steady(tmp_path / "place", 6.0)
    assert {course.room for course in courses} == {
        "supervisor", "engine", "publisher", "reader live", "state directory",
    }  # fmt: skip
    assert {course.unit for course in courses} >= {"MB", "threads", "disk MB"}
    assert all(len(course.values) == len(course.times) >= 3 for course in courses)
