"""``edge-infer replay``: the same bytes each time, the events of the daemon, and what two configurations differ in."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from datetime import datetime
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from edge_infer.cli import main
from edge_infer.contract.messages import timestamp
from tests.broker import Broker, Subscriber, eventually
from tests.engine.drift import scenes
from tests.moody import write_model
from tests.running import CLIP, MODEL, Daemon

LEFT = "left: [[0, 0], [0.5, 0], [0.5, 1], [0, 1]]"
KEYS = f"track: true, zones: {{{LEFT}}}, lines: {{middle: {{from: [0.5, 0], to: [0.5, 1]}}}}"
DIFFERS = frozenset({"ts", "since", "boot", "clock", "replay"})
"""What differs between two runs of the same recording."""


def configured(folder: Path, name: str = "config.yaml", threshold: float = 0.4, port: int = 1883) -> Path:
    path = folder / name
    path.write_text(
        f"""\
device: {{id: box, state_dir: state}}
mqtt: {{host: 127.0.0.1, port: {port}}}
models:
  faces: {{file: {MODEL}}}
sources:
  cam: {{kind: video, file: {CLIP}, realtime: false}}
pipelines:
  faces: {{source: cam, model: faces, threshold: {threshold}, {KEYS}}}
"""
    )
    return path


def lines(text: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in text.splitlines()]


def events(found: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Payloads of events without what differs between two runs."""
    payloads = [line["payload"] for line in found if line["topic"].endswith("/event")]
    return [{key: value for key, value in payload.items() if key not in DIFFERS} for payload in payloads]


