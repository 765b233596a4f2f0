"""``edge-infer edit``: a copy in an editor, checked, asked about, applied; never a broken file on the disk."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from argparse import Namespace
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from edge_infer.cli import edit
from edge_infer.cli.edit import differences
from edge_infer.errors import ConfigError
from edge_infer.sandbox.foreign import changer, foreign_part
from tests.broker import Broker, eventually
from tests.running import PYTHON, Daemon, config

EDITOR = """\
import os, sys
from pathlib import Path
rounds = Path({rounds!r})
steps = {steps!r}
count = len(rounds.read_text()) if rounds.exists() else 0
rounds.write_text("x" * (count + 1))
path = Path(sys.argv[-1])
old, new = steps[min(count, len(steps) - 1)]
text = path.read_text()
assert old in text, text
path.write_text(text.replace(old, new))
"""
"""An editor that replaces a text by another one, each time it is started the next."""


class Editing:
    """Runs the command on a configuration, with an editor that does ``steps`` and a person who answers ``answers``."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.config = folder / "config.yaml"
        self._temporary = folder / "tmp"
        self._temporary.mkdir()

    def __call__(self, *steps: tuple[str, str], answers: str = "", words: tuple[str, ...] = ()) -> Any:
        rounds = self.folder / "rounds"
        rounds.unlink(missing_ok=True)
        script = self.folder / "editor.py"
        script.write_text(EDITOR.format(rounds=str(rounds), steps=list(steps)))
        return self.run({"EDITOR": f"'{PYTHON}' '{script}' --flag"}, answers, words)

    def run(self, environment: Mapping[str, str], answers: str = "", words: tuple[str, ...] = ()) -> Any:
        names = ("SUDO_EDITOR", "VISUAL", "EDITOR", "RUNTIME_DIRECTORY")
        kept = {key: value for key, value in os.environ.items() if key not in names}
        return subprocess.run(
            [sys.executable, "-m", "edge_infer", "edit", *words, "-c", str(self.config)],
            input=answers, capture_output=True, text=True, timeout=180, check=False, cwd=self.folder,
            env={**kept, "TMPDIR": str(self._temporary), **environment},
        )  # fmt: skip

    def left(self) -> list[Path]:
        """What is left of the copies. They lie beside the file: sources may write to the folder of temporary files."""
        assert not list(self._temporary.iterdir())
        return [path for path in self.folder.glob(".edge-infer-edit-*/*") if path.is_file()]


@pytest.fixture
def editing(tmp_path: Path) -> Editing:
    found = Editing(tmp_path)
    found.config.write_text(config(1))
    return found


@pytest.fixture
def running(editing: Editing, tmp_path: Path) -> Iterator[tuple[Editing, Daemon]]:
    with Broker(tmp_path) as broker, Daemon(tmp_path, config(broker.port)) as daemon:
        daemon.wait_serving(60.0)
        yield editing, daemon


def test_a_mistake_is_shown_and_mended_before_it_counts(running: tuple[Editing, Daemon]) -> None:
    editing, daemon = running
    before = daemon.config.read_text()
    editing.config.chmod(0o640 if os.geteuid() else 0o644)
    done = editing(("fps: 10", "fsp: 5"), ("fsp: 5", "fps: 5"), answers="what\ne\n")
    line = before.splitlines().index(next(each for each in before.splitlines() if "fps: 10" in each)) + 1
    assert f'{daemon.config}:{line}: pipelines.faces.fsp: is not known here; did you mean "fps"?' in done.stdout
    assert done.stderr.count("edit again (e) or discard (d)?") == 2
    assert done.returncode == 0, done.stderr
    digest = daemon.status()["config"]["digest"]
    assert f"pipelines.faces.fps: 10 -> 5\napplied {digest[:8]}\nevery pipeline has an outcome\n" in done.stdout
    assert daemon.config.read_text() == before.replace("fps: 10", "fps: 5")
    assert daemon.log.read_text().count("configuration rejected") == 0, "no broken text was ever on the disk"
    assert editing.left() == []


def test_a_part_is_made_checked_by_the_daemon_and_applied(running: tuple[Editing, Daemon]) -> None:
    """The daemon's own permissions count: a password that root alone may read is a problem, as on a reload."""
    editing, daemon = running
    secret = daemon.folder / "secret"
    secret.write_text("word\n")
    secret.chmod(0o600)
    section = "sources:\n  yard: {kind: rtsp, url: 'rtsp://127.0.0.1:9/', password_file: secret}\n"
    part = daemon.folder / "conf.d/yard.yaml"
    done = editing(("folder above.\n", f"folder above.\n{section}"), answers="d\n", words=("yard",))
    if os.geteuid() == 0:
        assert done.returncode == 2
        assert f"{part}:3: sources.yard.password_file: this file cannot be read by user" in done.stdout
        assert not part.exists()
        assert done.stderr.endswith(f"edge-infer: discarded; {part} is not made\n")
    section = (
        "sources:\n  yard: {kind: synthetic, size: 64x64, fps: 5}\npipelines:\n  yard: {source: yard, model: faces}\n"
    )
    done = editing(("folder above.\n", f"folder above.\n{section}"), words=("yard",))
    assert done.returncode == 0, done.stderr
    assert "sources.yard: added\npipelines.yard: added\napplied " in done.stdout
    assert (part.stat().st_uid, part.stat().st_mode) == (daemon.config.stat().st_uid, daemon.config.stat().st_mode)
    eventually(lambda: "yard" in daemon.status()["pipelines"], "the new pipeline", 60.0)


