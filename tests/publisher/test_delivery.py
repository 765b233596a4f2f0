"""What a subscriber gets: birth, retained topics, results in order, the end; and what a fault does to it."""

from __future__ import annotations

import signal
import time
from pathlib import Path

from edge_infer.contract.codec import decode, encode, loads, replace
from edge_infer.contract.messages import PAYLOADS, ConfigStatus, Health, ModelStatus, SourceHealth
from edge_infer.ipc.messages import (
    Announce,
    ApplyPlan,
    EarlierPlan,
    EngineDown,
    EngineHello,
    EngineUp,
    StateSnapshot,
    Tally,
)
from edge_infer.platform.clock import uptime
from edge_infer.publisher.process import ACKS_AFTER, ACKS_WITHIN
from tests.broker import Broker, Subscriber, free_port
from tests.publisher.room import Room
from tests.publisher.samples import BOOT, SHA, TS, P, engine_report, model_plan, mqtt_plan, plan, result, state


def test_birth_states_and_results_of_a_quiet_day(broker: Broker, room: Room) -> None:
    with Subscriber(broker.port) as subscriber:
        room.start(plan(mqtt_plan(broker.port)))
        room.wait_connected()
        assert subscriber.wait(f"{P}/status").payload == b"online"
        starting = subscriber.wait(f"{P}/door/state").value
        assert (starting["counts"], starting["reason"], starting["sha"]) == (None, "starting", SHA[:8])
        room.say(StateSnapshot("door", state(2)))
        told = subscriber.wait(f"{P}/door/state", lambda heard: heard.value["counts"] == {"face": 2})
        assert told.properties.MessageExpiryInterval in range(170, 181)
        assert told.properties.ContentType == "application/json"
        for seq in range(1, 101):
            room.hand_over(result(seq))
        room.wait_acked(100)
        heard = [decode(PAYLOADS["result"], one.value) for one in subscriber.first(100, f"{P}/door/result")]
        assert heard == [result(seq) for seq in range(1, 101)]
        assert room.stop() == 0
        assert subscriber.wait(f"{P}/status", lambda heard: heard.payload == b"offline")
        assert subscriber.heard[-1].topic == f"{P}/status"
        assert subscriber.on(f"{P}/door/state")[-1].value["reason"] == "stopped"


def test_one_acknowledgement_covers_many_results(broker: Broker, room: Room) -> None:
    room.start(plan(mqtt_plan(broker.port)))
    room.wait_connected()
    moment = time.monotonic()
    for seq in range(1, 301):
        room.hand_over(result(seq))
    room.wait_acked(300)
    assert room.acks <= 300 / ACKS_AFTER + (time.monotonic() - moment) / ACKS_WITHIN + 1
    acks = room.acks
    room.hand_over(result(301))
    room.wait_acked(301)  # a single one is not held back for long
    assert room.acks == acks + 1


def test_health_follows_the_connection(broker: Broker, room: Room) -> None:
    with Subscriber(broker.port) as subscriber:
        room.start(plan(mqtt_plan(broker.port)))
        room.tell(engine_report())
        health = decode(Health, subscriber.wait(f"{P}/health").value)
        assert health.boot == BOOT
        assert health.pipelines["door"].produced == 7
        assert health.sources["cam"].state == "ok"
        assert health.outbox.lost == {}
        assert health.board.memory is not None


def test_what_an_engine_writes_into_its_report_does_not_leave(broker: Broker, room: Room) -> None:
    report, text = engine_report(), "aW1hZ2U="
    door = replace(report.pipelines["door"], error=text)
    report = replace(report, pipelines={"door": door, text[:6]: door}, sources={"cam": SourceHealth("lost", 0, text)})
    with Subscriber(broker.port) as subscriber:
        room.start(plan(mqtt_plan(broker.port)))
        room.tell(report)
        health = subscriber.wait(f"{P}/health")
        assert (list(health.value["pipelines"]), health.value["sources"]["cam"]["state"]) == (["door"], "lost")
        assert text[:6].encode() not in health.payload


