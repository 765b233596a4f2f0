"""A daemon before a still picture: what subscribers, `status` and `why` are told."""

from __future__ import annotations

import json
from pathlib import Path

import cv2
import numpy as np

from edge_infer.frames.picture import read_picture
from tests.broker import Broker, Heard, Subscriber, eventually
from tests.running import MODEL, Daemon, config

PORTRAIT = MODEL.parent / "golden" / "astronaut.png"


def film(path: Path) -> None:
    """A face that does not move, with the noise of a sensor."""
    dice = np.random.default_rng(1)
    face = cv2.resize(read_picture(str(PORTRAIT)), (320, 320), interpolation=cv2.INTER_AREA)
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*"MJPG"), 25.0, (320, 320))
    for _ in range(40):
        writer.write(np.clip(face + dice.normal(0.0, 2.0, face.shape), 0, 255).astype(np.uint8))
    writer.release()


def is_still(message: Heard) -> bool:
    return json.loads(message.payload).get("still") is True


def test_nothing_moves(broker: Broker, tmp_path: Path) -> None:
    film(tmp_path / "still.avi")
    text = config(broker.port, f"{{kind: video, file: {tmp_path}/still.avi, loop: true}}")
    text = text.replace("fps: 10", "fps: 25, threshold: 0.4, track: true, motion: {still_check: 2s}")
    with Subscriber(broker.port) as heard, Daemon(tmp_path, text) as daemon:
        result = json.loads(heard.wait("edge-infer/box/faces/result", is_still, 90).payload)
        assert [found["label"] for found in result["objects"]] == ["face"]
        eventually(
            lambda: daemon.status()["pipelines"]["faces"].get("motion", {}).get("still", 0) > 20, "frames left out", 60
        )
        said = daemon.command("status").stdout
        assert "% of the model runs saved" in said
        why = daemon.command("why", "--label", "face").stdout
        assert "faces: " in why
        assert "no motion, " in why
        state = heard.last("edge-infer/box/faces/state")
        assert state is not None
        assert json.loads(state.payload)["counts"] == {"face": 1}
        assert not any(json.loads(each.payload)["type"] == "leave" for each in heard.on("edge-infer/box/faces/event"))