def test_a_draft_is_for_root_and_the_daemons_own_user(running: tuple[Editing, Daemon], tmp_path: Path) -> None:
    """It makes the service open any file that it names, so members of the group may not send one."""
    _, daemon = running
    draft = tmp_path / "draft.yaml"
    draft.write_text(daemon.config.read_text().replace("fps: 10", "fsp: 10"))
    done = daemon.command("check", "--draft", str(draft))
    assert done.returncode == 2
    assert f"{daemon.config}:" in done.stdout
    assert "pipelines.faces.fsp" in done.stdout
    draft.write_text(daemon.config.read_text())
    assert "valid, for the running daemon" in daemon.command("check", "--draft", str(draft)).stderr
    assert daemon.command("check", "--part", "yard").returncode == 2


def test_discarding_changes_nothing(editing: Editing) -> None:
    before = editing.config.read_text()
    for answers in ("d\n", ""):
        done = editing(("fps: 10", "fps: ten"), answers=answers)
        assert done.returncode == 2
        assert done.stderr.endswith(f"edge-infer: discarded; {editing.config} is unchanged\n")
        assert editing.config.read_text() == before
        assert editing.left() == []


@pytest.mark.skipif(os.geteuid() != 0, reason="only root may mount a small file system")
@pytest.mark.parametrize("room", ["nr_inodes=2", "size=8k"])
def test_a_full_disk_is_told_with_its_folder(tmp_path: Path, room: str) -> None:
    """There is no place for another folder, or for the bytes of the copy."""
    editing, full = Editing(tmp_path), tmp_path / "full"
    full.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", room, "none", full], check=True)
    try:
        editing.config = full / "config.yaml"
        editing.config.write_text(config(1) + "#" * 4096)
        done = editing.run({"EDITOR": "touch"})
        assert list(full.iterdir()) == [editing.config]
    finally:
        subprocess.run(["umount", full], check=True)
    told = f"{editing.config} cannot be copied to {full}: No space left on device; free space on its disk"
    assert (done.returncode, done.stderr) == (2, f"edge-infer: {told}\n")


@pytest.mark.parametrize(("number", "text"), [(signal.SIGHUP, ""), (signal.SIGTERM, "# more")], ids=str)
def test_a_lost_terminal_leaves_the_own_text_and_nothing_else(editing: Editing, number: int, text: str) -> None:
    script = editing.folder / "slow.sh"
    script.write_text(f"printf '%s' '{text}' >>\"$1\"; kill -{number} $PPID; sleep 1\n")
    done = editing.run({"VISUAL": f"sh {script}"})
    assert done.returncode == 2
    assert f"ended by {signal.Signals(number).name}" in done.stderr
    left = editing.left()
    assert [path.read_text().endswith(text) for path in left] == ([True] if text else [])
    assert bool(left) == bool(list(editing.folder.glob(".edge-infer-edit-*")))
    assert all(str(path) in done.stderr for path in left)