def test_everything_retained_is_said_anew_on_each_connect(tmp_path: Path, room: Room) -> None:
    with Broker(tmp_path) as broker:
        room.start(plan(mqtt_plan(broker.port)))
        room.tell(Announce("config", encode(ConfigStatus("applied", "0" * 64, TS))))
        room.tell(Announce("model/faces", encode(ModelStatus("active", "1.0.0", SHA[:8]))))
        room.tell(engine_report())
        room.say(StateSnapshot("door", state(1)))
        room.wait_connected()
        with Subscriber(broker.port) as subscriber:
            subscriber.wait(f"{P}/health")
        broker.stop(signal.SIGKILL)
        room.wait(lambda: room.report and not room.report.connected, "end of the connection")
        broker.start()  # an empty one: nothing was saved
        with Subscriber(broker.port) as subscriber:
            topics = ("status", "config", "model/faces", "door/state", "health")
            found = {topic: subscriber.wait(f"{P}/{topic}") for topic in topics}
        assert found["door/state"].value["counts"] == {"face": 1}
        assert found["status"].payload == b"online"


def test_what_waited_over_an_outage_comes_in_order_and_says_so(tmp_path: Path, room: Room) -> None:
    with Broker(tmp_path) as broker:
        room.start(plan(mqtt_plan(broker.port)))
        room.wait_connected()
        room.hand_over(result(1))
        room.wait_acked(1)
        broker.stop()
        room.wait(lambda: room.report and not room.report.connected, "end of the connection")
        for seq in range(2, 52):
            room.hand_over(result(seq))
        room.wait(lambda: room.report and room.report.outbox.pending == 50, "50 waiting")
        broker.start()
        with Subscriber(broker.port) as subscriber:
            room.wait_acked(51)
            room.hand_over(result(52))
            subscriber.wait(f"{P}/door/result", lambda heard: heard.value["seq"] == 52)
            heard = [one.value for one in subscriber.on(f"{P}/door/result")]
    seqs = [value["seq"] for value in heard]
    assert seqs == sorted(seqs)
    assert all(value.get("replay") is True for value in heard if value["seq"] < 52)
    assert "replay" not in heard[-1]
    assert room.report
    assert room.report.outbox.lost == {}


def test_what_waits_of_an_earlier_configuration_outlives_the_process(tmp_path: Path, room: Room) -> None:
    mqtt, state_dir = mqtt_plan(free_port()), str(tmp_path / "state")
    Path(state_dir).mkdir()
    room.start(plan(mqtt, ("door", "yard"), state_dir=state_dir))
    room.say(EngineHello(BOOT))
    room.hand_over(result(1))
    room.hand_over(result(1), "yard")
    room.wait_acked(1)
    room.wait_acked(1, "yard")
    room.kill()
    room.start(plan(mqtt, model=model_plan("cats", ("cat",), "1" * 64), state_dir=state_dir))
    with Broker(tmp_path, port=mqtt.port) as broker, Subscriber(broker.port) as subscriber:
        for name in ("door", "yard"):
            assert subscriber.wait(f"{P}/{name}/result").value["sha"] == SHA[:8]
        room.wait(lambda: room.report and room.report.outbox.delivered == 2, "the account")
        assert room.report is not None
        assert room.report.outbox.lost == {}


def _delivers_five_and_is_killed(broker: Broker, room: Room) -> None:
    room.start(plan(mqtt_plan(broker.port)))
    room.wait_connected()
    for seq in range(1, 6):
        room.hand_over(result(seq))
    room.wait_acked(5)
    room.kill()


