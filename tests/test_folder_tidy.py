"""Foreign entries of a folder are removed: nothing outside it, whatever others rename meanwhile, and never for long."""

from __future__ import annotations

import logging
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from edge_infer.models.packages.blob_store import collect
from edge_infer.platform.folder_tidy import MAX_NAMES, MAX_STEPS, tidy_folder
from edge_infer.supervisor.statedir import tidy_publisher, tidy_trials

ROOT = Path(__file__).resolve().parents[1]
MOST = 100
"""Removals in one call."""
CALLS = {"os.scandir", "os.remove", "os.rmdir", "os.rename", "open", "os.chmod"}
"""Audit events of the calls that look up or change an entry."""
RACE = """
import os, shutil, sys
from pathlib import Path
from edge_infer.models.packages.blob_store import collect

home, kind = Path(sys.argv[1]), sys.argv[2]
CHAIN = "home/project/state/trials/slow/deeper"
home.mkdir()
state = home / "project/state"
blobs, trials = state / "blobs", state / "trials"

for name in (".ssh/id", "photos/a.jpg", "project/config.yaml", "project/state/serving.json", "project/state/lock"):
    (home / name).parent.mkdir(parents=True, exist_ok=True)
    (home / name).write_text("kept")

def build():
    for folder in (blobs, trials):
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir()
    (blobs / "X" / CHAIN).mkdir(parents=True)
    (blobs / "X/f").touch()
    (blobs / "X" / CHAIN / "f").touch()

def outside():
    return sorted((str(path), path.stat().st_mode) for path in home.rglob("*")
                  if blobs not in path.parents and trials not in path.parents and path not in (blobs, trials))

def attack(number):
    # What a process may do that may write below blobs and trials, to each folder that is there at this moment.
    folders = [path for path in sorted(blobs.rglob("*")) if path.is_dir() and not path.is_symlink()]
    if not folders:
        return
    folder = folders[number % len(folders)]
    moved = trials / folder.name  # the name that the walk expects there
    if kind == "inwards":
        other = folders[-1 - number % len(folders)]
        if folder not in (other, *other.parents) and not (other / "in").exists():
            folder.rename(other / "in")
        return
    folder.rename(moved)
    if kind == "link":
        folder.symlink_to(home)
    elif kind == "other":
        (folder / "state").mkdir(parents=True)
        (folder / "state" / "f").touch()

armed, count, at, which = False, 0, 0, 0
def hook(event, args):
    global armed, count
    if armed and event in CALLS:
        count += 1
        if count == at:
            armed = False
            attack(which)
            armed = True
sys.addaudithook(hook)

at = which = most = 0
while at <= most:
    for which in range(7):
        build()
        before, count, armed = outside(), 0, True
        while collect(blobs, []):
            pass
        armed, most = False, max(most, count)
        assert outside() == before, (at, which, sorted(set(before) - set(outside())))
    at += 1
print(most)
"""


@pytest.mark.parametrize("kind", ["out", "link", "other", "inwards"])
def test_nothing_outside_goes_whatever_is_renamed_before_any_of_its_calls(kind: str, tmp_path: Path) -> None:
    """One folder is moved at each moment, out of the store and back to where a walk upwards meets the user's files."""
    command = [sys.executable, "-c", f"CALLS = {CALLS!r}\n{RACE}", str(tmp_path / "user"), kind]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stderr
    assert int(done.stdout) > 30, "calls at which a folder was moved"


def rest(folder: Path) -> int:
    return sum(len(folders) + len(files) for _, folders, files in os.walk(folder))


def open_files() -> int:
    return sum(1 for _ in Path("/proc/self/fd").iterdir())


def count_calls(code: str, folder: Path) -> int:
    """The number of calls on files that this code makes in a fresh process."""
    script = f"""
import os, sys
from pathlib import Path
from edge_infer.platform.folder_tidy import tidy_folder
folder, calls = Path(sys.argv[1]), 0
def hook(event, args):
    global calls
    calls += event in {CALLS!r}
sys.addaudithook(hook)
{code}
print(calls)
"""
    command = [sys.executable, "-c", script, str(folder)]
    return int(subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=300, check=True).stdout)


