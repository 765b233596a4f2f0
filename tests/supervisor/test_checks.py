"""``edge-infer check`` beside a daemon: it says what the daemon would say, and changes nothing."""

from __future__ import annotations

import argparse
import json
import os
import shutil
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import psutil
import pytest

from edge_infer.cli import check as check_command
from edge_infer.cli import doctor
from edge_infer.errors import EdgeInferError, StartError
from edge_infer.plan.records import Problem
from edge_infer.supervisor.control import checks
from edge_infer.supervisor.control.server import ask
from edge_infer.supervisor.reload.compilation import moved
from edge_infer.supervisor.statedir import locked
from tests.broker import Broker, eventually
from tests.program import open_to_all
from tests.running import MODEL, ROOT, Daemon, config


def check(path: Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "edge_infer", "check", "-c", str(path)]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=120, check=False)


@pytest.fixture
def daemon(tmp_path: Path) -> Iterator[Daemon]:
    shutil.copy(MODEL, tmp_path / "model.tflite")
    with Broker(tmp_path) as broker:
        text = config(broker.port).replace(str(MODEL), "model.tflite, labels: [face]")
        with Daemon(tmp_path, text) as found:
            found.wait_serving(60.0)
            yield found


def test_it_says_what_the_daemon_may_read_and_not_what_root_may(daemon: Daemon) -> None:
    """Both a model and the file itself, as somebody leaves them who writes them with a careful umask."""
    done = check(daemon.config)
    assert (done.returncode, done.stdout) == (0, "")
    assert done.stderr == f"{daemon.config}: valid, for the running daemon (1 source, 1 model, 1 pipeline)\n"
    if os.geteuid() != 0:
        pytest.skip("only root may read more than the daemon")
    for name, told in (
        ("model.tflite", f":4: models.faces.file: {daemon.folder}/model.tflite cannot be read by user "),
        ("config.yaml", ":1: cannot be read by user "),
    ):
        path = daemon.folder / name
        path.chmod(0o600)
        done = check(daemon.config)
        assert done.returncode == 2, done.stderr
        assert f"{daemon.config}{told}" in done.stdout
        path.chmod(0o644)


USER, DAEMON, ASKS = 65534, 61779, 61778


@pytest.mark.skipif(os.geteuid() != 0 or not open_to_all(sys.executable), reason="root and an open Python are needed")
def test_a_draft_of_a_member_of_the_group_is_refused_and_not_judged() -> None:
    """The member's permissions are others than those of the service, so a verdict by them may be wrong."""
    with tempfile.TemporaryDirectory() as name, Broker(Path(name)) as broker:
        folder = Path(name)
        shutil.copy(MODEL, folder / "model.tflite")
        (folder / "state").mkdir(mode=0o755)
        os.chown(folder / "state", DAEMON, ASKS)  # whom root becomes
        text = config(broker.port, "{kind: synthetic, size: 64x48}").replace(str(MODEL), "model.tflite, labels: [face]")
        with Daemon(folder, text) as daemon:
            daemon.wait_serving(60.0)
            folder.chmod(0o777)
            mine = folder / "mine.yaml"
            mine.write_text(text)
            for owner, group in ((DAEMON, ASKS), (USER, USER)):  # a model for the service alone, then for the user
                os.chown(folder / "model.tflite", owner, group)
                (folder / "model.tflite").chmod(0o600)
                done = as_member(daemon.config, "check", "--draft", str(mine))
                told = "only root and the daemon's user may check a draft; run the command with sudo\n"
                assert (done.returncode, done.stdout, done.stderr) == (1, "", f"edge-infer: {told}")
            editor = f'{sys.executable} -c \'import sys; open(sys.argv[1], "a").write("# more")\''
            done = as_member(daemon.config, "edit", EDITOR=editor)
            assert done.returncode == 1
            copy = Path(done.stderr.strip().rpartition("your text is in ")[2])
            assert copy.read_text() == text + "# more"
            assert daemon.config.read_text() == text


def as_member(path: Path, *words: str, **variables: str) -> subprocess.CompletedProcess[str]:
    """The command of a user who may ask the daemon, and is neither root nor the daemon's user."""
    kept = {
        key: value for key, value in os.environ.items() if key not in ("SUDO_EDITOR", "VISUAL", "RUNTIME_DIRECTORY")
    }
    return subprocess.run(
        [sys.executable, "-m", "edge_infer", *words, "-c", str(path)],
        cwd=path.parent, env=kept | variables, capture_output=True, text=True, timeout=120, check=False,
        stdin=subprocess.DEVNULL, user=USER, group=USER, extra_groups=[ASKS],
    )  # fmt: skip


