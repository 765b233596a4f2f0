"""Another user closes the folder of a clip: its source fails, and everything else goes on."""

from __future__ import annotations

import os
import shutil
import tempfile
from pathlib import Path

import pytest

from edge_infer.contract.codec import replace
from edge_infer.plan.records import SourcePlan
from edge_infer.sandbox.needs import engine_fence, reader_fence, replay_fence
from tests.broker import Broker, eventually
from tests.publisher.samples import mqtt_plan, plan
from tests.running import CLIP, Daemon, config

OWNER, OTHER = 61501, 61777


@pytest.mark.parametrize("path", ["/etc/" + "n" * 300, "/etc/" + "n" * 300 + "/*.jpg", "/a\0b"])
def test_a_path_that_cannot_be_looked_at_ends_nothing(path: str) -> None:
    source = SourcePlan("cam", "images", "m:C", live=False, network=False, options={"path": path})
    made = replace(plan(mqtt_plan(1883)), sources=(source,))
    fence = engine_fence(made)
    assert fence.reads + fence.files
    assert reader_fence(source).reads
    assert replay_fence([made], path)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become another user")
def test_a_closed_folder_of_another_user_takes_nothing_else_down() -> None:
    with tempfile.TemporaryDirectory() as name, Broker(Path(name)) as broker:
        folder = Path(name)
        folder.chmod(0o755)
        (folder / "state").mkdir(mode=0o755)
        os.chown(folder / "state", OWNER, OWNER)  # whom root becomes
        theirs = folder / "theirs"
        theirs.mkdir(mode=0o755)
        shutil.copy(CLIP, theirs)
        os.chown(theirs, OTHER, OTHER)
        text = config(broker.port).replace(
            "pipelines:", f"  clip: {{kind: video, file: {theirs / CLIP.name}, loop: true}}\npipelines:"
        )
        with Daemon(folder, f"{text}  more: {{source: clip, model: faces, fps: 2}}\n") as daemon:
            daemon.wait_serving()
        theirs.chmod(0)
        with Daemon(folder, daemon.config.read_text()) as daemon:
            daemon.wait_serving()
            eventually(lambda: sources(daemon) == {"cam": "ok", "clip": "lost"}, lambda: f"{sources(daemon)}")
        assert "Traceback" not in daemon.log.read_text()


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become another user")
def test_a_state_that_only_the_service_reaches_is_left_to_the_service() -> None:
    """As that in ``/var/lib/private`` is, which the owner of the state may not enter without systemd."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        folder.chmod(0o755)
        private = folder / "private"
        (private / "state").mkdir(parents=True)
        private.chmod(0o700)
        os.chown(private / "state", OWNER, OWNER)
        (folder / "state").symlink_to(private / "state")
        with Daemon(folder, config(1883)) as daemon:
            assert daemon.wait(30) == 3
        assert daemon.log.read_text().splitlines()[-1] == (
            f"edge-infer: user {OWNER} may not enter the folder {private}, which contains the state directory "
            f"{folder}/state; if that is the service's, start the service: sudo systemctl start edge-infer; otherwise "
            "set another device.state_dir"
        )


def sources(daemon: Daemon) -> dict[str, str]:
    return {name: source["state"] for name, source in daemon.status().get("sources", {}).items()}