@pytest.mark.parametrize("inside", ["", "f"])
def test_many_folders_side_by_side_take_a_bounded_part_of_them_each_time(tmp_path: Path, inside: str) -> None:
    for number in range(3 * MOST):
        path = tmp_path / "x" / str(number)
        path.mkdir(parents=True)
        if inside:
            (path / inside).touch()
    calls = count_calls(f"assert tidy_folder(folder, (), most={MOST}, seconds=60)", tmp_path)
    assert MOST <= calls <= 8 * MOST
    assert rest(tmp_path) >= MOST
    assert not (tmp_path / "x").exists(), "its name is free at once"
    before, calls = open_files(), 1
    while tidy_folder(tmp_path, (), most=MOST, seconds=60):
        calls += 1
    assert list(tmp_path.iterdir()) == []
    assert calls <= (10 if inside else 4)
    assert open_files() == before


def test_the_calls_grow_with_the_entries_and_not_faster(tmp_path: Path) -> None:
    calls = []
    for many in (100, 400):
        for number in range(many):
            (tmp_path / "x" / str(number)).mkdir(parents=True)
            (tmp_path / "x" / str(number) / "f").touch()
        calls.append(count_calls("tidy_folder(folder, (), seconds=60)", tmp_path))
        assert list(tmp_path.iterdir()) == []
    assert calls[1] < 4.5 * calls[0]


def test_a_folder_of_any_depth_is_removed_with_few_open_files(tmp_path: Path) -> None:
    here = Path.cwd()
    try:
        os.chdir(tmp_path)
        for _ in range(1000):
            Path("file").touch()
            Path("deep").mkdir()
            Path("wide").mkdir()
            os.chdir("deep")
    finally:
        os.chdir(here)
    few = f"import resource; resource.setrlimit(resource.RLIMIT_NOFILE, ({open_files() + 8},) * 2)"
    count_calls(f"{few}\nwhile tidy_folder(folder, ()): pass", tmp_path)
    assert list(tmp_path.iterdir()) == []


@pytest.fixture
def own(tmp_path: Path) -> Iterator[Path]:
    """A folder of an ordinary user, who is this process while the test runs: modes do not bind root."""
    folder = tmp_path / "own"
    folder.mkdir()
    mine = os.geteuid()
    if mine == 0:
        os.chown(folder, 65534, 65534)
        os.seteuid(65534)
    try:
        yield folder
    finally:
        os.seteuid(mine)


def build_closed(folder: Path, mode: int) -> None:
    """Three folders in one another, each with a file and a folder that has content, and all closed."""
    paths = [folder, folder / "a", folder / "a" / "b"]
    for path in paths:
        path.mkdir()
        (path / "f").touch()
        (path / "full").mkdir()
        (path / "full" / "f").touch()
    for path in reversed(paths):
        (path / "full").chmod(mode)
        path.chmod(mode)


@pytest.mark.parametrize("mode", [0o300, 0, 0o500, 0o400, 0o100])
def test_closed_folders_go_too(own: Path, mode: int) -> None:
    for name in ("0", f"{'a' * 64}.tflite", "z"):
        build_closed(own / name, mode)
    kept = own / f"{'b' * 64}.tflite"
    kept.touch()
    while collect(own, [str(own / f"{'a' * 64}.tflite"), str(kept)]):
        pass
    assert list(own.iterdir()) == [kept]


def test_closed_folders_in_place_of_files_of_the_publisher_and_of_trials_go(own: Path) -> None:
    for folder, tidy, kept, names in (
        ("publisher", tidy_publisher, "topics.json", ("outbox.sqlite", "outbox.sqlite-wal", "vocabulary.json")),
        ("trials", tidy_trials, "tried.json", ("equipment.json", "x")),
    ):
        (own / folder).mkdir()
        for name in names:
            build_closed(own / folder / name, 0o300)
        (own / folder / kept).write_text("{}")
        while tidy(own):
            pass
        assert [path.name for path in (own / folder).iterdir()] == [kept]


def test_the_names_that_a_process_needs_are_free_at_once(tmp_path: Path) -> None:
    for number in range(MOST + 10):
        os.mkfifo(tmp_path / f"a{number}")
    (tmp_path / "outbox.sqlite" / "x").mkdir(parents=True)
    (tmp_path / "vocabulary.json").symlink_to("/etc/passwd")
    names = ["outbox.sqlite", "vocabulary.json", "not-there", "a\0", "..", ""]
    assert tidy_folder(tmp_path, names, most=MOST, seconds=60)
    assert not os.path.lexists(tmp_path / "outbox.sqlite")
    assert not os.path.lexists(tmp_path / "vocabulary.json")


