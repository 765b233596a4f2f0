"""Drift of a real daemon: the camera of a scene that it has learned is bumped, and the box says so and by how much."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import cv2

from edge_infer.contract.codec import decode_json, dumps, replace
from edge_infer.ipc.drift import DriftReference
from tests.broker import Broker, Heard, Subscriber, eventually
from tests.engine.drift.scenes import HEIGHT, WIDTH, frame, learned
from tests.running import Daemon, config

P = "edge-infer/box"


def _film(path: Path, right: int) -> None:
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*"MJPG"), 5.0, (WIDTH, HEIGHT))
    for number in range(20):
        writer.write(frame(300 + number, right=right))
    writer.release()


def _place_reference(state: Path) -> None:
    """Put what was learned of the scene in the place of what the daemon has begun to learn."""
    file = state / "drift" / "faces.json"
    begun = decode_json(DriftReference, file.read_bytes())
    assert begun.camera is not None
    complete = replace(learned().kept(), basis=begun.camera.basis)
    owner = file.stat()
    file.write_bytes(dumps(replace(begun, camera=complete)))
    os.chown(file, owner.st_uid, owner.st_gid)


def _is(**wanted: Any) -> Any:
    def matches(message: Heard) -> bool:
        found = json.loads(message.payload)
        return all(found.get(key) == value for key, value in wanted.items())

    return matches


def test_a_bumped_camera_is_told_with_its_shift(broker: Broker, tmp_path: Path) -> None:
    clip = tmp_path / "scene.avi"
    _film(clip, 0)
    text = (
        config(broker.port, f"{{kind: video, file: {clip}, loop: true}}").replace("fps: 10", "fps: 5") + "drift: true\n"
    )
    with Daemon(tmp_path, text) as daemon:
        eventually(lambda: "answers  learned" in daemon.command("drift").stdout, "a pipeline that learns", 60)
    _place_reference(tmp_path / "state")
    with Subscriber(broker.port) as heard, Daemon(tmp_path, text) as daemon:
        calm = json.loads(heard.wait(f"{P}/health", lambda each: b'"camera":"ok"' in each.payload, 90).payload)
        assert calm["drift"]["faces"]["camera"] == "ok"
        assert daemon.command("drift").returncode == 0
    _film(clip, 32)  # a tenth of the width
    with Subscriber(broker.port) as heard, Daemon(tmp_path, text) as daemon:
        event = json.loads(heard.wait(f"{P}/faces/event", _is(type="drift"), 90).payload)
        assert event["kind"] == "moved"
        assert abs(event["shift"][0] - 32 / WIDTH) <= 0.02
        assert event["shift"][1] == 0.0
        said = daemon.command("drift")
        assert said.returncode == 1
        assert said.stdout.startswith("faces: camera moved (content +1"), said.stdout
        assert f"edge-infer drift accept faces -c {tmp_path}/config.yaml" in said.stdout
        line = "drift     faces: camera moved, answers learning (edge-infer drift shows what to do)"
        eventually(lambda: line in daemon.command("status").stdout, "a line of status", 30)
        found = json.loads(daemon.command("drift", "--json").stdout)["faces"]
        assert found["camera"] == "moved"
        assert found["camera_part"]["signals"]["moved"]["score"] > 1
        accepted = daemon.command("drift", "accept", "faces")
        assert accepted.returncode == 0, accepted
        ended = json.loads(heard.wait(f"{P}/faces/event", _is(type="drift_end"), 30).payload)
        assert (ended["kind"], ended.get("reason")) == ("moved", "config_changed")
        assert ended["since"][:19] == event["since"][:19]
        eventually(lambda: "camera   learned" in daemon.command("drift").stdout, "a camera that is learned anew", 30)
        assert daemon.command("drift", "accept", "yard").returncode == 1
        line = "drift     faces: camera learning"
        eventually(lambda: line in daemon.command("status").stdout, "a report after it", 30)
        refused = daemon.command("drift", "accept")
        assert refused.returncode == 1
        assert "there is no drift in faces; to learn all of a pipeline again" in refused.stderr
        assert daemon.command("drift", "yard").returncode == 1
    kept = decode_json(DriftReference, (tmp_path / "state" / "drift" / "faces.json").read_bytes())
    assert kept.camera is not None
    assert kept.camera.appearances == ()
    events = [json.loads(each.payload) for each in heard.on(f"{P}/faces/event")]
    assert [each["type"] for each in events if "kind" in each] == ["drift", "drift_end"]


def test_without_the_key_there_is_nothing_to_compare(broker: Broker, tmp_path: Path) -> None:
    with Daemon(tmp_path, config(broker.port)) as daemon:
        daemon.wait_serving()
        said = daemon.command("drift")
        assert (said.returncode, said.stdout) == (
            0, "no pipeline watches for drift: add drift: true to the configuration\n",
        )  # fmt: skip
        refused = daemon.command("drift", "accept")
        assert refused.returncode == 1
        assert "no pipeline watches for drift" in refused.stderr
    assert not (tmp_path / "state" / "drift").exists()


def test_a_paused_pipeline_is_known_and_not_watched(broker: Broker, tmp_path: Path) -> None:
    with Daemon(tmp_path, config(broker.port) + "drift: true\n") as daemon:
        eventually(lambda: "answers  learned" in daemon.command("drift").stdout, "a pipeline that learns", 60)
        assert daemon.command("pause", "faces").returncode == 0
        line = "faces: not watched now: paused by "
        eventually(lambda: daemon.command("drift").stdout.startswith(line), "the end of the pipeline", 30)
        named = daemon.command("drift", "faces")
        assert (named.returncode, named.stdout.startswith(line)) == (0, True), named
        assert f"drift     {line}" in daemon.command("status").stdout
        found = json.loads(daemon.command("drift", "--json").stdout)
        assert found["faces"]["inactive"].startswith("paused by ")
        unknown = daemon.command("drift", "yard")
        refused = daemon.command("drift", "accept", "faces", "--whole")
        assert refused.returncode == 1
        assert "the engine does not watch faces now: edge-infer drift shows why" in refused.stderr
        assert (unknown.returncode, "no pipeline 'yard' watches for drift; known: faces" in unknown.stderr) == (1, True)
