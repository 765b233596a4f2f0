"""The small parts: back-off, retained values, the board, and sentences that name the remedy."""

from __future__ import annotations

import random
import socket
import ssl
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from edge_infer.contract.codec import decode_json
from edge_infer.contract.messages import State
from edge_infer.contract.topics import ONLINE, RULES, STATUS, Place, announced
from edge_infer.errors import StartError
from edge_infer.plan.credentials import broker_password
from edge_infer.plan.records import TlsPlan
from edge_infer.platform.rate_limits import ByteBucket, LogThrottle
from edge_infer.publisher.egress import Egress
from edge_infer.publisher.health import Board
from edge_infer.publisher.mqtt.connection_failure import denial, explain, refusal
from edge_infer.publisher.mqtt.paho_client import Attempt, ConnectOptions
from edge_infer.publisher.mqtt.reconnect import Backoff
from edge_infer.publisher.state.retained import Retained, RetainedTopicRegistry
from edge_infer.publisher.state.unknown_states import States
from edge_infer.publisher.timestamps import kept, seconds
from tests.broker import eventually
from tests.publisher import servers
from tests.publisher.samples import mqtt_plan, plan, state


def test_backoff_grows_within_its_bounds_and_starts_again() -> None:
    backoff = Backoff(random.Random(7))
    passing = [backoff.failed() for _ in range(200)]
    assert all(0.25 <= pause <= 5.0 for pause in passing)
    assert passing[0] <= 0.5
    refused = [backoff.failed(refused=True) for _ in range(200)]
    assert all(2.5 <= pause <= 30.0 for pause in refused)
    assert refused[0] <= 5.0
    assert max(refused) > 20.0
    backoff.reset()
    assert backoff.failed() <= 0.5


def test_retained_values_do_not_queue_and_the_birth_is_first() -> None:
    retained = Retained()
    for count in (b"1", b"2"):
        retained.set(Place("state", "door"), count)
    retained.set(Place("health"), b"h")
    retained.set(STATUS, ONLINE)
    order = []
    while value := retained.next(()):
        order.append(value)
    assert order == [(STATUS, ONLINE), (Place("state", "door"), b"2"), (Place("health"), b"h")]
    retained.again()
    assert retained.next(()) == (STATUS, ONLINE)


def test_a_cleared_topic_is_said_until_it_is_heard() -> None:
    retained, place = Retained(), Place("state", "door")
    retained.set(place, b"1")
    retained.set(place, b"")
    assert retained.next(()) == (place, b"")
    retained.again()
    assert retained.next(()) == (place, b"")
    retained.acked(place, b"")
    retained.again()
    assert retained.next(()) is None


def test_a_last_value_is_heard_before_its_topic_is_cleared() -> None:
    retained, place = Retained(), Place("state", "door")
    retained.set(place, b"1")
    assert retained.next(()) == (place, b"1")  # under way while the pipeline is removed
    retained.retire(place, b"removed")
    assert place not in retained
    assert retained.clearing() == (place,)
    assert retained.values() == {place: b""}
    retained.acked(place, b"1")
    assert retained.next(()) == (place, b"removed")
    retained.again()
    assert retained.next(()) == (place, b"removed")
    retained.acked(place, b"removed")
    assert retained.next(()) == (place, b"")
    retained.acked(place, b"")
    assert retained.places() == ()


def test_a_pipeline_that_comes_back_in_time_is_not_cleared() -> None:
    retained, place = Retained(), Place("state", "door")
    retained.retire(place, b"removed")
    assert retained.next(()) == (place, b"removed")
    retained.set(place, b"2")
    retained.acked(place, b"removed")
    assert retained.next(()) == (place, b"2")
    assert retained.next(()) is None


def test_a_last_value_that_may_not_be_sent_is_left_out() -> None:
    retained, place = Retained(), Place("state", "door")
    retained.retire(place, b"removed")
    retained.next(())
    retained.forget(place)
    assert retained.next(()) == (place, b"")


def test_a_state_that_was_not_said_for_long_is_said_again() -> None:
    now = [0.0]
    retained = Retained(clock=lambda: now[0])
    retained.set(Place("state", "door"), b"1")
    retained.set(Place("info"), b"i")
    while retained.next(()):
        now[0] += 1
    now[0] = 100.0
    retained.refresh("state", 60.0)
    assert retained.next(()) == (Place("state", "door"), b"1")
    assert retained.next(()) is None


def test_topics_are_those_of_the_contract() -> None:
    base = "edge-infer/gate-3"
    assert [Place(kind).topic(base) for kind in ("status", "info", "config", "health")] == [
        f"{base}/{kind}" for kind in ("status", "info", "config", "health")
    ]
    assert Place("result", "door").topic(base) == f"{base}/door/result"
    assert announced("model/faces") == Place("model", "faces")
    assert announced("model/faces").topic(base) == f"{base}/model/faces"
    assert [kind for kind, rule in RULES.items() if not rule.retained] == ["event", "result"]