def test_a_killed_publisher_leaves_its_will_and_a_new_one_goes_on(broker: Broker, room: Room) -> None:
    with Subscriber(broker.port) as subscriber:
        _delivers_five_and_is_killed(broker, room)
        subscriber.wait(f"{P}/status", lambda heard: heard.payload == b"offline")
        for seq in (6, 7, 8):
            room.hand_over(result(seq))  # lies in the channel
        room.greet = False
        room.start(plan(mqtt_plan(broker.port)))
        room.wait(lambda: room.hellos == 2, "greeting")
        room.wait_connected()  # what is handed over before is late
        room.hand_over(result(9))  # said before the engine read the greeting
        room.say(EngineHello(BOOT, (Tally("door", "result", 10, 5),), again=True))
        for seq in range(6, 12):
            room.hand_over(result(seq))
        room.wait_acked(11)
        told = [(one.value["seq"], one.value.get("replay", False)) for one in subscriber.first(11, f"{P}/door/result")]
        live, late = [seq for seq, again in told if not again], [seq for seq, again in told if again]
        assert (live, late) == ([*range(1, 6), 11], [*range(6, 11)])  # a newer one may have passed them before the kill
        assert room.report
        assert room.report.outbox.lost == {}


def test_what_the_broker_has_acknowledged_does_not_come_twice_although_the_engine_sends_it_again(
    broker: Broker, room: Room
) -> None:
    with Subscriber(broker.port) as subscriber:
        _delivers_five_and_is_killed(broker, room)
        room.greet = False
        room.start(plan(mqtt_plan(broker.port)))
        room.wait(lambda: room.hellos == 2, "greeting")
        room.acked.clear()
        room.say(EngineHello(BOOT, (Tally("door", "result", 5, 2),), again=True))  # it did not hear of three of them
        for seq in range(3, 8):
            room.hand_over(result(seq))
        room.wait_acked(7)
        assert [one.value["seq"] for one in subscriber.first(7, f"{P}/door/result")] == [*range(1, 8)]
        room.wait(lambda: room.report and room.report.outbox.delivered == 7, "account of all of them")
        assert room.report
        assert (room.report.outbox.pending, room.report.outbox.lost) == (0, {})


def test_numbers_that_only_a_dead_publisher_had_are_not_counted_as_dropped_by_the_engine(
    broker: Broker, room: Room
) -> None:
    """The engine dies as well, before it has answered the greeting of the next publisher."""
    with Subscriber(broker.port) as subscriber:
        _delivers_five_and_is_killed(broker, room)
        room.greet = False
        room.hand_over(result(8))
        room.start(plan(mqtt_plan(broker.port)))
        room.wait(lambda: room.hellos == 2, "greeting")
        room.tell(EngineDown("engine_failed", BOOT, (Tally("door", "result", 8),)))
        subscriber.wait(f"{P}/door/result", lambda heard: heard.value["seq"] == 8)
        room.wait(
            lambda: room.report and room.report.outbox.produced == 8 and not room.report.outbox.pending, "account"
        )
        assert room.report
        assert room.report.outbox.lost.keys() <= {"unknown"}


def test_results_of_an_engine_that_died_with_the_publisher_are_taken(broker: Broker, room: Room) -> None:
    for seq in (1, 2, 3):
        room.hand_over(result(seq, boot="aaaaaa"))
    with Subscriber(broker.port) as subscriber:
        room.start()
        room.tell(ApplyPlan(plan(mqtt_plan(broker.port))))
        room.tell(EngineDown("engine_failed", "aaaaaa", (Tally("door", "result", 5),)))
        room.tell(EngineUp(BOOT))
        room.wait(lambda: room.report and room.report.outbox.delivered == 3, "delivery")
        assert room.report
        assert (room.report.outbox.produced, room.report.outbox.lost) == (5, {"unknown": 2})
        assert [one.value["boot"] for one in subscriber.first(3, f"{P}/door/result")] == ["aaaaaa"] * 3


