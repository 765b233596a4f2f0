"""One daemon a state directory, and a directory that is found even through a broken configuration."""

from __future__ import annotations

import os
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from edge_infer.errors import StartError
from edge_infer.models.trials import known_results
from edge_infer.platform.paths import default_state_dir, hinted
from edge_infer.publisher import allowed_texts
from edge_infer.publisher.homeassistant import discovery
from edge_infer.publisher.outbox import database, database_worker, saved_account
from edge_infer.publisher.state import open_events, retained
from edge_infer.supervisor.statedir import FORMAT, MOVED, PUBLISHER_FILES, TRIAL_FILES, leave_temporary, locked

HOLD = """
import pathlib, sys
from edge_infer.supervisor.statedir import locked
with locked(pathlib.Path(sys.argv[1])):
    print("held", flush=True)
    sys.stdin.read()
"""


def test_a_second_daemon_is_told_who_the_first_is(tmp_path: Path) -> None:
    command = [sys.executable, "-c", HOLD, str(tmp_path)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as first:
        assert first.stdout is not None
        assert first.stdin is not None
        assert first.stdout.readline() == "held\n"
        with pytest.raises(StartError, match=rf"pid {first.pid}\b.*device\.state_dir"), locked(tmp_path):
            pass
        first.kill()
        first.wait(10)
        with locked(tmp_path):  # a killed daemon leaves nothing behind that would bar the next
            assert (tmp_path / "lock").read_text() == f"{os.getpid()}\n"


def test_the_state_of_a_newer_version_is_refused_and_stays(tmp_path: Path) -> None:
    with locked(tmp_path):
        assert (tmp_path / "format").read_text() == f"{FORMAT}\n"
    (tmp_path / "format").write_text(f"{FORMAT + 1}\n")
    told = rf"newer edge-infer \(format {FORMAT + 1}, this version knows {FORMAT}\).*mv {tmp_path} "
    with pytest.raises(StartError, match=told), locked(tmp_path):
        pass
    assert (tmp_path / "format").read_text() == f"{FORMAT + 1}\n"
    (tmp_path / "format").write_text("0\n")
    with locked(tmp_path):
        assert (tmp_path / "format").read_text() == f"{FORMAT}\n"


def test_a_remedy_runs_nothing_that_the_name_of_a_folder_holds(tmp_path: Path) -> None:
    state = tmp_path / "s$(touch pwned)"
    state.mkdir()
    (state / "format").write_text(f"{FORMAT + 1}\n")
    (state / "lock").touch()
    with pytest.raises(StartError) as error, locked(state):
        pass
    command = str(error.value).partition("only the models: ")[2]
    assert shlex.split(command)[:3] == ["mv", str(state), f"{state}.newer"]


def test_the_remedy_for_a_newer_state_names_the_folder_itself(tmp_path: Path) -> None:
    """That of the service lies behind a link, which systemd makes again."""
    (tmp_path / "private").mkdir()
    (tmp_path / "state").symlink_to(tmp_path / "private")
    (tmp_path / "private" / "format").write_text(f"{FORMAT + 1}\n")
    with (
        pytest.raises(StartError, match=rf"mv {tmp_path}/private {tmp_path}/private\.newer"),
        locked(tmp_path / "state"),
    ):
        pass


@pytest.mark.parametrize("name", ["blobs", "publisher", "trials"])
def test_folders_of_another_program_are_not_taken_over(tmp_path: Path, name: str) -> None:
    (tmp_path / name).mkdir()
    with locked(tmp_path):  # an empty one is nobody's
        pass
    (tmp_path / "lock").unlink()
    (tmp_path / "format").unlink()
    (tmp_path / name / "book").write_text("mine")
    with pytest.raises(StartError, match=f"contains {name}, which another program made"), locked(tmp_path):
        pass
    assert (tmp_path / name / "book").read_text() == "mine"
    assert not (tmp_path / "lock").exists()


def test_only_files_are_moved_from_the_places_of_earlier_versions(tmp_path: Path) -> None:
    """A folder of such a name, in the way of the publisher's file, would end each start."""
    (tmp_path / "topics.json").mkdir()
    (tmp_path / "outbox.sqlite").write_bytes(b"of before")
    (tmp_path / "publisher").mkdir()
    (tmp_path / "publisher" / "topics.json").write_text("{}")
    with locked(tmp_path):
        pass
    assert (tmp_path / "publisher" / "topics.json").read_text() == "{}"
    assert (tmp_path / "publisher" / "outbox.sqlite").read_bytes() == b"of before"


def test_the_files_that_stay_are_those_that_the_processes_make() -> None:
    records = [Path(each.FILE) for each in (allowed_texts, discovery, open_events, retained)]
    data = [f"{database.FILE}{ending}" for ending in ("", "-wal", "-shm", "-journal", database_worker.ASIDE)]
    assert {
        *map(str, records),
        *(str(path.with_suffix(".new")) for path in records),
        *data,
        *database_worker.SPACE_FILES,
        saved_account.FILE,
    } == PUBLISHER_FILES
    assert set(MOVED) <= PUBLISHER_FILES
    assert set(TRIAL_FILES) == {known_results.TRIED_FILE, known_results.KNOWN_FILE}


def test_a_directory_that_cannot_be_made_names_the_remedy(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(StartError, match=r"file/state.*device\.state_dir"), locked(tmp_path / "file" / "state"):
        pass


@pytest.mark.parametrize("name", ["", "blobs", "publisher", "trials"])
@pytest.mark.parametrize("link", [False, True])
def test_what_is_in_the_place_of_a_folder_is_named_with_the_remedy(tmp_path: Path, name: str, *, link: bool) -> None:
    state = tmp_path / "state"
    with locked(state):
        pass
    place = state / name
    place.rename(tmp_path / "away")
    if link:
        place.symlink_to("nowhere")
    else:
        place.touch()
    with pytest.raises(StartError) as error, locked(state):
        pass
    remedy = f"remove it: sudo rm {place}" if name else "name one under device.state_dir"
    assert str(error.value) == f"the state directory {state} cannot be used: {place} is not a folder; {remedy}"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("device:\n  state_dir: /srv/state\n", "/srv/state"),
        ("device: {id: gate-3, state_dir: '/srv/my state'}\n", "/srv/my state"),
        ('device:\n  state_dir: "state"  # here\nmqtt: [broken\n', "<config>/state"),
        ("device:\n  # state_dir: /no\n  id: a\n", "<default>"),
        ("\0\1\2", "<default>"),
    ],
)
def test_the_directory_is_found_in_good_and_broken_files(tmp_path: Path, text: str, expected: str) -> None:
    config = tmp_path / "config.yaml"
    config.write_text(text)
    places = {"<config>/state": tmp_path / "state", "<default>": default_state_dir()}
    assert hinted(config) == places.get(expected, Path(expected))


