"""A real daemon and broker: what the client makes of them, the page for subscribers, and the AsyncAPI document."""

from __future__ import annotations

import gzip
import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from jsonschema import Draft7Validator, Draft202012Validator

from edge_infer.client import Client, DeviceUpdate, ResultUpdate, StateUpdate, StatusUpdate
from edge_infer.contract.asyncapi import document
from edge_infer.contract.codec import encode, schema
from edge_infer.contract.messages import Health, Info
from edge_infer.contract.topics import RULES
from tests.broker import Broker, Subscriber, eventually
from tests.running import Daemon
from tests.test_docs import ROOT, Block, blocks_of

House = tuple[Broker, Daemon]
PUBLISHED = ROOT / "tests" / "contracts" / "asyncapi-3.0.0.json.gz"


def test_the_client_hears_everything_in_order(house: House) -> None:
    kinds: set[type] = set()
    results: list[ResultUpdate] = []
    with Client("127.0.0.1", house[0].port, device="box") as client:
        for update in client.updates(60):
            kinds.add(type(update.record) if isinstance(update, DeviceUpdate) else type(update))
            if isinstance(update, ResultUpdate):
                results.append(update)
            if len(results) >= 10 and kinds >= {Info, Health, StateUpdate, StatusUpdate}:
                break
        assert (client.repetitions, client.gaps()) == (0, {})
        standing = client.standing("box", "faces")
        assert standing.why_not == ""
        assert standing.counts is not None
    seqs = [update.result.seq for update in results]
    assert seqs == list(range(seqs[0], seqs[0] + len(seqs)))
    assert {(update.device, update.pipeline, update.missing) for update in results} == {("box", "faces", 0)}


def test_the_document_is_asyncapi() -> None:
    published = json.loads(gzip.decompress(PUBLISHED.read_bytes()))
    validator = Draft7Validator(published)
    assert [f"{list(error.absolute_path)}: {error.message}" for error in validator.iter_errors(document())] == []
    broken = document()
    del broken["info"]["version"]
    assert not validator.is_valid(broken), "the published schema sees what is missing"
    for message in document()["components"]["messages"].values():
        Draft7Validator.check_schema(message["payload"])


def test_every_record_of_the_document_has_a_name() -> None:
    """Generators make classes of them, and called that of an object `AnonymousSchema_274`."""
    unnamed, named = [], set()

    def look(value: Any, where: str) -> None:
        if isinstance(value, dict):
            if "properties" in value and value.get("type") == "object":
                named.add(value.get("title"))
                unnamed.extend([] if value.get("title") and value.get("description") else [where])
            for key, item in value.items():
                look(item, f"{where}.{key}")
        for number, item in enumerate(value if isinstance(value, list) else ()):
            look(item, f"{where}[{number}]")

    look(document()["components"], "components")
    assert unnamed == []
    assert {"Result", "DetectedObject", "State", "Answer", "PipelineHealth", "Entity"} <= named


def test_what_a_run_says_is_what_the_document_says(house: House) -> None:
    described, heard_kinds = document(), set()
    with Subscriber(house[0].port) as subscriber:
        subscriber.first(10, "edge-infer/box/faces/result")
        subscriber.wait("edge-infer/box/health")
        subscriber.wait("edge-infer/box/faces/event")
        for heard in list(subscriber.heard):
            kind = channel_of(described, heard.topic)
            heard_kinds.add(kind)
            message = described["components"]["messages"][kind]
            value = heard.value if message["contentType"] == "application/json" else heard.payload.decode()
            Draft7Validator(message["payload"]).validate(value)
            if (record := RULES[kind].record) is not None:  # type: ignore[index]
                Draft202012Validator(schema(record)).validate(value)
            retained = described["operations"][f"publish-{kind}"]["bindings"]["mqtt"]["retain"]
            assert retained or not heard.retain
    assert heard_kinds == set(RULES)


def channel_of(described: dict[str, Any], topic: str) -> str:
    """The only channel whose address fits a topic, names that are taken excepted."""
    found = []
    for kind, channel in described["channels"].items():
        pattern = re.sub(r"\\{\w+\\}", "[^/]+", re.escape(channel["address"]))
        if re.fullmatch(pattern, topic):
            found.append(kind)
    assert len(found) == 1, f"{topic} fits {found}"
    return str(found[0])


LIVE = [block for block in blocks_of(ROOT / "docs" / "subscribers.md") if block.info == "python live"]


@pytest.mark.parametrize("block", LIVE, ids=str)
def test_examples_of_the_page(block: Block, house: House, tmp_path: Path) -> None:
    text = block.text.replace('"broker.lan"', f'"127.0.0.1", {house[0].port}').replace("gate-3", "box")
    assert text != block.text
    text = text.replace('"door"', '"faces"').replace("person", "face").replace("seconds=5", "seconds=4")
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", text],
        cwd=tmp_path, capture_output=True, text=True, timeout=120, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert "faces" in done.stdout or done.stdout.startswith("everything came\nbox: ")


def test_there_are_examples() -> None:
    assert LIVE


def test_a_client_is_light() -> None:
    words = "import sys, edge_infer.client; print(*sys.modules)"
    loaded = subprocess.run(
        [sys.executable, "-c", words], capture_output=True, text=True, check=True, timeout=60
    ).stdout
    assert not {"numpy", "cv2", "pydantic", "yaml", "psutil", "ai_edge_litert"} & set(loaded.split())


def test_a_stopped_daemon_leaves_nobody_with_a_stale_state(house: House) -> None:
    """The last test: it ends the daemon without a word."""
    broker, daemon = house
    with Client("127.0.0.1", broker.port) as client:
        states = client.states(60)
        assert next(update for update in states if update.standing.state is not None)
        rooms = daemon.pids()
        subprocess.run(["kill", "-KILL", str(daemon.pid), *map(str, rooms.values())], check=True)
        last = next(update for update in states if update.standing.why_not == "offline")
        assert (last.device, last.pipeline, last.standing.present("face")) == ("box", "faces", None)
        assert encode(last.standing.state) is None
    eventually(lambda: daemon.wait(1) != 0, "end of the daemon")
