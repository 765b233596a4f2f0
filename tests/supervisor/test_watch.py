"""A configuration is noticed however it was written, once it stands still, and never half of it."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from edge_infer.platform.paths import look
from edge_infer.supervisor.reload.watch import EVERY, GONE, RESTLESS, STILL, ConfigWatcher
from tests.faults.writing import PATTERNS, save, save_half

OLD, NEW = b"old: 1\nmore: 1\n", b"new: 22\nmore: 2\n"


class Clock:
    """Time passes when it is told to."""

    now = 100.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def watched(tmp_path: Path) -> tuple[ConfigWatcher, Clock, Path]:
    path, clock = tmp_path / "config.yaml", Clock()
    path.write_bytes(OLD)
    watch = ConfigWatcher(path, clock)
    watch.reading()
    return watch, clock, path


def changed(watch: ConfigWatcher, clock: Clock, seconds: float) -> bool:
    """Whether the watch says so within this time."""
    end = clock.now + seconds
    while clock.now < end:
        clock.now += EVERY
        if watch.changed():
            return True
    return False


@pytest.mark.parametrize("pattern", PATTERNS)
def test_every_way_of_writing_is_noticed_once(watched: tuple[ConfigWatcher, Clock, Path], pattern: str) -> None:
    watch, clock, path = watched
    for data in (NEW, OLD, NEW):  # a link is made the first time and switched from then on
        save(pattern, path, data)
        assert path.read_bytes() == data
        assert not changed(watch, clock, STILL - EVERY)
        assert changed(watch, clock, 2 * EVERY + STILL)
        watch.reading()
        assert not changed(watch, clock, 3.0)


@pytest.mark.parametrize("pattern", PATTERNS)
def test_a_writer_that_dies_leaves_the_old_file_or_one_that_is_cut_off(
    watched: tuple[ConfigWatcher, Clock, Path], pattern: str
) -> None:
    _, _, path = watched
    save_half(pattern, path, NEW)
    data = path.read_bytes()
    assert data == OLD or not data.endswith(b"\n")


def test_a_file_that_still_grows_is_waited_for(watched: tuple[ConfigWatcher, Clock, Path]) -> None:
    watch, clock, path = watched
    for _ in range(20):
        with path.open("ab") as file:
            file.write(b"x: y\n")
        assert not changed(watch, clock, STILL / 2)
    assert changed(watch, clock, 2 * STILL)


def test_a_file_that_is_gone_is_no_news_and_its_return_is(watched: tuple[ConfigWatcher, Clock, Path]) -> None:
    watch, clock, path = watched
    path.unlink()
    assert not changed(watch, clock, 5.0)
    path.write_bytes(NEW)
    assert changed(watch, clock, 2 * STILL)


def test_new_times_and_rights_are_noticed(watched: tuple[ConfigWatcher, Clock, Path]) -> None:
    watch, clock, path = watched
    subprocess.run(["touch", str(path)], check=True)
    assert changed(watch, clock, 2 * STILL)
    watch.reading()
    path.chmod(0o600)
    assert changed(watch, clock, 2 * STILL)


def test_a_file_that_is_never_still_is_told_of_once(watched: tuple[ConfigWatcher, Clock, Path]) -> None:
    watch, clock, path = watched
    begun, told = clock.now, []
    for _ in range(60):
        with path.open("ab") as file:
            file.write(b"x: y\n")
        assert not changed(watch, clock, STILL / 2)
        if watch.unstable():
            told.append(clock.now - begun)
    assert told == [pytest.approx(RESTLESS, abs=2 * STILL)]
    assert changed(watch, clock, 2 * STILL)
    watch.reading()
    assert not watch.moved(look(path))
    path.write_bytes(NEW)
    assert not changed(watch, clock, STILL / 2)
    assert not watch.unstable()


def test_a_part_that_comes_and_goes_is_no_change_without_end(watched: tuple[ConfigWatcher, Clock, Path]) -> None:
    watch, clock, path = watched
    (path.parent / "conf.d").mkdir()
    watch.reading()
    part = path.parent / "conf.d" / "yard.yaml"
    part.write_text("models: {}\n")
    assert not changed(watch, clock, STILL / 2)
    part.unlink()
    assert not changed(watch, clock, 2 * RESTLESS)
    assert not watch.unstable()


def test_what_changes_while_it_is_read_is_not_what_was_read(watched: tuple[ConfigWatcher, Clock, Path]) -> None:
    watch, clock, path = watched
    save("truncate", path, NEW)
    assert changed(watch, clock, 2 * STILL)
    watch.reading()
    stood = look(path)
    save_half("truncate", path, OLD)
    assert not watch.moved(stood), "what was read stood still, whatever came later"
    assert changed(watch, clock, 2 * STILL)
    watch.reading()
    save("truncate", path, OLD)
    assert watch.moved(look(path)), "another one was read than the one that stood still"
    assert not changed(watch, clock, STILL / 2)
    watch.reading()  # somebody asks for it, and it has not stood still yet
    stood = look(path)
    save("truncate", path, NEW)
    assert watch.moved(stood)
    path.unlink()
    watch.reading()
    assert not watch.moved(())


def test_a_file_that_changes_during_every_reading_is_told_of_once(watched: tuple[ConfigWatcher, Clock, Path]) -> None:
    watch, clock, path = watched
    told = []
    for number in range(6):
        path.write_bytes(NEW + b"#\n" * number)
        assert changed(watch, clock, 2 * STILL)
        watch.reading()
        path.write_bytes(OLD + b"#\n" * number)
        assert watch.moved(look(path))
        told.append(watch.unstable())
    assert told == [False, False, True, False, False, False]


def test_a_file_that_stays_away_is_told_once_and_again_when_it_goes_again(
    watched: tuple[ConfigWatcher, Clock, Path],
) -> None:
    watch, clock, path = watched

    def told(seconds: float) -> int:
        end, count = clock.now + seconds, 0
        while clock.now < end:
            clock.now += EVERY
            assert not watch.changed()
            count += watch.gone()
        return count

    assert told(10.0) == 0
    for _ in range(2):
        path.unlink()
        assert told(GONE - EVERY) == 0
        assert told(60.0) == 1
        path.write_bytes(NEW)
        assert changed(watch, clock, 2 * EVERY + STILL)
        watch.reading()
        assert told(10.0) == 0


def test_a_file_that_is_replaced_has_not_gone(watched: tuple[ConfigWatcher, Clock, Path]) -> None:
    watch, clock, path = watched
    path.unlink()
    assert not changed(watch, clock, GONE - STILL)
    path.write_bytes(NEW)
    assert changed(watch, clock, 2 * EVERY + STILL)
    assert not watch.gone()
