"""Which entries of a state directory its owner cannot use."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from edge_infer.platform import state_owner
from edge_infer.platform.state_owner import foreign_entry, service_state

OWNER = 61503

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="only root can give files away")


@pytest.fixture
def state(tmp_path: Path) -> Path:
    for name in ("blobs", "trials", "publisher", "models/m/1"):
        (tmp_path / "state" / name).mkdir(parents=True)
    for name in ("lock", "serving.json", "trials/tried.json", "publisher/outbox.sqlite", "models/m/1/manifest.yaml"):
        (tmp_path / "state" / name).write_text("")
    for path in (tmp_path / "state", *(tmp_path / "state").rglob("*")):
        os.chown(path, OWNER, OWNER)
    return tmp_path / "state"


@pytest.mark.parametrize(
    ("name", "mode", "fatal"),
    [
        ("lock", 0o644, True),
        ("blobs", 0o700, True),
        ("trials", 0o755, False),
        ("trials/tried.json", 0o600, False),
        ("serving.json", 0o600, False),
        ("publisher/outbox.sqlite", 0o644, False),
        ("models/m", 0o700, False),
        ("serving.json", 0o644, None),
        ("trials/tried.json", 0o644, None),
        ("models/m", 0o755, None),
        ("blobs", 0o755, None),
    ],
)
def test_an_entry_of_root(state: Path, name: str, mode: int, fatal: bool | None) -> None:
    os.chown(state / name, 0, 0)
    (state / name).chmod(mode)
    found = foreign_entry(state)
    assert (found and (found.path, found.fatal)) == (None if fatal is None else (state / name, fatal))


def test_what_no_daemon_can_do_without_comes_first(state: Path) -> None:
    for name in ("blobs", "lock", "serving.json"):
        os.chown(state / name, 0, 0)
        (state / name).chmod(0o600)
    found = foreign_entry(state)
    assert found is not None
    assert found.path == state / "blobs"
    os.chown(state / "blobs", OWNER, OWNER)
    found = foreign_entry(state)
    assert found is not None
    assert (found.path, found.fatal) == (state / "lock", True)


def test_what_root_keeps_at_the_top_of_a_disk_is_no_part_of_the_state(state: Path) -> None:
    (state / "lost+found").mkdir(mode=0o700)
    (state / "lost+found" / "#12").mkdir(mode=0o700)
    assert foreign_entry(state) is None
    (state / "publisher" / "lost+found").mkdir(mode=0o700)
    found = foreign_entry(state)
    assert found is not None
    assert found.path == state / "publisher" / "lost+found"


@pytest.mark.parametrize("directory", [False, True])
def test_a_part_of_that_name_that_is_not_roots_folder_counts(state: Path, *, directory: bool) -> None:
    place = state / "lost+found"
    place.mkdir(mode=0o700) if directory else place.touch(0o600)
    os.chown(place, OWNER + 1 if directory else 0, OWNER + 1)
    found = foreign_entry(state)
    assert found is not None
    assert found.path == place


def test_only_a_part_of_the_state_is_looked_at(state: Path) -> None:
    for name in ("serving.json", "publisher/outbox.sqlite"):
        os.chown(state / name, 0, 0)
        (state / name).chmod(0o600)
    for part, path in (("", "serving.json"), ("publisher", "publisher/outbox.sqlite")):
        found = foreign_entry(state, part)
        assert found is not None
        assert found.path == state / path
    assert foreign_entry(state, "models") is None


def test_a_state_that_is_all_roots_or_missing_has_none(state: Path) -> None:
    for path in (state, *state.rglob("*")):
        os.chown(path, 0, 0)
    assert foreign_entry(state) is None
    assert foreign_entry(state / "none") is None


def test_a_daemon_that_uses_the_state_of_another_user_by_its_group_starts(
    state: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    os.chown(state / "lock", OWNER + 1, OWNER)
    (state / "lock").chmod(0o600)
    assert foreign_entry(state) is not None
    monkeypatch.setattr(os, "geteuid", lambda: OWNER + 1)
    assert foreign_entry(state) is None


def test_the_state_of_a_service_is_found_through_its_link(state: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    link = state.parent / "link"
    link.symlink_to(state)
    assert service_state(state / "models/m") is None
    monkeypatch.setenv("STATE_DIRECTORY", str(link))
    assert service_state(link / "models/m") == state
    assert service_state(state.parent / "other") is None


def test_a_folder_with_any_number_of_files_is_read_in_part(state: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for number in range(50):
        (state / "publisher" / str(number)).touch()
        os.chown(state / "publisher" / str(number), OWNER, OWNER)
    read: list[str] = []
    whole = os.scandir

    @contextmanager
    def noted(path: Path) -> Iterator[Iterator[os.DirEntry[str]]]:
        with whole(path) as entries:
            yield (entry for entry in entries if not read.append(entry.name))  # type: ignore[func-returns-value]

    monkeypatch.setattr(os, "scandir", noted)
    monkeypatch.setattr(state_owner, "MAX_ENTRIES", 20)
    assert foreign_entry(state) is None
    assert len(read) == 20
