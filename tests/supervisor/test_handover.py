"""A state directory that earlier versions used as root becomes that of the user whom root becomes, and nothing else."""

from __future__ import annotations

import os
import sqlite3
from pathlib import Path

import pytest

from edge_infer.errors import StartError
from edge_infer.sandbox.identity import Identity, chosen_identity
from edge_infer.supervisor.statedir import locked
from edge_infer.supervisor.take_over import hand_over
from tests.broker import Broker
from tests.running import Daemon, config

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="only root can give files away")
USER = Identity(61999, 61998)


def owner(path: Path) -> tuple[int, int]:
    found = path.lstat()
    return found.st_uid, found.st_gid


def test_one_that_is_not_there_is_made_for_the_user(tmp_path: Path) -> None:
    hand_over(tmp_path / "a" / "state", USER)
    assert owner(tmp_path / "a" / "state") == (61999, 61998)
    assert (tmp_path / "a" / "state").stat().st_mode & 0o777 == 0o750
    assert owner(tmp_path / "a") == (0, 0)
    assert (tmp_path / "a").stat().st_mode & 0o777 == 0o755


def test_one_that_a_link_takes_the_place_of_while_it_is_made_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The folder above may belong to somebody who waits for that moment."""
    outside, made = tmp_path / "outside", os.mkdir
    outside.mkdir(0o700)

    def beaten(path: str, *words: int, **options: int) -> None:
        made(path, *words, **options)
        (tmp_path / "a").rmdir()
        (tmp_path / "a").symlink_to(outside)

    monkeypatch.setattr(os, "mkdir", beaten)
    with pytest.raises(StartError, match=r"cannot be made: Not a directory"):
        hand_over(tmp_path / "a" / "state", USER)
    assert owner(outside) == (0, 0)
    assert outside.stat().st_mode & 0o777 == 0o700
    assert list(outside.iterdir()) == []


@pytest.mark.parametrize("inside", ["daemon.json", "", "deep/down"])
def test_a_link_of_another_user_leads_nowhere(tmp_path: Path, inside: str) -> None:
    """To a folder of root that looks like one of ours, an empty one, and one that would be made there."""
    home, target = tmp_path / "home", tmp_path / "target"
    home.mkdir()
    target.mkdir(0o700)
    if inside == "daemon.json":
        (target / inside).write_text("")
    (home / "link").symlink_to(target)
    os.chown(home, 1234, 1234)
    os.lchown(home / "link", 1234, 1234)
    place = home / "link" / inside if "/" in inside else home / "link"
    for choose in (lambda: hand_over(place, USER), lambda: chosen_identity(place)):
        with pytest.raises(StartError, match=r"contains the link 'link' to .* name the target itself"):
            choose()
    assert {owner(path) for path in (target, *target.rglob("*"))} == {(0, 0)}
    assert not (target / "deep").exists()


def test_a_link_does_not_choose_whom_root_becomes(tmp_path: Path) -> None:
    third = tmp_path / "third"
    third.mkdir(0o700)
    os.chown(third, 1502, 1502)
    (tmp_path / "link").symlink_to(third)
    found = chosen_identity(tmp_path / "link")
    assert found is not None
    assert found.uid == 1502  # the link is root's, in a folder of root's
    os.lchown(tmp_path / "link", 1234, 1234)
    with pytest.raises(StartError, match="links are not followed"):
        chosen_identity(tmp_path / "link")


def test_the_link_that_systemd_makes_is_followed(tmp_path: Path) -> None:
    (tmp_path / "private").mkdir(0o700)
    (tmp_path / "private" / "edge-infer").mkdir()
    (tmp_path / "edge-infer").symlink_to("private/edge-infer")
    hand_over(tmp_path / "edge-infer", USER)
    assert owner(tmp_path / "private" / "edge-infer") == (61999, 61998)
    hand_over(tmp_path / "edge-infer" / "further" / ".." / "state", USER)
    assert owner(tmp_path / "private" / "edge-infer" / "state") == (61999, 61998)


def test_everything_that_was_roots_is_given(tmp_path: Path) -> None:
    for name in ("publisher/outbox.sqlite", "blobs/abc.tflite", "models/a/1.0.0/a.tflite", "serving.json", "lock"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text("")
    hand_over(tmp_path, USER)
    assert {owner(path) for path in (tmp_path, *tmp_path.rglob("*"))} == {(61999, 61998)}


def test_nothing_outside_is_given(tmp_path: Path) -> None:
    state, outside = tmp_path / "state", tmp_path / "outside"
    (state / "models").mkdir(parents=True)
    outside.mkdir()
    (outside / "file").write_text("")
    (outside / "linked").write_text("")
    (state / "models" / "folder").symlink_to(outside)
    (state / "models" / "file").symlink_to(outside / "file")
    os.link(outside / "linked", state / "models" / "hard")
    (state / "models" / "mine").write_text("")
    os.chown(state / "models" / "mine", 1234, 1234)
    hand_over(state, USER)
    assert {owner(path) for path in (outside, outside / "file", outside / "linked")} == {(0, 0)}
    assert owner(state / "models" / "mine") == (1234, 1234)
    assert owner(state) == (61999, 61998)


def test_one_of_another_user_stays_as_it_is(tmp_path: Path) -> None:
    os.chown(tmp_path, 1234, 1234)
    (tmp_path / "file").write_text("")
    hand_over(tmp_path, USER)
    assert (owner(tmp_path), owner(tmp_path / "file")) == ((1234, 1234), (0, 0))


def test_a_folder_with_other_things_is_refused(tmp_path: Path) -> None:
    (tmp_path / "lock").write_text("")
    (tmp_path / "letters").mkdir()
    with pytest.raises(StartError, match=r"contains other files, such as 'letters'; name a folder of its own"):
        hand_over(tmp_path, USER)
    assert {owner(path) for path in (tmp_path, *tmp_path.iterdir())} == {(0, 0)}


def test_a_folder_of_the_system_is_refused() -> None:
    with pytest.raises(StartError, match="the state directory /usr/local is a system folder; set another one"):
        hand_over(Path("/usr/local"), USER)
    assert owner(Path("/usr/local"))[0] == 0


def test_a_folder_that_others_may_replace_is_refused(tmp_path: Path) -> None:
    (tmp_path / "home" / "state").mkdir(parents=True)
    os.chown(tmp_path / "home", 1234, 1234)
    with pytest.raises(StartError, match=rf"other users may replace it in {tmp_path}/home; .*chown -R 61999:61998"):
        hand_over(tmp_path / "home" / "state", USER)
    assert owner(tmp_path / "home" / "state") == (0, 0)


def test_one_in_use_is_refused(tmp_path: Path) -> None:
    with locked(tmp_path), pytest.raises(StartError, match=rf"another edge-infer \(pid {os.getpid()}\) uses"):
        hand_over(tmp_path, USER)
    assert owner(tmp_path) == (0, 0)


def test_a_daemon_goes_on_where_one_of_root_has_stopped(tmp_path: Path, broker: Broker) -> None:
    with Daemon(tmp_path, config(broker.port)) as daemon:
        daemon.wait_serving()
        before = daemon.command("models", "history").stdout.splitlines()
    state = tmp_path / "state"
    assert owner(state)[0] != 0
    for path in (state, *state.rglob("*")):  # as if an earlier version had run as root
        os.chown(path, 0, 0, follow_symlinks=False)
    with Daemon(tmp_path, config(broker.port)) as daemon:
        daemon.wait_serving()
        assert daemon.command("models", "history").stdout.splitlines()[: len(before)] == before
    assert before
    owners = {owner(path)[0] for path in (state, *state.rglob("*"))}
    assert len(owners) == 1
    assert owners != {0}
    with sqlite3.connect(state / "publisher" / "outbox.sqlite") as database:
        assert database.execute("pragma integrity_check").fetchone() == ("ok",)