@pytest.mark.parametrize(
    "text",
    [
        "\n",
        " ",
        "\t\n",
        " \n",
        "\r\n",
        "\v",
        "device:\n",
        "device:{",
        "device: {state_dir:#",
        "state_dir:\n",
        "state_dir:#\n",
        "\n  {",
    ],
)
def test_a_long_file_is_searched_in_no_time(tmp_path: Path, text: str) -> None:
    """In a process of its own, because an expression that goes back and forth over the file would hold up the test."""
    config, size = tmp_path / "config.yaml", 65536
    config.write_text((text * size)[: size - 60] + "\nmqtt: {host: broker}\ndevice: {state_dir: /srv/state}")
    program = (
        "import sys, pathlib; from edge_infer.platform.paths import hinted; print(hinted(pathlib.Path(sys.argv[1])))"
    )
    found = subprocess.run([sys.executable, "-c", program, config], check=True, timeout=60, capture_output=True)
    assert found.stdout.strip()


def test_blank_lines_are_no_part_of_the_path(tmp_path: Path) -> None:
    config = tmp_path / "config.yaml"
    config.write_text("\n" * 6_000 + "device:\n\n\n  {id: a, state_dir: /srv/state}\n")
    assert hinted(config) == Path("/srv/state")


def test_without_a_file_the_default_is_meant(tmp_path: Path) -> None:
    assert hinted(tmp_path / "none.yaml") == default_state_dir()
    os.mkfifo(tmp_path / "pipe.yaml")  # whose beginning would be waited for
    assert hinted(tmp_path / "pipe.yaml") == default_state_dir()


@pytest.mark.parametrize(
    ("temporary", "left"), [("state", ""), ("state/blobs", ""), (".", ""), ("link", ""), ("other", "other")]
)
def test_programs_of_sources_get_no_folder_for_temporary_files_that_has_the_state(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, temporary: str, left: str
) -> None:
    for name in ("state/blobs", "other"):
        (tmp_path / name).mkdir(parents=True)
    (tmp_path / "link").symlink_to("state")
    monkeypatch.setenv("TMPDIR", str(tmp_path / temporary))
    leave_temporary(tmp_path / "state")
    assert os.environ.get("TMPDIR", "") == (str(tmp_path / left) if left else "")
    assert ("programs of sources use /tmp" in caplog.text) is not bool(left)
