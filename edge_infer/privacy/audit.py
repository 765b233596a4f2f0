"""Runs the configured pipelines on the pattern, behind their walls, and looks where it comes out."""

from __future__ import annotations

import os
import select
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Final

from edge_infer.codec import JsonValue, decode, loads
from edge_infer.config.places import publisher_folder
from edge_infer.config.plan import Compiled, MqttPlan, Plan, SourcePlan
from edge_infer.errors import ConfigError, StartError
from edge_infer.privacy.canary import Canary, fresh
from edge_infer.privacy.capture import Capture, bring_up_loopback
from edge_infer.privacy.recorder import Recorder
from edge_infer.privacy.search import Search, leaks
from edge_infer.rooms import ApplyPlan
from edge_infer.sandbox import namespaces
from edge_infer.supervisor.house import House
from edge_infer.supervisor.statedir import locked

STARTING: Final = 60.0
"""Seconds that the first result may take beyond those that were asked for."""
_WIDTH, _HEIGHT = 640, 480
_ELSEWHERE: Final = ("127.0.0.2", 9)
"""Where the packet of the positive control goes."""


@dataclass(frozen=True, slots=True)
class Audit:
    """What was found; ``passed`` when nothing left, everything was looked at, and every deliberate leak was seen."""

    seconds: float
    pipelines: tuple[str, ...]
    left_out: tuple[str, ...]
    results: Mapping[str, int]
    bytes_per_result: Mapping[str, float]
    rate_bound: int
    published: int
    searched: int
    hits: tuple[str, ...]
    packets: int | None
    elsewhere: Mapping[str, int]
    network: str
    control: Mapping[str, bool]
    walls: Mapping[str, str]
    silent: tuple[str, ...] = field(default=())

    @property
    def passed(self) -> bool:
        """Whether the claim holds here, as far as this can tell."""
        return not self.hits and not self.elsewhere and not self.silent and all(self.control.values())


def leave_the_network() -> str:
    """A network namespace of its own, in which every packet can be seen; else why not. Before any thread."""
    try:
        namespaces.isolate()
        bring_up_loopback()
    except OSError as error:
        return f"packets are not captured: {error.strerror}"
    return ""


def audit(config: Path, seconds: float, no_capture: str) -> Audit:
    """Audits one configuration; ``no_capture`` is what `leave_the_network` has said.

    Raises `ConfigError`, `StartError`.
    """
    plan = _compiled(config)
    canary = fresh()
    with tempfile.TemporaryDirectory(prefix="edge-infer-privacy-") as folder, ExitStack() as stack:
        log = stack.enter_context((Path(folder) / "log").open("w+b"))
        recorder = stack.enter_context(Recorder())
        capture = None if no_capture else stack.enter_context(Capture(recorder.port))
        watched, left_out = _watched(plan, canary, Path(folder) / "state", recorder.port)
        walls, results = _run(watched, seconds, recorder, log.fileno())
        return _judge(watched, left_out, seconds, canary, Path(folder), recorder, capture, no_capture, walls, results)


def _judge(  # noqa: PLR0917 - the parts of one record
    plan: Plan,
    left_out: tuple[str, ...],
    seconds: float,
    canary: Canary,
    folder: Path,
    recorder: Recorder,
    capture: Capture | None,
    no_capture: str,
    walls: Mapping[str, str],
    results: Mapping[str, list[int]],
) -> Audit:
    search = Search(canary)
    packets, elsewhere = (capture.packets, dict(capture.others)) if capture else (None, {})
    heard = {"what the broker was sent": bytes(recorder.stream)}
    heard |= {f"a payload of {topic}": payload for topic, payload in recorder.payloads}
    if capture:
        heard["the packets"] = bytes(capture.data)
    kept = {f"the file {path.relative_to(folder)}": path.read_bytes() for path in _files_of(folder)}
    everything = heard | kept
    found = {place: search.found(data) for place, data in everything.items()}
    hits = tuple(f"{place}: {how}" for place, how in found.items() if how)
    return Audit(
        seconds=seconds,
        pipelines=tuple(pipeline.name for pipeline in plan.pipelines),
        left_out=left_out,
        results={name: len(sizes) for name, sizes in results.items()},
        bytes_per_result={name: round(sum(sizes) / len(sizes), 1) for name, sizes in results.items() if sizes},
        rate_bound=plan.mqtt.max_rate,
        published=sum(len(payload) for _, payload in recorder.payloads),
        searched=sum(map(len, everything.values())),
        hits=hits,
        packets=packets,
        elsewhere=elsewhere,
        network=no_capture or "every packet was captured",
        control=_control(search, canary, folder, recorder, capture),
        walls=walls,
        silent=tuple(name for name, sizes in results.items() if not sizes),
    )


def _compiled(config: Path) -> Plan:
    command = [sys.executable, "-m", "edge_infer.config", str(config.absolute())]
    done = subprocess.run(command, capture_output=True, check=False)
    if done.returncode not in (0, 2):
        raise StartError(f"{config} could not be read: {done.stderr.decode(errors='replace').strip()[-300:]}")
    compiled = decode(Compiled, loads(done.stdout))
    if compiled.plan is None:
        raise ConfigError("\n".join(map(str, compiled.problems)))
    return compiled.plan


