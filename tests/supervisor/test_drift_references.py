"""References of drift on the disk: small, checked, written rarely, and gone with their pipelines."""

from __future__ import annotations

import logging
from pathlib import Path

import pytest

from edge_infer.ipc.drift import CameraReference, DriftReference, OutcomeReference
from edge_infer.supervisor.drift_references import FOLDER, WRITE_EVERY, DriftReferences

DOOR = DriftReference("door", CameraReference("basis", frames=7))


@pytest.fixture
def store(tmp_path: Path) -> DriftReferences:
    """An open store, at a time that the test sets."""
    found = DriftReferences(lambda: 0.0)
    found.open(tmp_path)
    return found


def test_a_reference_outlives_the_daemon(store: DriftReferences, tmp_path: Path) -> None:
    store.keep(DOOR, ["door"])
    again = DriftReferences()
    again.open(tmp_path)
    assert list(again.read(["door", "yard"])) == [DOOR]
    assert (tmp_path / FOLDER / "door.json").stat().st_mode & 0o777 == 0o640


def test_the_card_is_written_at_intervals_whatever_the_engine_sends(tmp_path: Path) -> None:
    now = [0.0]
    store = DriftReferences(lambda: now[0])
    store.open(tmp_path)
    file = tmp_path / FOLDER / "door.json"
    store.keep(DOOR, ["door"])
    before = file.read_bytes()
    newer = DriftReference("door", CameraReference("basis", frames=8))
    for _ in range(1000):
        store.keep(newer, ["door"])
    assert file.read_bytes() == before
    assert list(store.read(["door"])) == [newer], "an engine that starts meanwhile gets the newest"
    now[0] = WRITE_EVERY
    store.look()
    assert file.read_bytes() != before
    store.keep(DOOR, ["door"])
    store.close()
    assert list(DriftReferences().read(["door"])) == []
    again = DriftReferences()
    again.open(tmp_path)
    assert list(again.read(["door"])) == [DOOR], "what waits is written at the end"


@pytest.mark.parametrize("content", [b"", b"{", b'{"pipeline":"yard"}', b'{"pipeline":"door","x":1}', b"9" * 5000])
def test_a_damaged_file_is_learned_anew(
    store: DriftReferences, tmp_path: Path, content: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / FOLDER).mkdir()
    (tmp_path / FOLDER / "door.json").write_bytes(content)
    with caplog.at_level(logging.WARNING):
        assert list(store.read(["door"])) == []
    assert "again" in caplog.text


def test_a_link_is_not_followed(store: DriftReferences, tmp_path: Path) -> None:
    (tmp_path / FOLDER).mkdir()
    secret = tmp_path / "secret"
    secret.write_bytes(b"{}")
    (tmp_path / FOLDER / "door.json").symlink_to(secret)
    assert list(store.read(["door"])) == []
    store.keep(DOOR, ["door"])
    assert secret.read_bytes() == b"{}"
    assert not (tmp_path / FOLDER / "door.json").is_symlink()


def test_a_pipeline_that_is_not_configured_keeps_nothing(store: DriftReferences, tmp_path: Path) -> None:
    store.keep(DOOR, ["yard"])
    assert not (tmp_path / FOLDER).exists()


def test_one_that_is_too_large_is_not_kept(
    store: DriftReferences, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    names = [f"{number:x<250}" for number in range(12)]
    camera = CameraReference("basis", extremes=dict.fromkeys(names, (1, 1.0, 1.0)))
    large = DriftReference("door", camera, OutcomeReference("basis", signals=dict.fromkeys(names, "A" * 140)))
    with caplog.at_level(logging.WARNING):
        store.keep(large, ["door"])
    assert "so the daemon does not store it" in caplog.text
    assert not (tmp_path / FOLDER).exists()


def test_a_full_disk_is_told_once_and_tried_again(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    now = [0.0]
    store = DriftReferences(lambda: now[0])
    store.open(tmp_path / "missing" / "state")
    with caplog.at_level(logging.WARNING):
        store.keep(DOOR, ["door"])
        now[0] = WRITE_EVERY
        store.look()
    assert caplog.text.count("a restart loses what the engine has learned since the last write") == 1
    (tmp_path / "missing" / "state").mkdir(parents=True)
    now[0] = 2 * WRITE_EVERY
    store.look()
    assert (tmp_path / "missing" / "state" / FOLDER / "door.json").exists()


def test_files_of_other_pipelines_are_removed(store: DriftReferences, tmp_path: Path) -> None:
    store.keep(DOOR, ["door"])
    store.tidy(["yard"])
    assert not (tmp_path / FOLDER / "door.json").exists()
    assert list(store.read(["door"])) == []


def test_what_a_person_asked_for_is_written_at_once(store: DriftReferences, tmp_path: Path) -> None:
    store.keep(DOOR, ["door"])
    store.write_soon("door")
    store.keep(DriftReference("door"), ["door"])
    again = DriftReferences()
    again.open(tmp_path)
    assert list(again.read(["door"])) == [DriftReference("door")]
