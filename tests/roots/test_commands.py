"""Every command of root that runs a decoder, model or source of somebody else: none of it is root there."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from tests.broker import Broker, eventually
from tests.roots.attacker import MANIFEST, Attacker, install, is_harmless, reports
from tests.running import CLIP, ROOT, Daemon

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="only root has powers to give up")
PICTURE = ROOT / "models" / "face-detect" / "1.0.0" / "golden" / "astronaut.png"


@pytest.fixture
def attacker(tmp_path: Path) -> Attacker:
    """A package of somebody else."""
    return install(tmp_path)


def config(attacker: Attacker, port: int = 1, source: str = "{kind: attacker}") -> str:
    return (
        f"device: {{id: box, state_dir: state}}\nmqtt: {{host: 127.0.0.1, port: {port}}}\n"
        f"models: {{evil: {{file: {attacker.model}}}}}\nsources: {{cam: {source}}}\n"
        "pipelines: {evil: {source: cam, model: evil, publish: every, fps: 10}}\n"
    )


def written(attacker: Attacker, source: str = "{kind: attacker}") -> str:
    """Writes a configuration without a broker; its path."""
    path = attacker.folder / "config.yaml"
    path.write_text(config(attacker, source=source))
    return str(path)


def test_an_unlocked_process_of_root_does_all_of_it(attacker: Attacker) -> None:
    code = "import attacker_package; attacker_package.attack('here')"
    done = subprocess.run(
        [sys.executable, "-c", code], env=attacker.environment, capture_output=True, text=True, check=True
    )
    (found,) = reports(done.stderr)
    assert found["uids"] == [0, 0, 0]
    assert {found[what] for what in ("read", "shadow", "own", "setuid", "root again")} == {0}
    assert attacker.setuid()


@pytest.mark.parametrize("rooms", ["separate", "merged"])
def test_run(attacker: Attacker, broker: Broker, rooms: str, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in attacker.environment.items():
        monkeypatch.setenv(name, value)
    with Daemon(attacker.folder, f"{config(attacker, broker.port)}rooms: {rooms}\n") as daemon:
        daemon.wait_serving(60.0)
        told = eventually(lambda: where(reports(daemon.log.read_text()), "decoder", "source opened"), "both attacks")
        assert all(is_harmless(report) for report in told)
        owner = (attacker.folder / "state").stat()
        assert {report["uids"][0] for report in told} == {owner.st_uid}
        assert daemon.reload()["state"] == "applied"  # asked by root
    assert not attacker.setuid()


def where(found: list[dict[str, object]], *places: str) -> list[dict[str, object]]:
    """All reports, once there are some of each place."""
    return found if set(places) <= {str(report["where"]) for report in found} else []


@pytest.mark.parametrize("words", [("check", "-c", "{config}"), ("inspect", "{model}"), ("models", "add", "{package}")])
def test_commands_that_try_a_model(attacker: Attacker, words: tuple[str, ...]) -> None:
    package = attacker.folder / "package"
    package.mkdir()
    (package / "manifest.yaml").write_text(
        f"name: evil\nversion: 1.0.0\nfile: model.tflite\n{MANIFEST}licence: Apache-2.0\n"
    )
    (package / "model.tflite").write_bytes(attacker.model.read_bytes())
    names = {"config": written(attacker, f"{{kind: video, file: {CLIP}}}"), "model": attacker.model, "package": package}
    more = ("-c", str(names["config"])) if words[0] == "models" else ()
    done = attacker.run(*(word.format(**names) for word in words), *more, ATTACK_RAISES="yes")
    found = where(reports(done.stdout + done.stderr), "decoder")
    assert found, done.stdout + done.stderr
    assert all(is_harmless(report) for report in found)
    assert not attacker.setuid()


def test_a_source_is_not_root_where_it_is_checked(attacker: Attacker) -> None:
    done = attacker.run("check", "-c", written(attacker))
    found = reports(done.stderr)
    assert {report["where"] for report in found} >= {"source made"}, done.stderr
    assert all(is_harmless(report) for report in found)


@pytest.mark.parametrize(
    "words",
    [
        ("infer", "{model}", "{picture}", "--annotate", "{folder}/drawn"),
        ("bench", "{model}", "--seconds", "1", "--rounds", "2"),
        ("bench", "-c", "{config}", "--seconds", "1", "--rounds", "2"),
        ("replay", "-c", "{config}", "--annotate", "{folder}/out.mp4"),
        ("replay", "-c", "{config}", "--compare", "{config}", "{config}"),
    ],
    ids=" ".join,
)
def test_commands_that_run_a_model_themselves(attacker: Attacker, words: tuple[str, ...]) -> None:
    names = {
        "model": attacker.model,
        "picture": PICTURE,
        "folder": attacker.folder,
        "config": written(attacker, f"{{kind: attacker-file, file: {CLIP}}}"),
    }
    done = attacker.run(*(word.format(**names) for word in words))
    found = where(reports(done.stderr), "decoder", *(["source opened"] if words[0] == "replay" else []))
    assert found, done.stderr
    assert all(is_harmless(report, reads_for_root=True) for report in found)
    assert done.returncode == 0, done.stderr
    assert not attacker.setuid()


def test_cameras_grab(attacker: Attacker) -> None:
    picture = attacker.folder / "picture.png"
    done = attacker.run("cameras", "--grab", "cam", "-o", str(picture), "-c", written(attacker))
    found = where(reports(done.stderr), "source opened")
    assert found, done.stderr
    assert all(is_harmless(report, reads_for_root=True) for report in found)
    assert picture.read_bytes().startswith(b"\x89PNG")


def users_of_children(words: list[str], environment: dict[str, str], folder: Path) -> tuple[int, dict[str, set[int]]]:
    """The exit code of a command, and the users that it and its descendants had while they ran modules of ours."""
    seen: dict[str, set[int]] = {}
    process = subprocess.Popen(words, env=environment, cwd=folder, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    ended = threading.Event()

    def watch() -> None:
        while not ended.is_set():
            for path in Path("/proc").iterdir():
                try:
                    line = (path / "cmdline").read_bytes().split(b"\0")
                    status = (path / "status").read_text()
                except OSError:
                    continue
                modules = [word.decode() for word in line if word.startswith(b"edge_infer.")]
                if modules and descends(int(path.name), process.pid):
                    uid = int(status.partition("Uid:")[2].split()[0])
                    seen.setdefault(modules[0], set()).add(uid)
            time.sleep(0.02)

    thread = threading.Thread(target=watch)
    thread.start()
    try:
        code = process.wait(240)
    finally:
        ended.set()
        thread.join()
        process.kill()
    return code, seen


def descends(pid: int, ancestor: int) -> bool:
    """Whether a process is below another one."""
    while pid > 1:
        if pid == ancestor:
            return True
        try:
            pid = int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])
        except (OSError, ValueError):
            return False
    return False


def test_privacy(attacker: Attacker) -> None:
    path = written(attacker, f"{{kind: video, file: {CLIP}, loop: true}}")
    words = [sys.executable, "-m", "edge_infer", "privacy", "--seconds", "2", "-c", path]
    code, seen = users_of_children(words, attacker.environment, attacker.folder)
    assert {"edge_infer.engine", "edge_infer.publisher"} <= seen.keys()
    assert 0 not in set().union(*seen.values()), seen
    assert code == 0
    assert not attacker.setuid()


def test_the_demo(attacker: Attacker) -> None:
    words = [str(ROOT / "scripts" / "demo"), "--seconds", "45", "--json"]
    code, seen = users_of_children(words, attacker.environment, attacker.folder)
    assert {"edge_infer.engine"} <= seen.keys()
    assert 0 not in set().union(*seen.values()), seen
    assert code == 0


def test_check_looks_into_a_state_directory_behind_a_closed_folder(tmp_path: Path) -> None:
    """As that of the service is, in ``/var/lib/private``."""
    private = tmp_path / "private"
    package = private / "state" / "models" / "face-detect" / "1.0.0"
    private.mkdir(mode=0o700)
    shutil.copytree(ROOT / "models" / "face-detect" / "1.0.0", package)
    for path in (private / "state", *(private / "state").rglob("*")):
        os.chown(path, 61500, 61500)
        path.chmod(0o700 if path.is_dir() else 0o600)
    config = tmp_path / "config.yaml"
    config.write_text(
        f"device: {{id: box, state_dir: {private}/state}}\nmodels: {{faces: {{use: face-detect@1.0.0}}}}\n"
        f"sources: {{cam: {{kind: video, file: {CLIP}}}}}\npipelines: {{faces: {{source: cam, model: faces}}}}\n"
    )
    words = [sys.executable, "-m", "edge_infer", "check", "-c", str(config)]
    done = subprocess.run(words, cwd=tmp_path, capture_output=True, text=True, timeout=180, check=False)
    assert (done.returncode, "valid (1 source, 1 model, 1 pipeline)" in done.stderr) == (0, True), done.stderr