def test_it_changes_nothing(daemon: Daemon) -> None:
    before = {path: path.stat().st_mtime_ns for path in (daemon.folder / "state").rglob("*.json")}
    done = check(daemon.config)
    assert done.returncode == 0
    assert {path: path.stat().st_mtime_ns for path in (daemon.folder / "state").rglob("*.json")} == before
    assert daemon.status()["config"]["state"] == "applied"
    assert daemon.log.read_text().count(" applied\n") == 1


def test_another_state_directory_is_refused_by_a_check_as_by_a_reload(daemon: Daemon) -> None:
    text = daemon.config.read_text()
    daemon.config.write_text(
        "# another disk\n\n" + text.replace("state_dir: state", f"state_dir: {daemon.folder}/other")
    )
    told = f"{daemon.config}:3: device.state_dir: cannot change while the daemon runs; restart it instead"
    asked = {"do": "check", "config": str(daemon.config), "program": sys.prefix}
    checked = ask(daemon.folder / "state/control.sock", asked)
    assert (checked["problems"], checked["counts"]) == ([told], None)
    assert daemon.reload()["errors"] == [told]
    elsewhere = daemon.config.read_text().replace("models:\n", "models:\n  more: {use: face-detect@9.0.0}\n")
    assert "use: face-detect" in elsewhere
    daemon.config.write_text(elsewhere)  # the other directory has no packages, which a reload does not look for
    assert ask(daemon.folder / "state/control.sock", asked)["problems"] == [told]
    assert daemon.reload()["errors"] == [told]
    daemon.config.write_text(text)


def test_a_service_that_systemd_gave_a_directory_is_told_to_mount_another_one_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("STATE_DIRECTORY", str(tmp_path))
    monkeypatch.delenv("INVOCATION_ID", raising=False)
    assert str(moved(tmp_path / "c.yaml", str(tmp_path), "/mnt/disk")).endswith("restart it instead")
    monkeypatch.setenv("INVOCATION_ID", "0" * 32)
    problem = str(moved(tmp_path / "c.yaml", str(tmp_path), "/mnt/disk"))
    assert f"systemd lets this service write only to {tmp_path}: name that one, and mount /mnt/disk there" in problem
    for before, now in ((str(tmp_path), str(tmp_path / "own")), ("/mnt/one", "/mnt/two")):
        assert str(moved(tmp_path / "c.yaml", before, now)).endswith("restart it instead")
    with pytest.raises(StartError, match="mount /proc/1/nowhere there"), locked(Path("/proc/1/nowhere")):
        pass