def test_labels_of_earlier_configurations_leave_only_in_what_waits(broker: Broker, room: Room, tmp_path: Path) -> None:
    narrow = plan(mqtt_plan(broker.port), state_dir=str(tmp_path))
    wide = plan(narrow.mqtt, model=model_plan(labels=("face", "mask", "cat")), state_dir=str(tmp_path))
    broker.stop()
    room.start(wide)
    room.wait(lambda: room.hellos == 1, "greeting")
    room.hand_over(result(1, label="cat"))
    room.wait_acked(1)  # on the disk
    assert room.stop() == 0
    broker.start()
    with Subscriber(broker.port) as subscriber:
        room.start(narrow)
        room.wait(lambda: room.hellos == 2, "greeting")
        room.hand_over(result(2, label="cat"))
        room.wait(lambda: room.report and room.report.outbox.lost == {"rejected": 1}, "rejection")
        subscriber.wait(f"{P}/door/result")
        assert room.stop() == 0
        room.start()
        room.tell(EarlierPlan(wide, uptime()))  # the engine may not have changed its model yet
        room.tell(ApplyPlan(narrow))
        room.tell(EngineUp(BOOT))
        room.wait(lambda: room.hellos == 3, "greeting")
        room.hand_over(result(3, label="cat"))
        assert [one.value["seq"] for one in subscriber.first(2, f"{P}/door/result")] == [1, 3]


def test_nothing_of_an_engine_is_taken_before_the_supervisor_has_told_of_it(broker: Broker, room: Room) -> None:
    """Between two of its words the supervisor may have to wait for the processor."""
    room.start()
    room.hand_over(result(1, boot="aaaaaa"))
    room.tell(ApplyPlan(plan(mqtt_plan(broker.port))))
    room.wait_connected()
    room.tell(EngineDown("engine_failed", "aaaaaa", (Tally("door", "result", 1),)))
    room.wait(lambda: room.report and room.report.outbox.delivered == 1, "delivery of what the dead one has left")
    room.hand_over(result(1))
    said = len(room.sentences)
    room.wait(lambda: len(room.sentences) > said + 1, "two more reports")
    assert room.hellos == 0
    room.tell(EngineUp(BOOT))
    room.wait(lambda: room.hellos == 1, "greeting")
    room.hand_over(result(1))  # as an engine does that is greeted
    room.wait_acked(1)
    assert room.report
    assert (room.report.egress.rejected, room.report.outbox.lost) == (0, {})


def test_an_engine_that_died_with_the_greeting_is_not_waited_for(broker: Broker, room: Room) -> None:
    room.greet = False
    room.start(plan(mqtt_plan(broker.port)))
    room.wait(lambda: room.hellos == 1, "greeting")
    room.greet = True
    room.tell(EngineDown("engine_failed", BOOT))
    room.hand_over(result(1))
    room.wait(lambda: room.hellos == 2, "second greeting")
    room.hand_over(result(1))
    room.wait_acked(1)


def test_an_engine_that_begins_under_a_publisher_is_greeted_and_knows_that_it_was_heard(
    broker: Broker, room: Room
) -> None:
    room.start(plan(mqtt_plan(broker.port)))
    room.wait(lambda: room.hellos == 1, "greeting")
    room.hand_over(result(1))
    room.wait_acked(1)
    room.tell(EngineDown("engine_failed", BOOT))
    room.tell(EngineUp("bbbbbb"))
    room.wait(lambda: room.hellos == 2, "greeting of the next engine")


def test_gaps_are_counted_and_repetitions_are_not_sent(broker: Broker, room: Room) -> None:
    with Subscriber(broker.port) as subscriber:
        room.start(plan(mqtt_plan(broker.port)))
        room.wait_connected()
        for seq in (1, 2, 2, 1, 7, 7, 8):
            room.hand_over(result(seq))
        room.wait_acked(8)
        room.wait(lambda: room.report and room.report.outbox.lost == {"handover": 4}, "four missed numbers")
        assert [one.value["seq"] for one in subscriber.first(4, f"{P}/door/result")] == [1, 2, 7, 8]


