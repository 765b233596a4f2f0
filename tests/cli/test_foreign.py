"""Commands of root on a configuration that another user may change: they act as that user, and write nothing there."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from edge_infer.config.file_edit import save
from edge_infer.errors import ConfigError
from edge_infer.sandbox.foreign import is_foreign
from tests.broker import eventually
from tests.running import MODEL, ROOT

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="only root acts as another user")
OTHER = 61400
TOKEN = "token-of-root-4711"
SENT = (b"token-of-root", b"dTp0b2tlbi1vZi1yb290")
"""The token as it is, and as a camera gets it."""


class Server:
    """Listens where a broker or a camera would, and keeps what it is sent."""

    def __init__(self) -> None:
        self.heard = bytearray()
        self._socket = socket.create_server(("127.0.0.1", 0))
        self.port = self._socket.getsockname()[1]
        threading.Thread(target=self._serve, daemon=True).start()

    def _serve(self) -> None:
        while True:
            try:
                client, _ = self._socket.accept()
            except OSError:
                return
            with client:
                client.settimeout(1.0)
                self._listen(client)

    def _listen(self, client: socket.socket) -> None:
        try:
            data = client.recv(4096)
            if data.startswith(b"GET") and b"uthorization" not in data:
                client.sendall(b'HTTP/1.1 401 x\r\nWWW-Authenticate: Basic realm="x"\r\nContent-Length: 0\r\n\r\n')
        except OSError:
            return
        self.heard += data

    def close(self) -> None:
        self._socket.shutdown(socket.SHUT_RDWR)
        self._socket.close()


@pytest.fixture
def server() -> Iterator[Server]:
    found = Server()
    yield found
    found.close()


@pytest.fixture
def box(tmp_path: Path, server: Server) -> Path:
    """A folder with a configuration that names a file which root alone may read, and a server."""
    secret = tmp_path / "root" / "token"
    secret.parent.mkdir(mode=0o700)
    secret.write_text(f"{TOKEN}\n")
    secret.chmod(0o600)
    folder = tmp_path / "box"
    (folder / "state").mkdir(parents=True)
    os.chown(folder / "state", OTHER, OTHER)
    login = f"username: u, password_file: {secret}"
    (folder / "config.yaml").write_text(
        f"device: {{id: box, state_dir: state}}\nmqtt: {{host: 127.0.0.1, port: {server.port}, {login}}}\n"
        f"sources: {{cam: {{kind: http, url: 'http://127.0.0.1:{server.port}/x', {login}}}}}\n"
    )
    return folder


def run(box: Path, *words: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "edge_infer", *words, "-c", str(box / "config.yaml")]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=180, check=False)


COMMANDS = [
    ("watch", "--seconds", "3"),
    ("watch", "--complete", "--seconds", "3"),
    ("cameras", "--grab", "cam", "-o", "{box}/x.png"),
    ("doctor",),
]


@pytest.mark.parametrize("words", COMMANDS, ids=" ".join)
def test_a_file_of_root_goes_to_a_server_only_where_root_named_both(
    box: Path, server: Server, words: tuple[str, ...]
) -> None:
    words = tuple(word.format(box=box) for word in words)
    run(box, *words)
    assert any(text in server.heard for text in SENT)
    server.heard.clear()
    os.chown(box, OTHER, OTHER)
    done = run(box, *words)
    assert not any(text in server.heard for text in SENT)
    assert "cannot be read" in done.stdout + done.stderr


def test_it_acts_as_who_may_change_the_file_and_not_as_whom_that_user_names(box: Path) -> None:
    os.chown(box / "state", OTHER + 1, OTHER + 1)
    secret = box.parent / "root" / "token"
    secret.parent.chmod(0o711)
    os.chown(secret, OTHER + 1, OTHER + 1)
    assert "0 problems" not in run(box, "check").stdout
    os.chown(box / "config.yaml", OTHER, OTHER)
    done = run(box, "check")
    assert f"cannot be read by user {OTHER}" in done.stdout + done.stderr


@pytest.mark.parametrize("words", [("check",), ("unit",), ("models", "list")], ids=" ".join)
def test_a_service_configuration_that_was_given_away_has_a_remedy(box: Path, words: tuple[str, ...]) -> None:
    """The folder is still of root: somebody has copied the file there, or changed its owner by mistake."""
    remedy = f"give it to root: chown root {box / 'config.yaml'}"
    assert remedy not in run(box, *words).stderr
    os.chown(box / "config.yaml", OTHER, OTHER)
    assert remedy in run(box, *words).stderr
    os.chown(box, OTHER, OTHER)
    assert remedy not in run(box, *words).stderr, "a user's own folder is no mistake"


@pytest.mark.parametrize("place", ["config.yaml", "conf.d"])
@pytest.mark.parametrize(("mode", "changer"), [(0o775, f"group {OTHER + 5}"), (0o777, "every user")])
def test_a_configuration_that_a_group_may_change_has_a_remedy(box: Path, place: str, mode: int, changer: str) -> None:
    """And nobody who is root already gets the advice to use sudo."""
    (box / "conf.d").mkdir()
    hidden = box.parent / "root" / "state"  # as the service's is, in a folder of root
    (box / "state").rename(hidden)
    (box / "state").symlink_to(hidden)
    assert run(box, "models", "list").returncode == 0
    os.chown(box / place, 0, OTHER + 5)
    (box / place).chmod(mode)
    done = run(box, "models", "list")
    assert done.returncode != 0
    warning, error = done.stderr.splitlines()
    assert f"{box / place} may be changed by {changer}, so this command runs as user " in warning
    assert warning.endswith(f"; if that is a mistake, run: sudo chmod go-w {box / place}")
    assert "this command, started by root, runs as " in error
    assert " cannot read " in error
    assert "sudo" not in error


def started(box: Path, *words: str) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "edge_infer", *words, "-c", str(box / "config.yaml")]
    environment = {name: text for name, text in os.environ.items() if name != "RUNTIME_DIRECTORY"}
    return subprocess.Popen(
        command, cwd=ROOT, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )


def lines_until(process: subprocess.Popen[str], text: str) -> str:
    """What it says until this text, or its end."""
    assert process.stdout is not None
    said = ""
    while text not in said and (line := process.stdout.readline()):
        said += line
    return said


def users(process: int) -> dict[int, int]:
    """The user of a process and of its children, by pid."""
    found = [process, *map(int, Path(f"/proc/{process}/task/{process}/children").read_text().split())]
    return {pid: Path(f"/proc/{pid}").stat().st_uid for pid in found}


@pytest.fixture
def theirs(box: Path) -> Path:
    """A box of `OTHER` with a program, whose state directory is that of a third user."""
    program = box / "program"
    program.write_text(f"#!/bin/sh\nid -u >>{box}/ran\nexec sleep 100\n")
    program.chmod(0o755)
    (box / "config.yaml").write_text(
        f"device: {{id: box, state_dir: state}}\nmqtt: {{host: 127.0.0.1, port: 9}}\nmodels: {{f: {{file: {MODEL}}}}}\n"
        f"sources: {{cam: {{kind: exec, command: [{program}], size: 64x64, format: rgb24}}}}\n"
        "pipelines: {f: {source: cam, model: f, fps: 1}}\n"
    )
    for each in (box, program, box / "config.yaml"):
        os.chown(each, OTHER, OTHER)
    os.chown(box / "state", OTHER + 1, OTHER + 1)
    return box


def test_a_daemon_of_root_is_not_whom_another_user_names(theirs: Path) -> None:
    with started(theirs, "run") as daemon:
        said = lines_until(daemon, "reader cam")
        daemon.terminate()
        assert daemon.wait(30) == 3, said
    assert f"belongs to user {OTHER + 1}" in said
    assert not (theirs / "ran").exists()
    os.chown(theirs / "state", OTHER, OTHER)
    with started(theirs, "run") as daemon:
        said = lines_until(daemon, f"running as user {OTHER} ")
        eventually((theirs / "ran").exists, "a program that runs", 60.0)
        daemon.terminate()
        daemon.wait(30)
    assert set((theirs / "ran").read_text().split()) == {str(OTHER)}


@pytest.mark.parametrize("words", [("run",), ("models", "add", str(MODEL.parent))], ids=" ".join)
def test_root_makes_no_folder_for_another_user_where_that_may_not(box: Path, words: tuple[str, ...]) -> None:
    config, place = box / "config.yaml", box.parent / "root" / "new"
    config.write_text(config.read_text().replace("state_dir: state", f"state_dir: {place}"))
    os.chown(config, OTHER, OTHER)
    assert run(box, *words).returncode != 0
    assert not place.exists()
    os.chown(config, 0, 0)
    config.chmod(0o666)  # users of whom none owns a part of the path
    done = run(box, *words)
    assert (done.returncode, "other users than root may change" in done.stderr) == (3, True), done.stderr
    assert not place.exists()


def test_root_reads_and_fills_no_store_that_another_user_names(theirs: Path) -> None:
    (theirs / "state").chmod(0o700)
    assert f"belongs to user {OTHER + 1}" in run(theirs, "models", "add", str(MODEL.parent)).stderr
    assert list((theirs / "state").iterdir()) == []
    shutil.copytree(MODEL.parent, theirs / "state" / "models" / "secret" / "1.0.0")
    assert "secret" not in run(theirs, "models", "list").stdout
    os.chown(theirs / "config.yaml", 0, 0)
    os.chown(theirs, 0, 0)
    assert "secret" in run(theirs, "models", "list").stdout


def test_the_page_of_another_users_configuration_is_that_users(theirs: Path) -> None:
    with started(theirs, "page", "--port", "0") as page:
        assert "Ctrl-C ends the page" in lines_until(page, "Ctrl-C")
        found = users(page.pid)
        page.send_signal(signal.SIGINT)
        page.wait(30)
    assert (len(found), set(found.values())) == (2, {OTHER})


def test_the_environment_of_root_is_not_there_for_it(box: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KEY_OF_ROOT", "key-4711")
    (box / "config.yaml").write_text(
        "device: {id: box, state_dir: state}\nmqtt: {host: h, username: '${KEY_OF_ROOT}'}\n"
    )
    assert "KEY_OF_ROOT" not in run(box, "check").stdout
    os.chown(box, OTHER, OTHER)
    assert "KEY_OF_ROOT" in run(box, "check").stdout


def test_a_configuration_is_roots_own_where_nobody_else_may_write(tmp_path: Path) -> None:
    config, part = tmp_path / "config.yaml", tmp_path / "conf.d" / "yard.yaml"
    part.parent.mkdir()
    for each in (config, part):
        each.touch()
    assert not is_foreign(config)
    os.chown(config, 0, OTHER)  # as an installation leaves it
    config.chmod(0o640)
    assert not is_foreign(config)
    for mode in (0o660, 0o602):
        config.chmod(mode)
        assert is_foreign(config)
    config.chmod(0o640)
    os.chown(part, OTHER, OTHER)
    assert is_foreign(config)
    part.unlink()
    assert not is_foreign(config)
    os.chown(part.parent, OTHER, OTHER)  # who may make a part at any moment
    assert is_foreign(config)
    part.parent.rmdir()
    assert not is_foreign(config)
    tmp_path.chmod(0o1777)  # and here the folder of parts
    assert is_foreign(config)
    tmp_path.chmod(0o700)


def test_root_edits_no_file_in_the_folder_of_another_user(tmp_path: Path) -> None:
    file = tmp_path / "box" / "config.yaml"
    file.parent.mkdir()
    file.write_text("before")
    os.chown(file.parent, OTHER, OTHER)
    with pytest.raises(ConfigError, match=f"belongs to the user #{OTHER}, not to root"):
        save(file, b"after", b"before")
    with pytest.raises(ConfigError, match="not to root"):
        save(file.with_name("new.yaml"), b"after", None)
    assert [(each.name, each.read_text()) for each in file.parent.iterdir()] == [("config.yaml", "before")]


@pytest.mark.parametrize("words", [("sign", "{box}", "--print"), ("catalogue", "{box}")], ids=" ".join)
def test_root_signs_and_lists_nothing_there_either(tmp_path: Path, words: tuple[str, ...]) -> None:
    os.chown(tmp_path, OTHER, OTHER)
    command = [sys.executable, "-m", "edge_infer", "models", *(word.format(box=tmp_path) for word in words)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=60, check=False)
    assert (done.returncode, "not to root; edit it as that user" in done.stderr) == (2, True)
    assert list(tmp_path.iterdir()) == []


def test_root_saves_no_picture_over_the_link_of_another_user(box: Path, server: Server) -> None:
    (box / "out").symlink_to(box.parent / "root")
    os.chown(box / "out", OTHER, OTHER, follow_symlinks=False)
    (box / "config.yaml").write_text(
        "device: {id: box, state_dir: state}\nsources: {cam: {kind: synthetic}}\nmqtt: {host: h}\n"
    )
    done = run(box, "cameras", "--grab", "cam", "-o", str(box / "out" / "x.png"))
    assert "whose target another user can choose" in done.stderr
    assert [each.name for each in (box.parent / "root").iterdir()] == ["token"]
    done = run(box, "cameras", "--grab", "cam", "-o", str(box / "x.png"))
    assert done.returncode == 0, done.stderr
    assert (box / "x.png").stat().st_mode & 0o777 == 0o600