def test_a_terminal_that_is_lost_where_exceptions_are_ignored_ends_it_as_well(
    editing: Editing, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Ignores:
        def __del__(self) -> None:
            signal.raise_signal(signal.SIGHUP)

    monkeypatch.setattr(edit, "_edit", lambda _copy: Ignores() and None)
    monkeypatch.setattr(sys, "unraisablehook", lambda _what: None)
    with pytest.raises(ConfigError, match=r"^ended by SIGHUP$"):
        edit.run(Namespace(config=editing.config, part=None))
    assert editing.left() == []


def test_without_a_daemon_it_is_saved_for_the_next_start(editing: Editing) -> None:
    done = editing(("fps: 10", "fps: 5"))
    assert done.returncode == 0, done.stderr
    assert done.stdout == (
        f"pipelines.faces.fps: 10 -> 5\n{editing.config} is saved; no daemon uses it, so the next start applies it\n"
    )
    assert "fps: 5" in editing.config.read_text()


def test_an_unchanged_copy_is_neither_checked_nor_saved(editing: Editing) -> None:
    editing.config.write_text("nonsense: 1\n")
    found = editing.config.stat().st_mtime_ns
    done = editing(("nonsense", "nonsense"))
    assert (done.returncode, done.stdout) == (0, f"{editing.config} is unchanged\n")
    assert editing.config.stat().st_mtime_ns == found


def test_what_somebody_else_saved_meanwhile_stays_and_so_does_the_own_text(editing: Editing) -> None:
    script = editing.folder / "both.sh"
    script.write_text(f"sed -i 's/fps: 10/fps: 7/' {editing.config}\nsed -i 's/fps: 10/fps: 5/' \"$1\"\n")
    done = editing.run({"VISUAL": f"sh {script}"})
    assert done.returncode == 1
    assert f"another program has just changed {editing.config}; that change is kept; your text is in " in done.stderr
    assert "fps: 7" in editing.config.read_text()
    (copy,) = editing.left()
    assert "fps: 5" in copy.read_text()
    assert str(copy) in done.stderr


@pytest.mark.skipif(os.geteuid() != 0, reason="only root may mount a file system")
def test_root_is_not_told_to_use_sudo_on_a_read_only_disk(editing: Editing) -> None:
    folder = editing.config.parent
    subprocess.run(["mount", "--bind", folder, folder], check=True)
    try:
        subprocess.run(["mount", "-o", "remount,bind,ro", folder], check=True)
        done = editing.run({})
    finally:
        subprocess.run(["umount", folder], check=True)
    assert done.returncode == 2
    assert f"{editing.config} cannot be replaced: {folder} is on a read-only disk; remount it" in done.stderr
    assert "sudo" not in done.stderr


@pytest.mark.parametrize(
    ("environment", "told"),
    [
        (
            {"SUDO_EDITOR": "/nowhere/ed"},
            "the editor /nowhere/ed cannot be started: No such file or directory; set EDITOR",
        ),
        ({"EDITOR": "false"}, "the editor false ended with 1; nothing was changed"),
        ({"PATH": "/nowhere"}, "there is no editor: none of editor, nano, vi is installed; name one with EDITOR"),
    ],
)
def test_an_editor_that_does_not_work_is_named(editing: Editing, environment: dict[str, str], told: str) -> None:
    done = editing.run(environment)
    assert done.returncode == 2
    assert told in done.stderr


def test_a_part_needs_a_name_and_not_a_path(editing: Editing) -> None:
    done = editing(("a", "b"), words=("../config",))
    assert done.returncode == 2
    assert "is not the name of a file in conf.d" in done.stderr


def test_changes_name_entries_and_values() -> None:
    before = {"mqtt": {"host": "a"}, "sources": {"door": {"fps": 5}, "old": {}}, "pipelines": {"p": {"labels": ["a"]}}}
    after = {
        "sources": {"door": {"fps": 5, "rotate": 90}, "yard": {"kind": "rtsp"}},
        "pipelines": {"p": {"labels": []}},
    }
    assert list(differences(before, {**after, "models": {"faces": {"use": "f@1"}}})) == [
        "mqtt: removed",
        "sources.door.rotate: added: 90",
        "sources.old: removed",
        "sources.yard: added",
        "pipelines.p.labels: ['a'] -> []",
        "models.faces: added",
    ]


UID = 60124
"""A user without an account."""


@pytest.mark.skipif(os.geteuid() != 0, reason="only root acts as another user")
@pytest.mark.parametrize("part", [None, "yard"])
def test_root_does_not_edit_in_the_folder_of_another_user(tmp_path: Path, part: str | None) -> None:
    """That user could exchange the copy, or each folder on the way, while root reads and writes it."""
    home, place = tmp_path / "home", tmp_path / "place"
    home.mkdir()
    place.mkdir()
    (home / "conf.d").symlink_to(place)
    (home / "config.yaml").write_text(config(1))
    for each in (home, *home.iterdir()):
        os.chown(each, UID, UID, follow_symlinks=False)
    editing = Editing(tmp_path)
    editing.config = home / "config.yaml"
    done = editing.run({"EDITOR": "touch"}, words=(part,) if part else ())
    assert done.returncode == 2
    assert f"belongs to the user #{UID}, not to root; edit it as that user" in done.stderr
    assert list(place.iterdir()) == []
    assert sorted(each.name for each in home.iterdir()) == ["conf.d", "config.yaml"]


@pytest.mark.skipif(os.geteuid() != 0, reason="only root acts as another user")
def test_who_can_exchange_a_part_of_a_path(tmp_path: Path) -> None:
    folder, link = tmp_path / "folder", tmp_path / "link"
    folder.mkdir()
    file = folder / "config.yaml"
    file.touch()
    link.symlink_to(folder)
    assert changer(link / file.name) is None
    os.chown(link, UID, UID, follow_symlinks=False)
    assert (changer(link / file.name), foreign_part(link / file.name)) == (UID, link)
    link.unlink()
    link.symlink_to(link.name)
    with pytest.raises(ConfigError, match="too many links"):
        changer(link / file.name)
    folder.chmod(0o775)
    with pytest.raises(ConfigError, match="other users than root may change"):
        changer(file)
    folder.chmod(0o777)
    with pytest.raises(ConfigError, match=f"sudo chmod go-w {folder}"):
        changer(file)
    os.chown(folder, UID, UID)
    assert (changer(file), foreign_part(file)) == (UID, folder)