def test_a_boot_that_nobody_started_is_not_taken(broker: Broker, room: Room) -> None:
    with Subscriber(broker.port) as subscriber:
        room.start(plan(mqtt_plan(broker.port)))
        room.wait_connected()
        room.hand_over(result(1, boot="bbbbbb"))
        room.say(StateSnapshot("door", state(2, boot="bbbbbb")))
        room.say(EngineHello("bbbbbb", (Tally("door", "result", 9, 9),)))
        room.hand_over(result(1))
        room.wait_acked(1)
        room.wait(lambda: room.report and room.report.egress.rejected == 3, "three rejects")
        assert room.report
        assert (room.report.outbox.produced, room.report.outbox.lost) == (1, {})
        assert not [heard for heard in subscriber.heard if b"bbbbbb" in heard.payload]


def test_the_byte_rate_holds_back_and_loses_nothing(broker: Broker, room: Room) -> None:
    with Subscriber(broker.port) as subscriber:
        room.start(plan(mqtt_plan(broker.port, max_rate=2048)))
        room.wait_connected()
        began = time.monotonic()
        for seq in range(1, 121):
            room.hand_over(result(seq))
        room.wait(lambda: room.acked.get(("door", BOOT, "result"), 0) >= 120, "acknowledgement of all", 40.0)
        room.wait(lambda: room.report and room.report.outbox.pending == 0, "delivery of all", 40.0)
        took, size = time.monotonic() - began, sum(len(heard.payload) for heard in subscriber.heard)
        assert size <= 2048 * (took + 11.0)
        assert took > 1.0
        assert subscriber.wait(f"{P}/status").payload == b"online"
        assert room.stop() == 0
        subscriber.wait(f"{P}/status", lambda heard: heard.payload == b"offline")


def test_what_does_not_fit_the_schema_or_the_labels_is_never_sent(broker: Broker, room: Room) -> None:
    with Subscriber(broker.port) as subscriber:
        room.start(plan(mqtt_plan(broker.port)))
        room.wait_connected()
        room.hand_over(result(1, label="secret"))
        room.hand_over(result(2, sha="deadbeef"))
        room.hand_over(result(3, model="other@1"))
        room.hand_over(result(4), pipeline="unknown")
        room.hand_over(result(4, objects=40))
        room.hand_over(result(5))
        room.wait_acked(5)
        room.wait(lambda: room.report and room.report.egress.rejected == 5, "five rejects")
        assert room.report
        assert room.report.outbox.lost["rejected"] == 4, "there is no account of an unknown pipeline"
        assert [one.value["seq"] for one in subscriber.on(f"{P}/door/result")] == [5]
        assert not subscriber.on(f"{P}/unknown/result")
    assert "'secret' is not among the labels" in room.log()


def test_a_full_outbox_counts_what_it_drops(room: Room) -> None:
    room.start(plan(mqtt_plan(1)))  # nothing listens there
    room.wait(lambda: room.hellos, "greeting")
    room.listen()
    for seq in range(1, 10_001):
        room.hand_over(result(seq))
    full = room.wait(lambda: room.report and room.report.outbox.lost.get("full") and room.report.outbox, "loss")
    room.wait(
        lambda: room.report and room.report.outbox.pending + room.report.outbox.lost["full"] == 10_000,
        "an even account",
    )
    assert full.bytes <= 4 << 20
    room.wait(lambda: room.acked.get(("door", BOOT, "result"), 0) > 0, "settling of what was lost")


def test_an_engine_that_dies_leaves_no_stale_state(broker: Broker, room: Room) -> None:
    with Subscriber(broker.port) as subscriber:
        room.start(plan(mqtt_plan(broker.port)))
        room.say(StateSnapshot("door", state(2)))
        subscriber.wait(f"{P}/door/state", lambda heard: heard.value["counts"] == {"face": 2})
        room.tell(EngineDown("engine_failed", BOOT))
        failed = subscriber.wait(f"{P}/door/state", lambda heard: heard.value.get("reason") == "engine_failed")
        assert failed.value["counts"] is None
        assert failed.value["boot"] == BOOT


