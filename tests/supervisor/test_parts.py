"""A running daemon and the files of ``conf.d``: one that comes, changes or goes is applied like an edit."""

from __future__ import annotations

from pathlib import Path

from tests.broker import Broker, eventually
from tests.running import Daemon, config

YARD = """\
sources:
  yard: {kind: synthetic, size: 64x64, fps: 5}
pipelines:
  yard: {source: yard, model: faces, publish: every}
"""


def test_a_part_that_comes_and_goes_is_applied(tmp_path: Path) -> None:
    with Broker(tmp_path) as broker, Daemon(tmp_path, config(broker.port)) as daemon:
        daemon.wait_serving(60.0)
        part = tmp_path / "conf.d/yard.yaml"
        part.parent.mkdir()
        part.write_text(YARD)
        eventually(lambda: "yard" in daemon.status()["pipelines"], daemon.log.read_text, 60.0)
        both = daemon.status()["config"]["digest"]
        part.write_text(YARD.replace("yard:", "faces:"))

        def rejected() -> list[str]:
            found = daemon.status()["config"]
            errors: list[str] = found.get("errors", [])
            return errors if found["state"] == "rejected" else []

        eventually(lambda: rejected() != [], "the rejection", 60.0)
        assert rejected()[0].startswith(f"{part}:4: pipelines.faces: is defined twice (first in {daemon.config}:")
        part.write_text(YARD)
        eventually(lambda: daemon.status()["config"]["state"] == "applied", "the mended part", 60.0)
        assert daemon.status()["config"]["digest"] == both
        assert daemon.command("models", "wait", "--timeout", "60s").returncode == 0
        part.unlink()
        eventually(lambda: "yard" not in daemon.status()["pipelines"], "the end of the pipeline", 60.0)


def test_a_start_with_unchanged_parts_waits_for_no_reading(tmp_path: Path) -> None:
    (tmp_path / "conf.d").mkdir()
    (tmp_path / "conf.d/yard.yaml").write_text(YARD)
    with Broker(tmp_path) as broker, Daemon(tmp_path, config(broker.port)) as daemon:
        daemon.wait_serving(60.0)
        daemon.__exit__()
        daemon.start()
        daemon.wait_serving(60.0)
        assert "starting the last applied configuration" in daemon.log.read_text()
        assert "yard" in daemon.status()["pipelines"]
