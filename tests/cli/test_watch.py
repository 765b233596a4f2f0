"""A subscriber in the terminal: lines for people, JSON lines for programs, and an exit code that means something."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import paho.mqtt.client as mqtt
import pytest
from paho.mqtt.enums import CallbackAPIVersion

from edge_infer.cli import main
from edge_infer.cli.message_lines import Painter, strip
from edge_infer.contract.codec import dumps, encode
from edge_infer.contract.messages import (
    Anomaly,
    BoardHealth,
    ConfigStatus,
    DetectedObject,
    EgressHealth,
    Event,
    Health,
    OutboxHealth,
    Parent,
    Pose,
    Result,
    ScoredLabel,
    Segment,
    SourceHealth,
    State,
    Value,
)
from tests.broker import Broker
from tests.client.test_snapshots import messages
from tests.publisher import servers

TS, BOOT, SHA = "2026-11-25T08:45:12.345Z", "9f2c1a", "eac9143a"
P = "edge-infer/gate-3"
FACE = DetectedObject("face", 0.91, (0.0, 0.1, 0.5, 0.9))
RESULT = Result(1, TS, BOOT, 7, "m@1", SHA, "detection", ms=12.3, objects=(FACE,))


def say(port: int, topic: str, payload: bytes) -> None:
    client = mqtt.Client(CallbackAPIVersion.VERSION2)
    client.connect("127.0.0.1", port)
    client.loop_start()
    client.publish(topic, payload, qos=1, retain=True).wait_for_publish(10)
    client.disconnect()
    client.loop_stop()


def watch(*words: object, seconds: float = 1) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "edge_infer", "watch", *map(str, words), "--seconds", str(seconds)]
    return subprocess.run(command, capture_output=True, text=True, timeout=30, check=False)


def test_lines_for_people(broker: Broker) -> None:
    say(broker.port, f"{P}/status", b"online")
    say(broker.port, f"{P}/door/result", dumps(RESULT))
    done = watch("--host", "127.0.0.1", "--port", broker.port)
    assert done.returncode == 0
    assert "online" in done.stdout
    assert "face 0.91" in done.stdout
    assert "\x1b" not in done.stdout, "colour is for terminals"


def test_json_lines_for_programs(broker: Broker) -> None:
    say(broker.port, f"{P}/status", b"online")
    say(broker.port, f"{P}/door/result", dumps(RESULT))
    done = watch("--host", "127.0.0.1", "--port", broker.port, "--topic", f"{P}/+/result", "--json")
    (line,) = done.stdout.splitlines()
    assert json.loads(line) == {"topic": f"{P}/door/result", "payload": encode(RESULT)}


def test_a_payload_of_brackets_without_end_is_a_text(broker: Broker) -> None:
    deep = b"[" * 100_000
    say(broker.port, "edge-infer/hall/door/result", deep)
    done = watch("--json", "--host", "127.0.0.1", "--port", broker.port)
    assert json.loads(done.stdout)["payload"] == deep.decode()


@pytest.mark.parametrize("words", [("--json",), ()], ids=["JSON", "lines"])
def test_it_goes_on_after_messages_that_are_none(words: tuple[str, ...]) -> None:
    def publish(topic: bytes, payload: bytes) -> bytes:
        length = len(topic) + len(payload) + 2
        return bytes([0x30, length % 128 | 128, length // 128 % 128 | 128, length // 16384]) + b"\0" + bytes(
            [len(topic)]
        ) + topic + payload  # fmt: skip

    deep = (b"[" * 100_000, b'{"a":' * 50_000, *(b"[" * depth + b"]" * depth for depth in range(970, 1000)))
    packets = [publish(b"edge-infer/evil/info", payload) for payload in deep]
    packets += [b"\x90\x02\x00\x07", publish(b"edge-infer/\xff\xfe/info", b"1"), publish(b"a/b/status", b"online")]
    with servers.Server(servers.subscribed(packets)) as server:
        done = watch("--host", "127.0.0.1", "--port", server.port, *words, seconds=3)
    assert (done.returncode, done.stderr) == (0, "")
    lines = done.stdout.splitlines()
    assert len(lines) == len(deep) + 2
    assert ("not UTF-8" in lines[-2], "online" in lines[-1]) == (True, True)


def test_a_broker_that_floods_is_told() -> None:
    with servers.Server(servers.subscribed([b"\x34\x06\x00\x01a\x00\x07\x31"] * 100)) as server:
        done = watch("--host", "127.0.0.1", "--port", server.port, seconds=2)
    assert done.returncode == 1
    assert (
        "sends a flood of packets: it sent a message with QoS 2, although this client subscribed with QoS 1"
        in done.stderr
    )


def test_the_broker_of_a_configuration(broker: Broker, tmp_path: Path) -> None:
    config = tmp_path / "config.yaml"
    config.write_text(f"device: {{id: gate-3}}\nmqtt: {{host: 127.0.0.1, port: {broker.port}}}\n")
    say(broker.port, f"{P}/status", b"online")
    say(broker.port, "edge-infer/other/status", b"online")
    assert len(watch("-c", config, "--json").stdout.splitlines()) == 1


def test_a_configuration_may_name_the_broker_by_a_variable_and_be_wrong_elsewhere(
    broker: Broker, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("BROKER", "127.0.0.1")
    config = tmp_path / "config.yaml"
    config.write_text(f"mqtt: {{host: '${{BROKER}}', port: {broker.port}}}\ndevice: {{id: gate-3}}\npipeline: {{}}\n")
    say(broker.port, f"{P}/status", b"online")
    assert len(watch("-c", config, "--json").stdout.splitlines()) == 1
    config.write_text("mqtt: {qos: 2}\npipeline: {}\n")
    done = watch("-c", config)
    assert done.returncode == 2
    assert f"{config}:1: mqtt.qos" in done.stderr
    assert "pipeline" not in done.stderr


def test_a_broker_that_says_nothing_is_told() -> None:
    with servers.Server(servers.silent) as server:
        done = watch("--host", "127.0.0.1", "--port", server.port, seconds=20)
    assert done.returncode == 1
    assert "accepts connections and sends nothing" in done.stderr


def test_nothing_received_is_a_failure(broker: Broker) -> None:
    done = watch("--host", "127.0.0.1", "--port", broker.port, "--topic", "quiet")
    assert (done.returncode, done.stdout) == (1, "")
    told = "nothing was received on quiet in 1 s: nothing was published there, or the broker lets"
    assert done.stderr == f"{told} clients without a user name read nothing there\n"


def test_a_user_who_may_read_nothing_is_named(tmp_path: Path) -> None:
    """As the user of a device, with the rights that docs/recipes.md gives it."""
    (tmp_path / "acl").write_text("topic write edge-infer/#\nuser gate-3\ntopic write edge-infer/gate-3/#\n")
    with Broker(tmp_path, f"acl_file {tmp_path / 'acl'}") as broker:
        say(broker.port, f"{P}/status", b"online")
        for words in ((), ("--complete",)):
            done = watch("--host", "127.0.0.1", "--port", broker.port, "--username", "gate-3", *words)
            assert (done.returncode, done.stdout) == (1, "")
            assert done.stderr.endswith("or the broker lets user 'gate-3' read nothing there\n")


def test_a_broker_that_is_absent_or_refuses_is_told(tmp_path: Path) -> None:
    assert "nothing listens on 127.0.0.1:9" in watch("--host", "127.0.0.1", "--port", 9).stderr
    (tmp_path / "passwords").touch()
    with Broker(tmp_path, f"password_file {tmp_path}/passwords", "allow_anonymous false") as broker:
        done = watch("--host", "127.0.0.1", "--port", broker.port, seconds=5)
    assert done.returncode == 1
    assert "not authorised" in done.stderr


ODD = Anomaly(3.5, 2.0, "anomalous")
READ = (Value("level", 4.2, "l"), Value("angle", None, "°", implausible=True))


def test_a_strip_is_the_picture_from_left_to_right() -> None:
    right = DetectedObject("mask", 0.5, (0.45, 0.0, 1.0, 1.0))
    both = Result(1, TS, BOOT, 7, "m@1", SHA, "detection", objects=(FACE, right))
    assert strip(both, 10) == "ffffffmmmm"
    assert strip(Result(1, TS, BOOT, 7, "m@1", SHA, "detection", objects=()), 10) == "." * 10


@pytest.mark.parametrize(
    ("topic", "record", "part"),
    [
        ("door/result", RESULT, "face 0.91  12 ms"),
        ("door/result", Result(1, TS, BOOT, 7, "m@1", SHA, "detection", objects=(), replay=True), "nothing  late"),
        (
            "door/result",
            Result(1, TS, BOOT, 7, "m@1", SHA, "classification", classes=(ScoredLabel("cat", 0.8),), more=2),
            "cat 0.80 and 2 more",
        ),
        (
            "door/result",
            Result(1, TS, BOOT, 7, "m@1", SHA, "classification", classes=(ScoredLabel("hat", 0.8),),
                   parent=Parent("door", "face", 0.9, (0.1, 0.2, 0.3, 0.4), 3)),
            "face #3: hat 0.80",
        ),
        (
            "door/result",
            Result(1, TS, BOOT, 7, "m@1", SHA, "pose", poses=(Pose(0.81, ((0.1, 0.2, 0.9),)), Pose(0.5, ()))),
            "pose 0.81, pose 0.50",
        ),
        (
            "door/result",
            Result(1, TS, BOOT, 7, "m@1", SHA, "segmentation", segments=(Segment("road", 0.43),)),
            "road 43%",
        ),
        ("door/result", Result(1, TS, BOOT, 7, "m@1", SHA, "anomaly", anomaly=ODD), "anomalous 3.5 (limit 2)"),
        ("door/result", Result(1, TS, BOOT, 7, "m@1", SHA, "regression", values=READ), "level 4.2 l, angle impl"),
        ("door/state", State(1, TS, BOOT, "m@1", SHA, anomaly=ODD), "now: anomalous 3.5"),
        ("door/state", State(1, TS, BOOT, "m@1", SHA, values=READ), "now: level 4.2 l, angle implausible"),
        ("door/state", State(1, TS, BOOT, "m@1", SHA, counts={"face": 2}), "now: 2 face"),
        ("door/state", State(1, TS, BOOT, "m@1", SHA, counts=None, reason="source_lost"), "now: unknown: source lost"),
        ("door/state", State(1, TS, BOOT, "m@1", SHA, class_="cat"), "now: cat"),
        ("door/state", State(1, TS, BOOT, "m@1", SHA, class_=None), "now: nothing"),
        ("door/event", Event(1, TS, BOOT, 1, "enter", label="person", zone="drive"), "event: enter person drive"),
        (
            "door/event",
            Event(1, TS, BOOT, 1, "leave", label="person", id=4, score=0.914, reason="stopped", replay=True),
            "event: leave person #4 0.91 stopped late",
        ),
        ("config", ConfigStatus("rejected", "0" * 64, TS, ("a.yaml:1: x", "y")), "rejected: a.yaml:1: x (and 1 more)"),
        (
            "health",
            Health(
                1, TS, BOOT, {}, {"cam": SourceHealth("lost", 0)}, OutboxHealth(3, 9, 5, {"full": 2}, degraded=False),
                EgressHealth(0), BoardHealth(0.25, None, 55.0, throttled=True),
            ),
            "cam lost; 5 delivered, 3 pending, 2 lost; cpu 25 %, 55 °C; throttled",
        ),
    ],
)  # fmt: skip
def test_every_kind_has_a_line(topic: str, record: object, part: str) -> None:
    assert part in Painter(color=False).line(f"{P}/{topic}", dumps(record))


@pytest.mark.parametrize("payload", [b"\x1b[2J{", b'{"v":9}', b"\xff\xfe", b""])
def test_what_is_none_of_ours_cannot_steer_the_terminal(payload: bytes) -> None:
    line = Painter(color=False).line(f"{P}/door/result", payload)
    assert line.isprintable()


@pytest.mark.parametrize("port", ["0", "99999", "-1", "http"])
def test_a_port_that_there_is_none_of_is_a_usage_error(port: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["watch", "--host", "127.0.0.1", f"--port={port}"])
    assert ended.value.code == 2
    assert f"expected a port between 1 and 65535, not '{port}'" in capsys.readouterr().err


def test_complete_names_what_is_missing(broker: Broker) -> None:
    for device, pipelines, kept in (("gate-3", ["door"], ["door"]), ("gate-4", ["door", "yard"], ["yard"])):
        for topic, payload in messages(device, pipelines):
            if "/state" not in topic or topic.split("/")[2] in kept:
                say(broker.port, topic, payload)
    done = watch("--host", "127.0.0.1", "--port", broker.port, "--complete", seconds=20)
    assert (done.returncode, done.stderr) == (1, "")
    assert done.stdout.splitlines() == [
        "gate-3: complete, 6 topics",
        "gate-4: INCOMPLETE, 6 of 7 topics; missing: door/state",
    ]
    say(broker.port, "edge-infer/gate-4/door/state", dumps(State(1, TS, BOOT, "m@1", SHA, counts={})))
    done = watch("--host", "127.0.0.1", "--port", broker.port, "--complete", "--json", seconds=20)
    assert done.returncode == 0
    assert {name: each["complete"] for name, each in json.loads(done.stdout).items()} == {
        "gate-3": True,
        "gate-4": True,
    }


def test_complete_needs_devices_and_no_topic(broker: Broker) -> None:
    done = watch("--host", "127.0.0.1", "--port", broker.port, "--complete", seconds=2)
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.startswith("nothing was received on edge-infer/+/#: nothing was published there, or the broker")
    done = watch("--host", "127.0.0.1", "--port", broker.port, "--complete", "--topic", "x")
    assert (done.returncode, "remove --topic" in done.stderr) == (2, True)