def test_topics_of_what_is_gone_are_cleared(broker: Broker, room: Room) -> None:
    with Subscriber(broker.port) as subscriber:
        room.start(plan(mqtt_plan(broker.port), pipelines=("door", "yard")))
        room.tell(Announce("model/faces", encode(ModelStatus("active", "1.0.0", SHA[:8]))))
        subscriber.wait(f"{P}/yard/state")
        subscriber.wait(f"{P}/model/faces")
        room.tell(ApplyPlan(plan(mqtt_plan(broker.port), model=model_plan("others", sha="f" * 64))))
        subscriber.wait(f"{P}/yard/state", lambda heard: heard.payload == b"")
        subscriber.wait(f"{P}/model/faces", lambda heard: heard.payload == b"")
        last, cleared = subscriber.on(f"{P}/yard/state")[-2:]
        assert (last.value["counts"], last.value["reason"], cleared.payload) == (None, "removed", b"")
        assert len(subscriber.on(f"{P}/status")) == 1, "the connection was kept"
    with Subscriber(broker.port) as later:
        later.wait(f"{P}/door/state")
        assert not later.on(f"{P}/yard/state")


def test_topics_of_what_was_removed_while_nothing_ran_are_cleared(tmp_path: Path, broker: Broker, room: Room) -> None:
    before = plan(mqtt_plan(broker.port), pipelines=("door", "yard"), state_dir=str(tmp_path))
    after = plan(mqtt_plan(broker.port), state_dir=str(tmp_path))
    room.start(before)
    room.wait_connected()
    assert room.stop() == 0
    broker.stop()
    room.start(after)  # the broker does not hear of it
    room.wait_told("nothing listens")
    assert room.stop() == 0
    broker.start()
    with Subscriber(broker.port) as subscriber:
        room.start(before).wait_connected()
        assert room.stop() == 0
        room.start(after).wait_connected()
        subscriber.wait(f"{P}/yard/state", lambda heard: heard.payload == b"")
        assert subscriber.on(f"{P}/yard/state")[-2].value["reason"] == "removed"
        assert room.stop() == 0
    assert loads((tmp_path / "publisher/topics.json").read_bytes()) == {
        "topic": "edge-infer/gate-3",
        "places": [["model", "faces"], ["state", "door"]],
        "states": {"door": {"model": "faces@1.0.0", "sha": SHA[:8], "key": "counts"}},
        "broker": {"host": "127.0.0.1", "port": broker.port, "user": False, "tls": False},
    }


def test_what_a_version_before_has_left_is_cleared_without_a_word(tmp_path: Path, broker: Broker, room: Room) -> None:
    """Its file names the pipelines only, so nobody knows what their states were of."""
    (tmp_path / "publisher").mkdir()
    (tmp_path / "publisher/topics.json").write_text('{"topic":"edge-infer/gate-3","places":[["state","yard"]]}')
    with Subscriber(broker.port) as subscriber:
        room.start(plan(mqtt_plan(broker.port), state_dir=str(tmp_path)))
        assert subscriber.wait(f"{P}/yard/state").payload == b""


def test_another_name_at_the_broker_leaves_the_old_one_tidy(broker: Broker, room: Room) -> None:
    moved = mqtt_plan(broker.port, topic="site/gate-3", client_id="other")
    with Subscriber(broker.port) as subscriber:
        room.start(plan(mqtt_plan(broker.port)))
        subscriber.wait(f"{P}/door/state")
        room.tell(ApplyPlan(plan(moved)))
        assert subscriber.wait("site/gate-3/status").payload == b"online"
        assert "settings of the connection changed (topic, client_id): reconnecting" in room.log()
        assert subscriber.wait("site/gate-3/door/state").value["reason"] == "starting"
        room.wait(lambda: room.hellos, "greeting")
        room.hand_over(result(1))
        room.wait_acked(1)
        subscriber.wait("site/gate-3/door/result")
    with Subscriber(broker.port) as later:
        later.wait("site/gate-3/door/state")
        left = {heard.topic: heard.payload for heard in later.heard if heard.topic.startswith(P)}
    assert left == {f"{P}/status": b"offline"}


