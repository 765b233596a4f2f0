"""A change in a folder wakes the process; a file that another process keeps writing does not."""

from __future__ import annotations

import select
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from edge_infer.platform.folder_events import FolderEvents, folders_of


@pytest.fixture
def events(tmp_path: Path) -> Iterator[FolderEvents]:
    found = FolderEvents()
    found.watch([tmp_path])
    yield found
    found.close()


def woken(events: FolderEvents) -> bool:
    return bool(select.select(events.files(), [], [], 0)[0])


def test_it_is_readable_after_a_change_and_until_it_is_asked(tmp_path: Path, events: FolderEvents) -> None:
    path = tmp_path / "config.yaml"
    changes: list[Callable[[], object]] = [
        lambda: path.write_text("a"),
        lambda: path.write_text("b"),
        lambda: path.chmod(0o600),
        lambda: path.rename(tmp_path / "old"),
        (tmp_path / "old").unlink,
        lambda: path.symlink_to("elsewhere"),
    ]
    for change in changes:
        assert not woken(events)
        change()
        assert woken(events)
        assert events.happened()
        assert not events.happened()


def test_a_log_that_grows_in_the_folder_wakes_nobody(tmp_path: Path, events: FolderEvents) -> None:
    with (tmp_path / "log").open("wb", buffering=0) as log:
        assert events.happened()  # it was created
        log.write(b"a line\n")
        assert not woken(events)


def test_a_missing_folder_or_a_closed_one_causes_no_event(tmp_path: Path, events: FolderEvents) -> None:
    events.watch([tmp_path / "nowhere"])
    assert not woken(events)
    events.close()
    events.close()
    events.watch([tmp_path])
    (tmp_path / "file").write_text("")
    assert events.files() == []
    assert not events.happened()


def test_the_folders_of_links_on_the_way_count(tmp_path: Path) -> None:
    real = tmp_path / "versions" / "1"
    real.mkdir(parents=True)
    (real / "config.yaml").write_text("")
    (tmp_path / "etc").mkdir()
    (tmp_path / "etc" / "current").symlink_to(real)
    assert folders_of(tmp_path / "etc" / "current" / "config.yaml") == {
        tmp_path / "etc" / "current",
        tmp_path / "etc",
        real,
    }


def test_links_in_a_circle_end_nobody(tmp_path: Path) -> None:
    (tmp_path / "config.yaml").symlink_to(tmp_path / "config.yaml")
    assert folders_of(tmp_path / "config.yaml") == {tmp_path}
    assert folders_of(Path("/nowhere/\0/config.yaml")) == {Path("/nowhere/\0")}
