"""Topics and payloads of this version and of later ones."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge_infer.client.payloads import read, split
from edge_infer.contract.codec import dumps, encode
from edge_infer.contract.messages import Info, PipelineInfo
from edge_infer.contract.topics import RULES, Place
from edge_infer.errors import WireError
from tests.publisher.samples import BOOT, TS, result, state


@pytest.mark.parametrize("prefix", ["edge-infer", "site/edge"])
def test_every_topic_is_found_again(prefix: str) -> None:
    for kind in RULES.keys() - {"discovery"}:
        place = Place(kind, "door" if kind in ("result", "event", "state", "model") else "")
        assert split(place.topic(f"{prefix}/gate-3"), prefix) == ("gate-3", place)


@pytest.mark.parametrize(
    "topic",
    ["other/gate-3/status", "edge-infer/gate-3", "edge-infer/gate-3/door/heatmap", "edge-infer/gate-3/a/b/result"],
)
def test_other_topics(topic: str) -> None:
    assert split(topic, "edge-infer") is None


def with_more(value: Any) -> Any:
    """The same as a later version may say it: every object has a key more."""
    if isinstance(value, list):
        return [with_more(item) for item in value]
    if isinstance(value, dict):
        return {key: with_more(item) for key, item in value.items()} | {"later": {"a": [1]}}
    return value


def test_keys_of_later_versions_are_left_out() -> None:
    said = result(7, objects=3)
    assert read(Place("result", "door"), json.dumps(with_more(encode(said))).encode()) == said
    value = {**encode(state(2)), "later": 1}  # type: ignore[dict-item]
    assert read(Place("state", "door"), json.dumps(value).encode()) == state(2)


def test_free_keys_are_kept() -> None:
    pipelines = {"door": PipelineInfo("cam", "m", "0" * 8)}
    said = Info(1, TS, BOOT, {"edge-infer": "9.9"}, "", "0" * 64, {"seccomp": "enforced"}, pipelines)
    value = encode(said)
    assert isinstance(value, dict)
    value["pipelines"]["door"]["later"] = 1  # type: ignore[index, call-overload]
    assert read(Place("info"), json.dumps(value).encode()) == said


@given(st.binary(max_size=200) | st.recursive(st.none() | st.integers() | st.text(), st.lists).map(
    lambda value: json.dumps({"v": 1, "objects": value, "counts": value}).encode()
))  # fmt: skip
def test_whatever_comes_is_a_record_or_a_wire_error(payload: bytes) -> None:
    for kind in RULES.keys() - {"status"}:
        with pytest.raises(WireError):
            read(Place(kind), payload)


def test_a_type_that_is_not_known_yet_is_told() -> None:
    event = {"v": 1, "ts": "2026-11-25T08:45:12.345Z", "boot": "9f2c1a", "seq": 1, "type": "teleport"}
    with pytest.raises(WireError, match="teleport"):
        read(Place("event", "door"), dumps(event))