def test_topics_that_stay_behind_at_a_broker_that_is_away_are_told(room: Room) -> None:
    port = free_port()
    room.start(plan(mqtt_plan(port)))
    room.wait_told("nothing listens")
    room.tell(ApplyPlan(plan(mqtt_plan(port, topic="site/gate-3"))))
    room.wait(lambda: f"retained messages below {P}/#" in room.log(), "warning")
    assert f"--remove-retained -t '{P}/#'" in room.log()


def test_without_qos_a_message_counts_as_delivered_when_written(broker: Broker, room: Room) -> None:
    with Subscriber(broker.port) as subscriber:
        room.start(plan(mqtt_plan(broker.port, qos=0)))
        room.wait_connected()
        for seq in range(1, 51):
            room.hand_over(result(seq))
        room.wait_acked(50)
        subscriber.wait(f"{P}/door/result", lambda heard: heard.value["seq"] == 50)
        assert room.stop() == 0
        subscriber.wait(f"{P}/status", lambda heard: heard.payload == b"offline")


def test_the_end_of_the_supervisor_is_the_end(broker: Broker, room: Room) -> None:
    with Subscriber(broker.port) as subscriber:
        room.start(plan(mqtt_plan(broker.port)))
        room.wait_connected()
        assert room.control
        assert room.process
        room.control.close()
        room.control = None
        assert room.process.wait(3.0) == 0
        subscriber.wait(f"{P}/status", lambda heard: heard.payload == b"offline")
        assert subscriber.on(f"{P}/door/state")[-1].value["reason"] == "stopped"


def test_a_stop_before_any_configuration_is_quick(room: Room) -> None:
    room.start()
    room.wait(lambda: room.sentences, "report")
    assert room.stop() == 0


def test_that_it_is_online_is_said_again_and_expires(broker: Broker, room: Room) -> None:
    with Subscriber(broker.port) as subscriber:
        room.start(plan(mqtt_plan(broker.port)))
        birth = subscriber.wait(f"{P}/status")
        again = subscriber.wait(f"{P}/status", lambda heard: heard.at > birth.at, deadline=90)
        null = subscriber.wait(f"{P}/door/state", lambda heard: heard.at > birth.at + 50, deadline=30)
        for heard in (birth, again):
            assert heard.payload == b"online"
            assert heard.properties.MessageExpiryInterval in range(170, 181)
            assert heard.properties.ContentType == "text/plain"
        assert null.value["reason"] == "starting"
        assert null.value["ts"] > subscriber.on(f"{P}/door/state")[0].value["ts"]
        room.kill()
        will = subscriber.wait(f"{P}/status", lambda heard: heard.payload == b"offline")
        assert will.properties.ContentType == "text/plain"
        assert not hasattr(will.properties, "MessageExpiryInterval"), "that it is offline stays true"


def test_after_the_end_no_source_is_said_to_be_fine(broker: Broker, room: Room) -> None:
    with Subscriber(broker.port) as subscriber:
        room.start(plan(mqtt_plan(broker.port)))
        room.tell(engine_report())
        running = subscriber.wait(f"{P}/health", lambda heard: heard.value["sources"])
        assert running.value["sources"]["cam"]["state"] == "ok"
        assert running.properties.MessageExpiryInterval in range(170, 181)
        assert room.stop() == 0
        subscriber.wait(f"{P}/status", lambda heard: heard.payload == b"offline")
        last = subscriber.on(f"{P}/health")[-1]
        assert (last.value["sources"], last.value["pipelines"]) == ({}, {})
        assert subscriber.heard.index(last) < len(subscriber.heard) - 1, "it comes before the goodbye"