def test_no_folder_hides_behind_files(tmp_path: Path) -> None:
    """As many ordinary files as a process likes to make: each call removes some, until only the known ones are left."""
    folder = tmp_path / "publisher"
    (folder / "outbox.sqlite-journal" / "x").mkdir(parents=True)
    for number in range(3 * MAX_STEPS):
        os.close(os.open(folder / f"z{number}", os.O_CREAT, 0o600))
    for name in ("outbox.sqlite", "topics.json"):
        (folder / name).touch()
    assert tidy_publisher(tmp_path)
    assert not (folder / "outbox.sqlite-journal").exists(), "its name is free at once"
    while tidy_publisher(tmp_path):
        pass
    assert sorted(path.name for path in folder.iterdir()) == ["outbox.sqlite", "topics.json"]


@pytest.mark.skipif(os.geteuid() != 0, reason="only root may make an entry that its owner cannot remove")
def test_a_call_that_removes_nothing_asks_for_no_other(tmp_path: Path) -> None:
    for number in range(3):
        (tmp_path / str(number)).mkdir()
        subprocess.run(["mount", "-t", "tmpfs", "none", tmp_path / str(number)], check=True)
    try:
        assert not tidy_folder(tmp_path, (), most=2, seconds=60)
    finally:
        for number in range(3):
            subprocess.run(["umount", tmp_path / str(number)], check=True)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root may make an entry that its owner cannot remove")
def test_an_entry_that_cannot_be_removed_keeps_no_other(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    for name in ("a", "m", "z"):
        (tmp_path / name / "below").mkdir(parents=True)
        (tmp_path / name / "f").touch()
    subprocess.run(["mount", "-t", "tmpfs", "none", tmp_path / "m" / "below"], check=True)
    try:
        (tmp_path / "m" / "below" / "precious").touch()
        assert not tidy_folder(tmp_path, (), seconds=60), "a second call would not help"
        (left,) = tmp_path.iterdir()
        assert [path.name for path in left.rglob("*")] == ["below", "precious"], "a mount belongs to the operator"
        assert f"{tmp_path}: cannot remove 1 entry: below (Device or resource busy)" in caplog.messages
    finally:
        subprocess.run(["umount", left / "below"], check=True)
    tidy_folder(tmp_path, ())
    assert list(tmp_path.iterdir()) == []


def test_a_link_in_place_of_the_folder_is_not_followed(tmp_path: Path) -> None:
    (tmp_path / "victim" / "folder").mkdir(parents=True)
    (tmp_path / "link").symlink_to(tmp_path / "victim")
    assert not tidy_folder(tmp_path / "link", ())
    assert not tidy_folder(tmp_path / "nowhere", ())
    assert (tmp_path / "victim" / "folder").is_dir()


def test_the_log_counts_entries_and_their_names_forge_no_line(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    (tmp_path / "a\n03:33:33 ERROR   supervisor: the camera was stolen\r\x1b[31m\u202e").touch()
    os.close(os.open(os.fsencode(tmp_path) + b"/\xff", os.O_CREAT))
    collect(tmp_path, [])
    assert not [line for line in caplog.messages if not line.isprintable()]
    caplog.clear()
    for number in range(300):
        (tmp_path / f"{number}{'x' * 200}").touch()
    assert not tidy_folder(tmp_path, (), seconds=60)
    (line,) = caplog.messages
    assert line.startswith(f"{tmp_path}: removed 300 entries: ")
    assert line.endswith(f" and {300 - MAX_NAMES} more")
    assert len(line) < len(str(tmp_path)) + 550


def test_the_log_says_that_entries_are_left(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    for number in range(MOST + 1):
        os.mkfifo(tmp_path / str(number))
    assert tidy_folder(tmp_path, (), most=MOST, seconds=60)
    assert f"{tmp_path}: more such entries remain; the daemon removes them later" in caplog.messages
    caplog.clear()
    assert not tidy_folder(tmp_path, (), most=MOST, seconds=60)
    (line,) = caplog.messages
    assert line.startswith(f"{tmp_path}: removed 1 entry: ")