def killing_the_reader(daemon: Daemon, command: str) -> subprocess.CompletedProcess[str]:
    """The outcome of a command while the kernel kills the process that reads the configuration for it."""
    words = [sys.executable, "-m", "edge_infer", command, "-c", str(daemon.config)]
    with subprocess.Popen(words, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        while process.poll() is None:
            for child in psutil.Process(daemon.pid).children():
                with suppress(psutil.Error):
                    if "edge_infer.config" in child.cmdline():
                        child.kill()
            time.sleep(0.01)
        out, err = process.communicate()
    return subprocess.CompletedProcess(words, process.returncode, out, err)


def test_the_death_of_the_process_that_reads_the_file_says_nothing_of_the_file(daemon: Daemon) -> None:
    for command in ("check", "reload"):
        done = killing_the_reader(daemon, command)
        assert (done.returncode, done.stdout) == (1, ""), done.stderr
        assert f"{daemon.config}: it could not be read now: the process that reads it was killed by" in done.stderr
        assert "MemoryMax=" in done.stderr
    eventually(lambda: daemon.status()["config"]["state"] == "applied", "another reading", 60)
    assert f"reading {daemon.config} again in 5 s" in daemon.log.read_text()


def test_doctor_says_of_a_file_that_could_not_be_read_now_what_the_daemon_says(daemon: Daemon) -> None:
    done = killing_the_reader(daemon, "doctor")
    (line,) = (line for line in done.stdout.splitlines() if " configuration: " in line)
    assert line.startswith(f"warn  configuration: {daemon.config}: it could not be read now: the process that reads it")
    assert line.endswith("; try again in a moment"), line
    assert "MemoryMax=" in line
    assert "ok    broker: connected to " in done.stdout, "the daemon's own line"
    assert " daemon: runs for " in done.stdout


def test_doctor_says_that_the_daemon_checks_for_another_client(tmp_path: Path) -> None:
    busy = {"busy": "the daemon is checking the configuration for another client; try again in a moment"}
    found = doctor._configuration(tmp_path / "config.yaml", busy)
    assert str(found) == (
        "warn  configuration: not checked: the daemon is checking the configuration for another client; "
        "try again in a moment"
    )


def test_another_file_and_another_program_are_not_the_daemons_to_check(daemon: Daemon, tmp_path: Path) -> None:
    other = tmp_path / "other.yaml"
    other.write_text(daemon.config.read_text().replace("10", "5"))
    control = daemon.folder / "state/control.sock"
    asked = {"do": "check", "config": str(other), "program": sys.prefix}
    assert ask(control, asked) == {"error": f"this daemon runs {daemon.config}"}
    asked = {"do": "check", "config": str(daemon.config), "program": "/opt/edge-infer/versions/next"}
    assert ask(control, asked) == {"error": f"this daemon runs the program in {sys.prefix}"}
    done = check(other)
    assert done.returncode == 0
    assert "for the running daemon" not in done.stderr
    told = (
        f"this daemon runs {daemon.config}, so the check ran as root: the service may not have access to all of "
        "these files"
    )
    assert (told in done.stderr) == (os.geteuid() == 0)
    assert "no daemon runs" not in done.stderr


def test_one_is_checked_at_a_time(daemon: Daemon) -> None:
    control = daemon.folder / "state/control.sock"
    asked = {"do": "check", "config": str(daemon.config), "program": sys.prefix}
    answers: list[dict[str, object]] = []
    with socket.socket(socket.AF_UNIX) as first:
        first.connect(str(control))
        first.sendall(json.dumps(asked).encode() + b"\n")
        daemon.status()  # whoever asks later is heard later
        thread = threading.Thread(target=lambda: answers.append(ask(control, asked)))
        thread.start()
        thread.join(60)
        assert json.loads(first.makefile().readline())["problems"] == []
    assert "for another client" in str(answers[0]["busy"])


def test_the_command_waits_while_the_daemon_checks_for_another_client(daemon: Daemon) -> None:
    with socket.socket(socket.AF_UNIX) as first:
        first.connect(str(daemon.folder / "state/control.sock"))
        asked = {"do": "check", "config": str(daemon.config), "program": sys.prefix}
        first.sendall(json.dumps(asked).encode() + b"\n")
        daemon.status()
        done = check(daemon.config)
        assert json.loads(first.makefile().readline())["problems"] == []
    assert done.returncode == 0, done.stderr
    assert "valid, for the running daemon" in done.stderr


def test_a_daemon_that_checks_for_others_all_the_time_is_not_replaced_by_another_check(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "config.yaml"
    path.write_text(config(1883).replace("state_dir: state", f"state_dir: {tmp_path}"))
    monkeypatch.setattr(check_command, "PATIENCE", 0.0)
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(tmp_path / "control.sock"))
        listener.listen()

        def answer() -> None:
            connection, _ = listener.accept()
            with connection:
                connection.recv(4096)
                connection.sendall(b'{"busy": "the daemon is checking for another client"}\n')

        thread = threading.Thread(target=answer)
        thread.start()
        with pytest.raises(EdgeInferError, match="checking for another client"):
            check_command.run(argparse.Namespace(config=path, draft=None, part=None, own_process=False))
        thread.join(10)


def test_without_a_daemon_root_is_told_that_it_sees_more(tmp_path: Path) -> None:
    path = tmp_path / "config.yaml"
    path.write_text(config(1883))
    done = check(path)
    assert done.returncode == 0
    told = "no daemon uses this file, so the check ran as root: the service may not have access to all of these files"
    assert (told in done.stderr) == (os.geteuid() == 0)


def test_a_daemon_that_hangs_up_is_told_and_the_file_is_read_without_it(tmp_path: Path) -> None:
    path = tmp_path / "config.yaml"
    path.write_text(config(1883).replace("state_dir: state", f"state_dir: {tmp_path}"))
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(tmp_path / "control.sock"))
        listener.listen()

        def hang_up() -> None:
            connection, _ = listener.accept()
            connection.close()

        thread = threading.Thread(target=hang_up)
        thread.start()
        done = check(path)
        thread.join(10)
    assert done.returncode == 0
    assert f"warning: the daemon on {tmp_path}/control.sock " in done.stderr
    assert "; the check was made without the daemon\n" in done.stderr


def test_what_a_camera_or_a_model_wrote_steers_no_terminal(tmp_path: Path) -> None:
    path = tmp_path / "config.yaml"
    path.write_text(config(1883).replace("faces:", '"\\e[2Jfaces":'))
    done = check(path)
    assert done.returncode == 2
    assert "2Jfaces" in done.stdout
    assert "\x1b" not in done.stdout


def test_problems_without_end_are_counted() -> None:
    many = [Problem("c.yaml", line, "", "wrong") for line in range(300)]
    lines = checks._lines(many)
    assert len(lines) == 201
    assert lines[-1] == "… and 100 more"
    assert checks._lines(many[:200])[-1] == "c.yaml:199: wrong"