def test_the_same_recording_says_the_same_bytes_drawn_or_not(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    config, film = configured(tmp_path), tmp_path / "out.mp4"
    assert main(["replay", "-c", str(config)]) == 0
    first = capsys.readouterr().out
    assert main(["replay", "-c", str(config), "--annotate", str(film)]) == 0
    assert capsys.readouterr().out == first
    found = lines(first)
    assert {line["topic"].rpartition("/")[2] for line in found} == {"result", "state", "event"}
    assert found[0]["payload"]["ts"] == timestamp(0.0)
    assert all("ms" not in line["payload"] for line in found)
    assert {event["type"] for event in events(found)} == {"appear", "enter", "cross", "exit", "leave"}
    capture = cv2.VideoCapture(str(film))
    assert capture.get(cv2.CAP_PROP_FRAME_COUNT) == 170
    capture.release()


@pytest.mark.long
def test_a_recording_of_days_in_which_the_camera_is_bumped(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    """A frame a minute for three days and a bit, by day and at night; then the content is moved by a tenth."""
    film, learned = tmp_path / "days.avi", 4600
    views = [[scenes.frame(number, night=night) for number in range(40)] for night in (False, True)]
    bumped = [scenes.frame(300 + number, right=scenes.WIDTH // 10) for number in range(40)]
    writer = cv2.VideoWriter(str(film), cv2.VideoWriter.fourcc(*"MJPG"), 0.017, (scenes.WIDTH, scenes.HEIGHT))
    for number in range(learned):
        writer.write(views[number / 0.017 / 3600 % 24 > 12][number % 40])
    for pixels in bumped:
        writer.write(pixels)
    writer.release()
    config = configured(tmp_path)
    text = config.read_text().replace(str(CLIP), str(film)).replace(str(MODEL), str(write_model(tmp_path / "m.tflite")))
    config.write_text(text.replace(f"threshold: 0.4, {KEYS}", "publish: change") + "drift: true\n")
    assert main(["replay", "-c", str(config)]) == 0
    captured = capsys.readouterr()
    begin, end = events(lines(captured.out))
    assert begin == {"v": 1, "seq": 1, "type": "drift", "kind": "moved", "shift": [0.1, 0.0]}
    assert (end["type"], end["reason"]) == ("drift_end", "source_ended")
    told = [line["payload"] for line in lines(captured.out) if line["topic"].endswith("/event")]
    since = datetime.fromisoformat(told[0]["since"].replace("Z", "+00:00")).timestamp()
    assert 0 <= since - learned / 0.017 < 600
    assert "too short to learn its drift references (camera 100 %, answers 4" in caplog.text


def test_what_a_pipeline_shall_not_see_is_not_drawn_either(tmp_path: Path) -> None:
    config, film = configured(tmp_path), tmp_path / "out.mp4"
    config.write_text(config.read_text().replace(KEYS, "mask: [[[0, 0], [0.4, 0], [0.4, 1], [0, 1]]]"))
    assert main(["replay", "-c", str(config), "--annotate", str(film)]) == 0
    capture = cv2.VideoCapture(str(film))
    found, picture = capture.read()
    capture.release()
    assert found
    clip = cv2.VideoCapture(str(CLIP))
    height, width = int(clip.get(cv2.CAP_PROP_FRAME_HEIGHT)), picture.shape[1]
    clip.release()
    assert picture[:height, : int(0.3 * width)].max() < 40, "black but for what the compression makes of it"
    assert picture[:height, width // 2 :].max() > 100


def test_the_daemon_tells_the_same_events(broker: Broker, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    config = configured(tmp_path, port=broker.port)
    assert main(["replay", "-c", str(config)]) == 0
    replayed = events(lines(capsys.readouterr().out))
    with Subscriber(broker.port) as heard, Daemon(tmp_path, config.read_text()):
        live = [json.loads(m.payload) for m in heard.first(len(replayed), "edge-infer/box/faces/event")]
        eventually(lambda: any(b"source_ended" in m.payload for m in heard.on("edge-infer/box/faces/state")), "the end")
    assert events([{"topic": "/event", "payload": payload} for payload in live]) == replayed


def test_another_recording_goes_at_the_pace_of_the_pipeline(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    config = configured(tmp_path)
    config.write_text(config.read_text().replace("model: faces,", "model: faces, publish: every, fps: 2,"))
    assert main(["replay", "-c", str(config), "--source", str(CLIP)]) == 0
    results = [line for line in lines(capsys.readouterr().out) if line["topic"].endswith("/result")]
    assert 33 <= len(results) <= 35  # 17 s


def test_a_recording_may_have_any_name(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    clip, picture = shutil.copy(CLIP, tmp_path / "clip.asf"), tmp_path / "cam[1].pgm"
    cv2.imwrite(str(picture), np.zeros((48, 64), np.uint8))
    config = configured(tmp_path)
    config.write_text(config.read_text().replace("model: faces,", "model: faces, publish: every,"))
    for recording, results in ((CLIP, 170), (clip, 170), (picture, 1)):
        assert main(["replay", "-c", str(config), "--source", str(recording)]) == 0
        found = [line for line in lines(capsys.readouterr().out) if line["topic"].endswith("/result")]
        assert len(found) == results


def beside_samples(assets: Path, folder: Path) -> Path:
    """A configuration with a camera's pipeline, and one of samples."""
    shutil.copy(assets / "models" / "hello_world_int8.tflite", folder / "sine.tflite")
    (folder / "sine.yaml").write_text("task: regression\ninput: {features: raw}\nvalues: [{name: sine}]\n")
    (folder / "rows.csv").write_text("1\n" * 20)
    text = configured(folder).read_text()
    text = text.replace("models:\n", "models:\n  sine: {file: sine.tflite}\n")
    text = text.replace("pipelines:\n", "pipelines:\n  sine: {source: rows, model: sine, publish: every}\n")
    config = folder / "config.yaml"
    config.write_text(text.replace("sources:\n", "sources:\n  rows: {kind: mqtt, topic: t, rate: 10}\n"))
    return config


@pytest.mark.parametrize("named", [False, True])
def test_a_link_out_of_a_folder_of_pictures_is_left_out(tmp_path: Path, named: bool) -> None:
    """In a process of its own, whose sandbox forbids reading the target."""
    config, folder = configured(tmp_path), tmp_path / "pictures"
    (tmp_path / "archive").mkdir()
    folder.mkdir()
    for index in range(5):
        cv2.imwrite(str(folder / f"{index}.png"), np.full((48, 64, 3), 40 * index, np.uint8))
    shutil.copy(folder / "4.png", tmp_path / "archive")
    command = [sys.executable, "-m", "edge_infer", "replay", "-c", str(config), "--source", str(folder)]
    if not named:
        own = f"{{kind: images, path: {folder}, every: 1s}}"
        config.write_text(config.read_text().replace(f"{{kind: video, file: {CLIP}, realtime: false}}", own))
        del command[-2:]
    config.write_text(config.read_text().replace("threshold: 0.4,", "publish: every,"))

    def replayed() -> tuple[str, str]:
        done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=True)
        return done.stdout, done.stderr

    before, _ = replayed()
    assert [line["payload"]["ts"] for line in lines(before) if line["topic"].endswith("/result")] == [
        timestamp(float(second)) for second in range(5)
    ]
    link = folder / "3a.png"
    link.symlink_to("../archive/4.png")
    (folder / "gone.png").symlink_to("nowhere.png")
    after, told = replayed()
    assert after == before
    assert (
        f"picture skipped: {link} cannot be read: Permission denied; it is a link to {tmp_path}/archive/4.png" in told
    )
    assert f"picture skipped: {folder}/gone.png cannot be read: No such file" in told


def test_a_recording_is_for_the_pipelines_that_take_such(
    assets: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    config = beside_samples(assets, tmp_path)
    for recording, pipeline in ((str(CLIP), "faces"), (str(tmp_path / "rows.csv"), "sine")):
        assert main(["replay", "-c", str(config), "--source", recording]) == 0
        assert {line["topic"].split("/")[2] for line in lines(capsys.readouterr().out)} == {pipeline}
    film = tmp_path / "out.mp4"
    assert main(["replay", "-c", str(config), "--source", str(CLIP), "--annotate", str(film)]) == 0
    assert film.stat().st_size > 0
    capsys.readouterr()
    for recording, pipeline, told in (
        (
            str(CLIP),
            "sine",
            "gives no samples, as source rows does; name a .wav or .csv file, or choose another pipeline",
        ),
        (
            "rows.csv",
            "faces",
            "gives no image, as source cam does; name a video, a picture or a folder of pictures, or choose",
        ),
        ("notes.txt", None, "name a .wav or .csv file, or choose"),
    ):
        chosen = [] if pipeline is None else ["--pipeline", pipeline]
        assert main(["replay", "-c", str(config), "--source", recording, *chosen]) == 2
        assert told in capsys.readouterr().err


def test_what_a_recording_replaces_need_not_be_there(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    config = configured(tmp_path)
    others = """\
  cam: {kind: exec, command: [no-such-program], size: 640x360, format: yuv420}
  yard: {kind: rtsp, url: "rtsp://cam.lan/", username: u, password_file: missing.pass}
  clip: {kind: video, file: missing.mp4}
  rows: {kind: csv, file: missing.csv, rate: 1}
"""
    text = config.read_text().replace(f"  cam: {{kind: video, file: {CLIP}, realtime: false}}\n", others)
    config.write_text(text.replace("port: 1883", "username: u, password_file: broker.pass"))
    assert main(["replay", "-c", str(config), "--source", str(CLIP)]) == 0
    assert "/faces/event" in capsys.readouterr().out
    assert main(["replay", "-c", str(config)]) == 2
    told = capsys.readouterr().err
    for key in ("mqtt.password_file", "cam.command", "yard.password_file", "clip.file", "rows.file"):
        assert key in told


def test_rows_need_their_rate(assets: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    shutil.copy(assets / "models" / "hello_world_int8.tflite", tmp_path / "sine.tflite")
    (tmp_path / "sine.yaml").write_text("task: regression\ninput: {features: raw}\nvalues: [{name: sine}]\n")
    (tmp_path / "rows.csv").write_text("1\n" * 20)
    (tmp_path / "config.yaml").write_text(
        "device: {id: box, state_dir: state}\nmqtt: {host: 127.0.0.1}\nmodels: {sine: {file: sine.tflite}}\n"
        "sources: {rows: {kind: mqtt, topic: t}}\n"
        "pipelines: {sine: {source: rows, model: sine}}\n"
    )
    assert main(["replay", "-c", str(tmp_path / "config.yaml"), "--source", str(tmp_path / "rows.csv")]) == 2
    assert "rows.csv: set `rate` of source rows" in capsys.readouterr().err


def test_a_cascade_is_in_step_with_its_parents(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    config, film = configured(tmp_path), tmp_path / "out.mp4"
    closer = "  closer: {source: {crops: faces, margin: 0.5, again: 2s}, model: faces}\n"
    config.write_text(config.read_text().replace("model: faces,", "model: faces, fps: 4,") + closer)
    assert main(["replay", "-c", str(config), "--source", str(CLIP)]) == 0
    everything = capsys.readouterr().out
    more = ["--source", str(CLIP), "--annotate", str(film)]
    assert main(["replay", "-c", str(config), "--pipeline", "closer", *more]) == 0
    alone = capsys.readouterr().out
    assert [line for line in everything.splitlines() if "/closer/" in line] == alone.splitlines()
    parents = {line["payload"]["seq"]: line["payload"] for line in lines(everything) if "faces/result" in line["topic"]}
    closer_results = [line["payload"] for line in lines(alone) if line["topic"].endswith("/result")]
    told = [each for each in closer_results if "seq" in each["parent"]]
    assert told
    for each in told:
        parent = parents[each["parent"]["seq"]]
        assert parent["ts"] == each["ts"]
        assert each["parent"]["box"] in [found["box"] for found in parent["objects"]]
    capture = cv2.VideoCapture(str(film))
    assert 66 <= capture.get(cv2.CAP_PROP_FRAME_COUNT) <= 69  # 17 s
    capture.release()
    assert main(["replay", "-c", str(config), "--annotate", str(film)]) != 0
    assert "--annotate draws one pipeline: choose one of faces, closer" in capsys.readouterr().err


def test_two_configurations_are_compared(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    one, other = configured(tmp_path, "a.yaml"), configured(tmp_path, "b.yaml", threshold=0.95)
    assert main(["replay", "--compare", str(one), str(other)]) == 0
    said = capsys.readouterr().out.splitlines()
    assert said[0].startswith(f"--- {one}: ")
    assert said[1].startswith(f"+++ {other}: ")
    assert "- faces: 00:03.500 cross face #1 middle right" in said
    assert main(["replay", "--compare", str(one), str(one)]) == 0
    assert len(capsys.readouterr().out.splitlines()) == 2


def test_the_log_gives_every_row_that_was_left_out(
    assets: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    model, rows = tmp_path / "sine.tflite", tmp_path / "rows.csv"
    shutil.copy(assets / "models" / "hello_world_int8.tflite", model)
    (tmp_path / "sine.yaml").write_text("task: regression\ninput: {features: raw}\nvalues: [{name: sine}]\n")
    rows.write_text("1\n" * 20 + "nan\n" * 25 + "2\n" * 20)
    (tmp_path / "config.yaml").write_text(
        f"device: {{id: box, state_dir: state}}\nmqtt: {{host: 127.0.0.1}}\nmodels: {{sine: {{file: {model}}}}}\n"
        f"sources: {{rows: {{kind: csv, file: {rows}, rate: 5}}}}\n"
        "pipelines: {sine: {source: rows, model: sine, publish: every}}\n"
    )
    assert main(["replay", "-c", str(tmp_path / "config.yaml")]) == 0
    assert caplog.messages[-1] == "data dropped or damaged: column 1 contains 'nan', not a number (25 so far)"
    caplog.clear()
    assert main(["infer", str(model), str(rows)]) == 0
    assert caplog.messages[-1] == "data dropped or damaged: column 1 contains 'nan', not a number (25 so far)"


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--source", "/nowhere.mp4"], "/nowhere.mp4: No such file"),
        (["--source", "/nowhere.xyz"], "/nowhere.xyz: No such file"),
        (["--source", "/nowhere.wav"], "gives no image"),
        (["--source", "/nowhere.csv"], "gives no image"),
        (["--pipeline", "yard"], "there is no pipeline 'yard'; known: faces"),
        (["--annotate", "/nowhere/out.mp4"], "in an existing folder"),
    ],
)
def test_what_cannot_be_replayed_says_why(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], options: list[str], words: str
) -> None:
    assert main(["replay", "-c", str(configured(tmp_path)), *options]) in (1, 2)
    assert words in capsys.readouterr().err


HAND_COUNTED = {5: 3, 25: 5, 45: 6, 65: 6, 85: 7, 105: 7, 125: 8, 150: 9}
"""People in these frames of the clip, counted by eye, who are half behind something or each other included."""
TO_THE_RIGHT, TO_THE_LEFT = 5, 3
"""Who crossed a line from top to bottom at 0.74 of the width, looking down it, counted by eye."""


def test_people_in_a_yard_as_a_person_counts_them(
    assets: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    labels = ", ".join(["person", *(f"other{number}" for number in range(1, 80))])
    (tmp_path / "config.yaml").write_text(
        f"""\
device: {{id: box, state_dir: state}}
models:
  coco: {{file: {assets}/models/yolov5n-int8.tflite, labels: [{labels}]}}
sources:
  yard: {{kind: video, file: {assets}/video/vtest_first160.avi, realtime: false}}
pipelines:
  people:
    {{source: yard, model: coco, threshold: 0.4, labels: [person], track: true,
     lines: {{gate: {{from: [0.74, 0.2], to: [0.74, 1]}}}}}}
"""
    )
    assert main(["replay", "-c", str(tmp_path / "config.yaml")]) == 0
    found = lines(capsys.readouterr().out)
    states = [line["payload"] for line in found if line["topic"].endswith("/state")][:-1]
    counted = {}
    for frame in HAND_COUNTED:
        last = [state for state in states if state["ts"] <= timestamp(frame / 10 + 0.001)][-1]
        counted[frame] = last["counts"].get("person", 0)
    assert all(abs(counted[frame] - people) <= 1 for frame, people in HAND_COUNTED.items()), counted
    directions = [event["direction"] for event in events(found) if event["type"] == "cross"]
    assert abs(directions.count("right") - TO_THE_RIGHT) <= 1
    assert abs(directions.count("left") - TO_THE_LEFT) <= 1