def _watched(plan: Plan, canary: Canary, state: Path, port: int) -> tuple[Plan, tuple[str, ...]]:
    """The same pipelines on the pattern, to the broker's stand-in; and the pipelines that take no pictures."""
    sources = {source.name: _camera(source, canary) for source in plan.sources if source.gives == "image"}
    pipelines = tuple(replace(one, publish="every") for one in plan.pipelines if one.source in sources)
    left_out = tuple(one.name for one in plan.pipelines if one.source not in sources)
    if not pipelines:
        raise ConfigError("no pipeline looks at pictures, so there is nothing in which a pattern could be hidden")
    used = {pipeline.source for pipeline in pipelines}
    mqtt = MqttPlan("127.0.0.1", port, None, None, None, plan.mqtt.topic, 1, plan.mqtt.client_id)
    mqtt = replace(mqtt, max_rate=plan.mqtt.max_rate)
    cameras = tuple(source for name, source in sources.items() if name in used)
    return replace(plan, state_dir=str(state), mqtt=mqtt, sources=cameras, pipelines=pipelines), left_out


def _camera(source: SourcePlan, canary: Canary) -> SourcePlan:
    if source.parent is not None:
        return source
    words: list[JsonValue] = [
        sys.executable,
        "-m",
        "edge_infer.privacy.camera",
        str(_WIDTH),
        str(_HEIGHT),
        canary.text(),
    ]
    options: dict[str, JsonValue] = {
        "command": words,
        "width": _WIDTH,
        "height": _HEIGHT,
        "format": "rgb24",
        "network": False,
    }
    target = "edge_infer.readers.sources.exec:ExecSource"
    return replace(source, kind="exec", target=target, live=True, network=False, options=options, stdin=False)


def _run(plan: Plan, seconds: float, recorder: Recorder, log: int) -> tuple[dict[str, str], dict[str, list[int]]]:
    """Lets the rooms work until every pipeline has had its time; what their walls are, and the sizes of results."""
    topics = {f"{plan.mqtt.topic}/{pipeline.name}/result": pipeline.name for pipeline in plan.pipelines}
    with locked(Path(plan.state_dir)), _standard_error(log):
        house = House("debug")
        try:
            house.apply(ApplyPlan(plan))
            end, latest = 0.0, time.monotonic() + STARTING + seconds
            while time.monotonic() < (end or latest):
                select.select(house.files(), house.unsent(), [], 0.2)
                house.serve()
                house.revive()
                spoken = {topic for topic, _ in list(recorder.payloads)}
                if not end and topics.keys() <= spoken:
                    end = time.monotonic() + seconds
            walls = house.walls()
        finally:
            house.close()
    sizes: dict[str, list[int]] = {name: [] for name in topics.values()}
    for topic, payload in recorder.payloads:
        if topic in topics:
            sizes[topics[topic]].append(len(payload))
    return walls, sizes


@contextmanager
def _standard_error(log: int) -> Iterator[None]:
    """What the rooms write to standard error goes into a file, which is searched as well."""
    kept = os.dup(2)
    os.dup2(log, 2)
    try:
        yield
    finally:
        os.dup2(kept, 2)
        os.close(kept)


def _files_of(folder: Path) -> list[Path]:
    """Everything that the audit's daemon has left on the disk."""
    return sorted(path for path in folder.rglob("*") if path.is_file() and path.stat().st_size)


def _control(
    search: Search, canary: Canary, folder: Path, recorder: Recorder, capture: Capture | None
) -> dict[str, bool]:
    """Leaks the pattern on purpose, on the same ways; what of it was seen."""
    leak = leaks(canary)
    seen = {f"a payload, {name}": _seen(search, recorder, name, data) for name, data in leak.items()}
    path = publisher_folder(folder / "state") / "leak"
    path.write_bytes(leak["compressed in base64"])
    seen["a file"] = any(search.found(file.read_bytes()) for file in _files_of(folder) if file == path)
    if capture:
        before = sum(capture.others.values())
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as way:
            way.sendto(b"leak", _ELSEWHERE)
        deadline = time.monotonic() + 5.0
        while sum(capture.others.values()) == before and time.monotonic() < deadline:
            time.sleep(0.05)
        seen["a packet to elsewhere"] = sum(capture.others.values()) > before
    return seen


def _seen(search: Search, recorder: Recorder, name: str, data: bytes) -> bool:
    """Publishes a leak as any client would, and looks for it in what the recorder has."""
    topic = f"leak/{name}".encode()
    body = len(topic).to_bytes(2, "big") + topic + data
    before = len(recorder.payloads)
    with socket.create_connection(("127.0.0.1", recorder.port)) as way:
        way.sendall(b"\x10\x10\x00\x04MQTT\x04\x02\x00\x3c\x00\x04leak")
        way.recv(4)
        way.sendall(b"\x30" + _size(len(body)) + body)
        deadline = time.monotonic() + 5.0
        while len(recorder.payloads) == before and time.monotonic() < deadline:
            time.sleep(0.01)
    return any(search.found(payload) != "" for topic, payload in recorder.payloads[before:])


def _size(number: int) -> bytes:
    parts = bytearray()
    while True:
        number, part = divmod(number, 128)
        parts.append(part | (0x80 if number else 0))
        if not number:
            return bytes(parts)
