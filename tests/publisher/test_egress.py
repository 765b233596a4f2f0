"""The guard: what is in the schema passes byte for byte, everything else is counted and stays."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge_infer.contract.codec import decode_json, dumps, encode, loads, replace
from edge_infer.contract.messages import (
    Answer,
    BoardHealth,
    ConfigStatus,
    DetectedObject,
    EgressHealth,
    Event,
    EventType,
    GovernorHealth,
    Health,
    Info,
    Latency,
    ModelStatus,
    OutboxHealth,
    Parent,
    PipelineHealth,
    PipelineInfo,
    Result,
    ScoredLabel,
    SourceHealth,
    State,
    Value,
)
from edge_infer.contract.topics import OFFLINE, STATUS, Place
from edge_infer.plan.records import CropsPlan, PipelinePlan, Plan, ValuePlan
from edge_infer.publisher.allowed_texts import AllowedWords, ModelWords, PipelineWords, closed
from edge_infer.publisher.egress import Egress
from edge_infer.publisher.outbox.entry import MessageSeries
from edge_infer.publisher.outbox.scheduler import OutboundScheduler
from edge_infer.publisher.outbox.stored_outbox import StoredOutbox
from edge_infer.publisher.state.retained import Retained
from edge_infer.publisher.state.unknown_states import States
from edge_infer.publisher.timestamps import kept
from edge_infer.sandbox.selftest import BUT_SERVICES
from tests.publisher.samples import BOOT, SHA, TS, model_plan, mqtt_plan, plan, result, state

RESULT = Place("result", "door")
STATE = Place("state", "door")


def guard() -> Egress:
    egress = Egress()
    egress.apply(plan(mqtt_plan(1883)))
    return egress


def test_what_fits_passes_twice() -> None:
    egress = guard()
    for place, record in ((RESULT, result(1)), (STATE, state(2)), (Place("event", "door"), event("face"))):
        payload = egress.admit(place, record)
        assert payload == dumps(record)
        assert egress.release(place, payload) == payload
    assert egress.rejected == 0


def event(label: str, kind: EventType = "appear") -> Event:
    return Event(1, TS, BOOT, 1, kind, label=label)


@pytest.mark.parametrize(
    ("place", "record"),
    [
        (RESULT, result(1, label="cat")),
        (RESULT, result(1, sha="00000000")),
        (RESULT, result(1, model="faces@2.0.0")),
        (RESULT, result(1, objects=30)),
        (Place("result", "attic"), result(1)),
        (STATE, State(1, TS, BOOT, "faces@1.0.0", SHA[:8], counts={"cat": 1})),
        (STATE, State(1, TS, BOOT, "faces@1.0.0", SHA[:8], class_="cat")),
        (STATE, State(1, TS, BOOT, "any text at all", "", counts=None, reason="starting")),
        (Place("event", "door"), event("cat")),
        (Place("model", "aW1hZ2U"), ModelStatus("active", "1.0.0", SHA[:8])),
        (Place("info"), {"v": 1, "secret": "x"}),
        (Place("config"), {"state": "applied"}),
        (RESULT, state(1)),
    ],
)
def test_what_does_not_fit_is_counted(place: Place, record: Any) -> None:
    egress = guard()
    assert egress.admit(place, record) is None
    assert egress.release(place, dumps(record)) is None
    assert egress.rejected == 2


def test_a_rejection_with_many_reasons_is_told_with_those_that_fit() -> None:
    egress, place = guard(), Place("config")
    status = ConfigStatus("rejected", "0" * 64, TS, tuple(f"{line}: {'é' * 240}" for line in range(100)))
    payload = egress.admit(place, status)
    assert payload
    assert 15_500 < len(payload) <= 16_384
    said = decode_json(ConfigStatus, payload).errors
    assert said[:-1] == status.errors[: len(said) - 1]
    assert said[-1] == f"and {101 - len(said)} more; edge-infer check prints them all"
    assert egress.release(place, payload) == payload


def test_a_topic_that_was_denied_is_tried_with_one_message_and_keeps_its_order() -> None:
    now = [100.0]
    outbox, egress = StoredOutbox(), guard()
    cargo = OutboundScheduler(Retained(), outbox, egress, lambda: now[0])
    series = MessageSeries("door", BOOT, "result")
    for seq in (1, 2):
        outbox.put(series, seq, egress.admit(RESULT, result(seq)) or b"", late=False)
    both = [cargo.next(1 << 20), cargo.next(1 << 20)]
    for message in both:
        assert message
        cargo.denied(message, "no")
    assert cargo.next(1 << 20) is None
    now[0] += 3600
    first = cargo.next(1 << 20)
    assert first
    assert b'"seq":1,' in first.payload
    assert cargo.next(1 << 20) is None  # which the broker could take after it has denied the first
    cargo.denied(first, "no")
    now[0] += 3600
    first = cargo.next(1 << 20)
    assert first
    cargo.acked(first)
    second = cargo.next(1 << 20)
    assert second
    assert b'"seq":2,' in second.payload


def test_spelling_carries_nothing() -> None:
    egress = guard()
    payload = egress.admit(STATE, state(2))
    assert payload
    spaced = payload.replace(b',"', b' , "')
    twice = payload.replace(b'"v":1', b'"v":1,"model":"anything","v":1')
    assert spaced != payload
    assert egress.release(STATE, spaced) == payload
    assert egress.release(STATE, twice) == payload


def test_labels_of_a_model_that_was_switched_stay_known() -> None:
    egress = guard()
    egress.apply(plan(mqtt_plan(1883), model=model_plan("cats", labels=("cat",), sha="c" * 64)))
    assert egress.admit(RESULT, result(1))
    assert egress.admit(RESULT, result(1, model="cats@1.0.0", sha="c" * 8, label="cat"))
    assert egress.admit(RESULT, result(1, label="cat")) is None, "labels belong to their file"


def cascaded() -> Plan:
    """A second pipeline looks at what the first has found."""
    whole, masks = plan(mqtt_plan(1883)), model_plan("masks", ("mask", "none"), "ab" * 32)
    classifier = replace(masks, task="classification")
    child = PipelinePlan("masks", "masks", classifier, 0.5, crops=CropsPlan("door"))
    return replace(whole, pipelines=(*whole.pipelines, child))


def about(**changes: Any) -> Result:
    parent = replace(Parent("door", "face", 0.9, (0.1, 0.2, 0.3, 0.4), 3, 7), **changes)
    classes = (ScoredLabel("mask", 0.8),)
    return Result(1, TS, BOOT, 1, "masks@1.0.0", "ab" * 4, "classification", classes=classes, parent=parent)


def known_of(*answers: Answer) -> State:
    return State(1, TS, BOOT, "masks@1.0.0", "ab" * 4, counts={"mask": 1}, answers=answers)


def test_what_a_cascade_says_of_its_objects_has_the_labels_of_both() -> None:
    egress, later = Egress(), Egress()
    egress.apply(cascaded())
    later.learn(egress.words())  # what waits may leave after another configuration, from another process
    result_of, state_of = Place("result", "masks"), Place("state", "masks")
    wrong = (
        (result_of, about(label="A. Smith")),
        (result_of, about(pipeline="elsewhere")),
        (state_of, known_of(Answer("A. Smith", 3, class_="mask"))),
        (state_of, known_of(Answer("face", 3, class_="A. Smith"))),
        (state_of, known_of(Answer("face", 3, counts={"A. Smith": 1}))),
    )
    for place, record in (
        (result_of, about()),
        (state_of, known_of(Answer("face", 3, class_="mask"), Answer("face"))),
    ):
        payload = egress.admit(place, record)
        assert payload is not None
        assert [each.release(place, payload) for each in (egress, later)] == [payload] * 2
    assert [egress.admit(place, record) for place, record in wrong] == [None] * len(wrong)
    assert [later.release(place, dumps(record)) for place, record in wrong] == [None] * len(wrong)
    assert (egress.rejected, later.rejected) == (len(wrong), len(wrong))


def test_words_that_an_earlier_process_left_allow_an_engine_nothing() -> None:
    """The operator has removed the label, or a compromised publisher has planted the words."""
    planted = tuple(f"{n:04x}" for n in range(1000))
    door = PipelineWords("door", 10**6, planted, (*planted, "face"), planted, (SHA[:8],))
    egress = Egress()
    egress.learn(AllowedWords((ModelWords(SHA[:8], planted, ("A. Smith",), {"level": 100}),), (door,)))
    egress.recall([("door", event("A. Smith"))])
    egress.apply(plan(mqtt_plan(1883)))
    many = tuple(DetectedObject("face", 0.9, (0.1, 0.1, 0.2, 0.2)) for _ in range(40))
    engine = (
        (RESULT, result(1, label="00ff")),
        (RESULT, result(1, model="A. Smith")),
        (RESULT, replace(result(1), objects=many)),
        (STATE, replace(state(1), counts={"00ff": 1})),
        (Place("event", "door"), event("A. Smith")),
        (Place("event", "door"), event("00ff")),
    )
    assert [egress.admit(place, record) for place, record in engine] == [None] * len(engine)
    assert egress.release(RESULT, dumps(result(1, label="00ff"))), "it may have been admitted under an earlier plan"
    assert egress.admit(Place("event", "door"), event("A. Smith", "leave"), own=True)


def test_the_state_of_a_cascade_is_null_in_the_words_it_says_otherwise() -> None:
    retained, egress = Retained(), Egress()
    egress.apply(cascaded())
    States(retained, egress).apply(cascaded())
    waiting = retained.values()[Place("state", "masks")]
    state_of = decode_json(State, kept(waiting)[1])
    assert (state_of.counts, state_of.reason) == (None, "starting")


def sized(egress: Egress, most: int) -> None:
    made = plan(mqtt_plan(1883))
    egress.apply(replace(made, pipelines=(replace(made.pipelines[0], max_payload=most),)))


def test_each_kind_has_its_limit() -> None:
    egress = Egress()
    sized(egress, 512)
    assert egress.admit(RESULT, result(1, objects=4))
    assert egress.admit(RESULT, result(1, objects=8)) is None, "max_payload is less than usual"
    sized(egress, 4096)
    large = egress.admit(RESULT, result(1, objects=40))
    assert large
    many = State(1, TS, BOOT, "faces@1.0.0", SHA[:8], counts={f"{'x' * 60}{number}": 1 for number in range(20)})
    egress.apply(plan(mqtt_plan(1883), model=model_plan(labels=tuple(many.words()))))
    assert egress.admit(STATE, many) is None, "max_payload is of results"
    assert egress.release(RESULT, large) == large, "it was taken when that much was allowed"


def test_late_ones_say_so_and_still_fit() -> None:
    egress = guard()
    large = result(12345678, objects=16)
    payload = egress.admit(RESULT, large)
    assert payload
    assert 1010 < len(payload) <= 1024
    late = egress.release(RESULT, payload, late=True)
    assert late
    assert len(late) <= 1024
    said = decode_json(Result, late)
    assert (said.replay, said.more, len(said.objects or ())) == (True, 1, 15)


@given(st.binary(max_size=2000))
def test_no_bytes_pass_by_chance(payload: bytes) -> None:
    egress = guard()
    assert egress.release(RESULT, payload) is None
    assert egress.release(STATUS, payload) in (None, b"online", OFFLINE)


@pytest.mark.parametrize("count", [1, 40, 256])
def test_health_and_info_of_many_pipelines_fit(count: int) -> None:
    egress = guard()
    names = [f"{'x' * 50}-{number:03}" for number in range(count)]
    latency = Latency(1234.5, 1234.5, 1234.5)
    pipelines = {name: PipelineHealth(12.34, latency, 123456, 123456) for name in names}
    sources = {name: SourceHealth("starting", 12.34) for name in names}
    outbox, board = OutboxHealth(1, 1, 1, {}, degraded=False), BoardHealth(0.1, 0.1, 50.0, throttled=False)
    governor = GovernorHealth(dict.fromkeys(names, 12.34), "temperature")
    health = Health(1, TS, BOOT, pipelines, sources, outbox, EgressHealth(0), board, governor=governor)
    info = Info(1, TS, BOOT, {}, "a board", "0" * 64, {}, {name: PipelineInfo("cam", "m@1", SHA[:8]) for name in names})
    for place, record in ((Place("health"), health), (Place("info"), info)):
        payload = egress.admit(place, record)
        assert payload
        assert egress.release(place, payload) == payload
        said = loads(payload)
        assert isinstance(said, dict)
        told = len(said["pipelines"]) + len(said.get("sources", ()))
        assert set(said.get("governor", {}).get("limits", ())) <= set(said["pipelines"])
        assert told + said.get("more", 0) == count * (2 if place.kind == "health" else 1)
        assert ("more" in said) == (count == 256)


@pytest.mark.parametrize(
    "objects",
    [
        [{"label": "face", "score": 0.9001, "box": [0.1, 0.2, 0.3, 0.4]}],
        [{"label": "face", "score": 0.9, "box": [0.1, 0.2, 0.3, 0.40001]}],
        [{"label": "face", "score": 0.9, "box": [0.1, 0.2, 0.3, 0.4], "share": 0.123456789}],
    ],
    ids=["score", "box", "share"],
)
def test_digits_that_nobody_needs_carry_nothing(objects: Any) -> None:
    egress, said = guard(), encode(result(1))
    assert isinstance(said, dict)
    assert egress.release(RESULT, dumps({**said, "objects": objects})) is None
    assert egress.release(RESULT, dumps({**said, "ms": 12.34})) is None
    assert egress.rejected == 2


def test_the_gain_of_the_fast_path_has_one_decimal_and_a_bound() -> None:
    egress = guard()
    info = Info(1, TS, BOOT, {"runtime": "ai-edge-litert 2.1.0"}, "a board", "0" * 64, {}, {}, fast_path=4.7)
    payload = egress.admit(Place("info"), info)
    assert payload
    assert b'"fast_path":4.7' in payload
    assert egress.release(Place("info"), payload) == payload
    for gain in (4.72, -0.1, 1000.1):
        assert egress.release(Place("info"), payload.replace(b"4.7", str(gain).encode())) is None


def test_a_value_has_the_decimals_of_its_step() -> None:
    egress = Egress()
    meter = replace(model_plan("meter", labels=()), task="regression", values=(ValuePlan("level", "l", step=0.5),))
    egress.apply(plan(mqtt_plan(1883), model=meter))
    said = [
        Result(1, TS, BOOT, 1, "meter@1.0.0", SHA[:8], "regression", values=(Value("level", number, "l"),))
        for number in (12.5, 12.51)
    ]
    assert egress.admit(RESULT, said[0])
    assert egress.admit(RESULT, said[1]) is None


def test_two_models_of_one_file_have_the_decimals_of_both() -> None:
    egress, door = Egress(), plan(mqtt_plan(1883), model=model_plan("fine", labels=()))
    fine, coarse = (
        replace(model_plan(name, labels=()), task="regression", values=(ValuePlan("level", "l", step=step),))
        for name, step in (("fine", 0.0), ("coarse", 0.5))
    )
    pipelines = tuple(
        replace(door.pipelines[0], name=each.name, model=each, track=None, events=None) for each in (fine, coarse)
    )
    egress.apply(replace(door, pipelines=pipelines))
    for name, value in (("fine", 100.400002), ("coarse", 100.5)):
        found = Result(1, TS, BOOT, 1, f"{name}@1.0.0", SHA[:8], "regression", values=(Value("level", value, "l"),))
        assert egress.admit(Place("result", name), found) is not None, name


def test_services_that_a_reader_reaches_without_a_network_are_published() -> None:
    walls = {"no_network": f"engine: enforced; reader live: {BUT_SERVICES}"}
    assert closed(walls) == walls


def test_what_rooms_say_of_their_walls_has_closed_forms() -> None:
    texts = {
        "seccomp": "enforced",
        "files": "engine, publisher: enforced; reader live: enforced but for reading",
        "no_network": "not enforced: the kernel lets through socket, connect",
        "ports": "unavailable: Operation not permitted",
        "network_namespace": "unavailable: Operation not permitted "
        "(the unit forbids it: its sockets are refused all the same)",
        "no_capabilities": "not enforced: 0x3f is left",
        "no_signals": "unavailable: aW1hZ2U=",
        "not_dumpable": "aW1hZ2U=",
        "no_swap": "engine: enforced; reader aW1hZ2U=: enforced",
        "aW1hZ2U": "enforced",
    }
    egress = guard()
    info = Info(1, TS, BOOT, {"runtime": "ai-edge-litert 2.1.0"}, "a board", "0" * 64, texts, {})
    payload = egress.admit(Place("info"), info)
    assert payload
    said = decode_json(Info, payload).sandbox
    assert [wall for wall, text in texts.items() if said.get(wall) == text] == list(texts)[:6]
    assert b"aW1hZ2U" not in payload
    assert said["no_signals"] == "unavailable: edge-infer doctor shows why"
    assert said["no_swap"] == "enforced"
    assert said["not_dumpable"] == "not enforced: edge-infer doctor shows why"
    assert egress.release(Place("info"), payload) == payload
    assert egress.admit(Place("info"), replace(info, versions={"runtime": "aW1hZ2U="})) is None
    assert egress.release(Place("info"), dumps(info)) is None