def write(root: Path, name: str, text: str) -> None:
    (root / name).parent.mkdir(parents=True, exist_ok=True)
    (root / name).write_text(text)


def test_a_board_tells_what_it_has(tmp_path: Path) -> None:
    write(tmp_path, "proc/stat", "cpu  100 0 100 800 0 0 0 0 0 0\n")
    board = Board(tmp_path)
    write(tmp_path, "proc/stat", "cpu  150 0 150 900 0 0 0 0 0 0\n")
    write(tmp_path, "proc/meminfo", "MemTotal: 1000 kB\nMemFree: 1 kB\nMemAvailable: 400 kB\n")
    write(tmp_path, "sys/class/thermal/thermal_zone0/temp", "48312\n")
    write(tmp_path, "sys/class/thermal/thermal_zone1/temp", "off\n")
    write(tmp_path, "sys/devices/platform/soc/soc:firmware/get_throttled", "50005\n")
    health = board.read()
    assert (health.cpu, health.memory, health.temperature, health.throttled) == (0.5, 0.6, 48.3, True)
    write(tmp_path, "sys/devices/platform/soc/soc:firmware/get_throttled", "50000\n")
    assert board.read().throttled is False


def test_a_board_that_tells_nothing(tmp_path: Path) -> None:
    health = Board(tmp_path).read()
    assert (health.cpu, health.memory, health.temperature, health.throttled) == (None, None, None, None)


