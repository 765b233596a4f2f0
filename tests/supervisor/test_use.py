"""A model that becomes another package by a command: applied and waited for, or taken back."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path

from tests.broker import Broker, eventually
from tests.moody import MANIFEST, Mood, moody_model
from tests.running import Daemon

CONFIG = """\
device: {{id: box, state_dir: state}}
mqtt: {{host: 127.0.0.1, port: {port}}}
models:
  # as rolled out
  light: {{use: light@1.0.0, sha256: {sha}}}
sources:
  cam: {{kind: synthetic, size: 64x64, fps: 50}}
pipelines:
  hall: {{source: cam, model: light, threads: 1, publish: every}}
"""


def package(folder: Path, version: str, gain: float, mood: Mood = "good") -> str:
    """A package; the digest of its file."""
    place = folder / "light" / version
    place.mkdir(parents=True)
    data = moody_model(mood, 20, gain)
    (place / "light.tflite").write_bytes(data)
    (place / "manifest.yaml").write_text(MANIFEST.format(name="light", version=version, file="light.tflite"))
    return hashlib.sha256(data).hexdigest()


def test_a_package_is_named_applied_and_waited_for(tmp_path: Path, broker: Broker) -> None:
    store = tmp_path / "state/models"
    good, fresh, _ = (package(store, f"1.{n}.0", 1 + n / 10) for n in range(3))
    package(store, "1.3.0", 1.3, "nan")
    (store / "light/1.2.0/light.tflite").write_bytes(b"not a model")
    with Daemon(tmp_path, CONFIG.format(port=broker.port, sha=good)) as daemon:
        daemon.wait_serving()
        daemon.config.chmod(0o640)
        os.chown(daemon.config, -1, (tmp_path / "state").stat().st_gid)  # the daemon of root has become another user
        done = daemon.command("models", "use", "light", "light@1.1.0")
        assert done.returncode == 0, done.stderr
        assert "models.light: use: light@1.1.0 (before: use: light@1.0.0)\napplied " in done.stdout
        text = CONFIG.format(port=broker.port, sha=fresh).replace("light@1.0.0", "light@1.1.0")
        assert (daemon.config.read_text(), daemon.config.stat().st_mode & 0o777) == (text, 0o640)
        done = daemon.command("models", "wait", "light")
        assert (done.returncode, done.stderr) == (0, "")
        assert done.stdout == f"light: active, 1.1.0 ({fresh[:8]}) serves\n"

        history = daemon.command("models", "history").stdout
        again = daemon.command("models", "use", "light", "light@1.1.0")
        assert (again.returncode, again.stdout.endswith("use: light@1.1.0, as before\n")) == (0, True)
        assert daemon.command("models", "history").stdout == history

        for wanted, reason in (("light@1.2.0", "it is a text file"), ("light@7.0.0", "contains no light@7.0.0")):
            refused = daemon.command("models", "use", "light", wanted)
            assert refused.returncode == 2, refused.stdout
            assert reason in refused.stderr
            assert daemon.config.read_text() == text
        eventually(lambda: daemon.status()["config"]["state"] == "applied", "the file of before applied again", 120)

        assert daemon.command("models", "use", "light", "light@1.3.0").returncode == 0
        done = daemon.command("models", "wait", "light")
        assert (done.returncode, done.stdout) == (1, "")
        assert "light: rolled_back: " in done.stderr
        assert f"; 1.1.0 ({fresh[:8]}) serves" in done.stderr


def test_without_frames_waiting_ends_and_a_rejected_file_ends_it_at_once(tmp_path: Path, broker: Broker) -> None:
    store = tmp_path / "state/models"
    good, _ = package(store, "1.0.0", 1.0), package(store, "1.1.0", 1.1)
    text = CONFIG.format(port=broker.port, sha=good)
    with Daemon(tmp_path, text) as daemon:
        daemon.wait_serving()
        slow = text.replace("fps: 50", "fps: 0.1").replace("1.0.0", "1.1.0").replace(f", sha256: {good}", "")
        daemon.config.write_text(slow)
        done = daemon.command("models", "wait", "--timeout", "3s")
        assert (done.returncode, done.stdout) == (1, "")
        assert "edge-infer: timeout after 3s; a model passes its probation after 100 frames" in done.stderr
        daemon.config.write_text(slow.replace("kind: synthetic", "kind: none"))
        done = daemon.command("models", "wait")
        assert done.returncode == 2
        assert "sources.cam.kind" in done.stderr
        rejected = daemon.command("models", "use", "light", "light@1.1.0")  # it says so already, and that is not enough
        assert rejected.returncode == 2
        assert "sources.cam.kind" in rejected.stderr
    for words in (("use", "light", "light@1.0.0"), ("wait",)):
        done = daemon.command("models", *words)
        assert done.returncode == 1
        assert "no daemon answers" in done.stderr