def test_names_are_remembered_as_soon_as_the_disk_takes_them(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    wanted = plan(mqtt_plan(1883), pipelines=("door", "yard"), state_dir=str(tmp_path / "full"))
    memory = RetainedTopicRegistry()
    memory.save(wanted, ())
    memory.save(wanted, ())
    assert [record.message.partition(" cannot")[0] for record in caplog.records] == [
        f"{tmp_path}/full/publisher/topics.json"
    ]
    (tmp_path / "full").mkdir()
    memory.save(wanted, ())
    assert Place("state", "yard") in RetainedTopicRegistry().load(wanted)


def test_another_name_after_a_restart_is_told_with_what_stays(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    RetainedTopicRegistry().save(plan(mqtt_plan(1883), state_dir=str(tmp_path)), ())
    moved = plan(mqtt_plan(1883, topic="site/gate-3"), state_dir=str(tmp_path))
    memory = RetainedTopicRegistry()
    assert memory.load(moved) == {}
    memory.save(moved, ())
    assert memory.load(moved)
    (told,) = caplog.messages
    assert told == (
        "the broker 127.0.0.1:1883 keeps the retained messages below edge-infer/gate-3/#; clear them with "
        "mosquitto_sub -h 127.0.0.1 -p 1883 -W 5 --remove-retained -t 'edge-infer/gate-3/#'"
    )


def test_the_broker_that_keeps_topics_is_the_one_before(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    before = mqtt_plan(8883, host="old.lan", username="edge", tls=TlsPlan("/ca.pem", None, None))
    RetainedTopicRegistry().save(plan(before, state_dir=str(tmp_path)), ())
    RetainedTopicRegistry().load(plan(mqtt_plan(1883, topic="site/gate-3"), state_dir=str(tmp_path)))
    (told,) = caplog.messages
    assert told.startswith("the broker old.lan:8883 keeps")
    assert told.endswith(
        "mosquitto_sub -h old.lan -p 8883 -W 5 --remove-retained -t 'edge-infer/gate-3/#', and add its user and "
        "password (-u, -P) and its authority (--cafile)"
    )


def test_a_bucket_holds_ten_seconds_and_is_never_overdrawn_by_more_than_one() -> None:
    now = [0.0]
    bucket = ByteBucket(100, clock=lambda: now[0])
    assert bucket.pause() == 0.0
    bucket.take(1100)
    assert bucket.pause() == pytest.approx(1.01)
    now[0] = 2.0
    assert bucket.pause() == 0.0
    now[0] = 1000.0
    for _ in range(10):
        assert bucket.pause() == 0.0
        bucket.take(100)
    assert bucket.pause() > 0.0
    bucket.set_rate(1000)
    now[0] = 1001.0
    assert bucket.pause() == 0.0


def test_log_lines_are_limited() -> None:
    now = [0.0]
    rarely = LogThrottle(60.0, clock=lambda: now[0])
    assert [rarely.due("a"), rarely.due("a"), rarely.due("b")] == [True, False, True]
    now[0] = 61.0
    assert rarely.due("a")


@pytest.mark.parametrize(
    ("error", "part"),
    [
        (ConnectionRefusedError(), "start the broker, or check mqtt.host and mqtt.port"),
        (TimeoutError("timed out"), "check mqtt.host, mqtt.port and the network"),
        (OSError(113, "No route to host"), "not reachable (No route to host)"),
        (socket.gaierror(-2, "Name or service not known"), "check mqtt.host and the name server"),
        (OSError(5, "Input/output error"), "failed: Input/output error"),
        (ssl.SSLError(1, "[SSL: WRONG_VERSION_NUMBER] wrong version number"), "no TLS with"),
        (StartError("mqtt.password_file /x cannot be read: No such file"), "mqtt.password_file /x"),
    ],
)
def test_every_fault_has_a_sentence(error: BaseException, part: str) -> None:
    assert part in explain(error, mqtt_plan(1883), "now").text


@pytest.mark.parametrize("code", range(0x80, 0xA3))
def test_every_refusal_has_a_sentence(code: int) -> None:
    trouble = refusal(code, "Some name", mqtt_plan(1883))
    assert "the broker 127.0.0.1:1883 refuses the connection: " in trouble.text
    assert "{" not in trouble.text
    assert len(denial(code, "Some name", "a/b", mqtt_plan(1883))) < 500


def test_a_denial_names_what_has_to_be_allowed() -> None:
    plan = mqtt_plan(1883)
    assert f"allow publishing to {plan.topic}/# in" in denial(0x87, "", f"{plan.topic}/door/state", plan)
    for topic in ("homeassistant/device/edge-infer_gate/config", f"{plan.topic}-2/status"):
        assert f"allow publishing to {topic} in" in denial(0x87, "", topic, plan)


def test_a_refused_version_says_nothing_about_the_other() -> None:
    trouble = refusal(0x84, "Unsupported protocol version", mqtt_plan(1883))
    assert trouble.other_version
    assert trouble.text.endswith("it does not accept this version of MQTT: edge-infer needs 5 or 3.1.1")


def test_a_password_file(tmp_path: Path) -> None:
    file = tmp_path / "mqtt.pass"
    wanted = mqtt_plan(1883, password_file=str(file))
    assert broker_password(mqtt_plan(1883)) is None
    file.write_text("with space \n")
    assert broker_password(wanted) == "with space "
    file.write_bytes(b"\xef\xbb\xbfby Notepad\r\n")
    assert broker_password(wanted) == "by Notepad"
    for content in (b"", b"\n", b"\xff\xfe", b"x" * 5000, b"edge\nsecret\n", b"secret\n\n"):
        file.write_bytes(content)
        with pytest.raises(StartError, match=str(file)):
            broker_password(wanted)
    file.unlink()
    with pytest.raises(StartError, match="cannot be read: No such file"):
        broker_password(wanted)


def open_files() -> int:
    return len(list(Path("/proc/self/fd").iterdir()))


def test_an_attempt_that_is_abandoned_leaves_nothing_open() -> None:
    before = open_files()
    with servers.Server(servers.silent) as server:
        attempt = Attempt(mqtt_plan(server.port), ConnectOptions())
        attempt.close()
        attempt.close()
        eventually(lambda: "dial" not in {thread.name for thread in threading.enumerate()}, "end of the thread")
    eventually(lambda: open_files() <= before, "closed files")


def test_the_publisher_loads_nothing_that_knows_frames() -> None:
    code = (
        "import sys, edge_infer.publisher.__main__, edge_infer.publisher.process"
        ", edge_infer.publisher.outbox.entry;"
        "print(sorted({name.partition('.')[0] for name in sys.modules}))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert "'paho'" in done.stdout
    for name in ("numpy", "cv2", "pydantic", "yaml", "ai_edge_litert", "tflite_runtime"):
        assert f"'{name}'" not in done.stdout


def test_what_is_not_known_is_said_again_as_of_now_and_what_is_known_is_not() -> None:
    now = [0.0]
    wanted, retained, egress = plan(mqtt_plan(1883), pipelines=("door", "yard")), Retained(), Egress()
    egress.apply(wanted)
    states = States(retained, egress, clock=lambda: now[0])
    states.apply(wanted)
    states.update("door", state(1), 100.0)
    time.sleep(0.01)
    before = retained.values()
    now[0] = 59.0
    states.again(60.0)
    assert retained.values() == before
    now[0] = 61.0
    states.again(60.0)
    after = retained.values()
    assert after[Place("state", "door")] == before[Place("state", "door")]
    old, new = (decode_json(State, kept(values[Place("state", "yard")])[1]) for values in (before, after))
    assert (new.counts, new.reason) == (None, "starting")
    assert abs(seconds(str(new.since)) - seconds(str(old.since))) < 0.003
    states.all_null("starting")
    last = decode_json(State, kept(retained.values()[Place("state", "yard")])[1])
    assert abs(seconds(str(last.since)) - seconds(str(old.since))) < 0.003, "it has not been known since then"
    states.all_null("engine_failed")
    failed = decode_json(State, kept(retained.values()[Place("state", "yard")])[1])
    assert (failed.reason, failed.since) == ("engine_failed", failed.ts)
    assert new.ts > old.ts
