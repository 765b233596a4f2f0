"""Runs the configured pipelines on the pattern, in their sandboxes, and searches their output for the pattern."""

from __future__ import annotations

import os
import socket
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from edge_infer.audit.canary import Canary, fresh
from edge_infer.audit.leaking_engine import leaks as leaks_of
from edge_infer.audit.packet_capture import Broker, PacketCapture, bring_up_loopback
from edge_infer.audit.page_viewer import PageViewer
from edge_infer.audit.recording_broker import RecordingBroker
from edge_infer.audit.search import Search, leaks
from edge_infer.config.in_child import compile_in_child
from edge_infer.contract.codec import ABSENT, JsonValue, replace
from edge_infer.errors import ConfigError, StartError
from edge_infer.ipc.messages import ApplyPlan
from edge_infer.plan.channel_bound import channel_bound, device_bound
from edge_infer.plan.records import Gives, MqttPlan, Plan, SignalPlan, SourcePlan
from edge_infer.platform.child_process import own_module
from edge_infer.platform.durable_files import with_disk_remedy
from edge_infer.platform.event_loop import readable
from edge_infer.platform.paths import publisher_folder
from edge_infer.sandbox import network_isolation, privileges
from edge_infer.supervisor.processes.supervisor import ProcessSupervisor
from edge_infer.supervisor.statedir import locked

STARTING: Final = 60.0
"""Seconds within which the first result must come, in addition to the requested seconds."""
_ELSEWHERE: Final = ("127.0.0.2", 9)
"""Destination of the packet in the positive control."""


@dataclass(frozen=True, slots=True)
class Audit:
    """The findings. ``passed``: nothing leaked, everything was searched, and every deliberate leak was found.

    The audit cannot judge the ``unshown`` pipelines. These pipelines process objects that other pipelines detect, and
    the pattern contains no objects.
    """

    seconds: float
    pipelines: Mapping[str, Gives]
    results: Mapping[str, int]
    bytes_per_result: Mapping[str, float]
    rate_bound: int
    published: int
    searched: int
    hits: tuple[str, ...]
    packets: int | None
    elsewhere: Mapping[str, int]
    missed: int
    network: str
    control: Mapping[str, bool]
    walls: Mapping[str, str]
    silent: tuple[str, ...] = field(default=())
    unshown: tuple[str, ...] = field(default=())
    why_silent: Mapping[str, str] = field(default_factory=dict)
    channel_bound: float | None = None
    """Bytes per second that all results, states and events can carry; None: unlimited."""
    picture_seconds: int | None = None
    burst_bytes: int | None = None
    bounds: Mapping[str, float | None] = field(default_factory=dict)
    recovered: Mapping[str, float] = field(default_factory=dict)
    """Bytes per second that the decoder recovered from the messages of a simulated leaking engine, by pipeline."""
    page_pictures: int | None = None
    """Pictures that came through the socket of the local page, the only place where they may be; None: no source gives
    pictures."""

    @property
    def passed(self) -> bool:
        """Whether the claim holds here, as far as the audit can determine."""
        leaked = self.hits or self.elsewhere
        blind = self.silent or self.missed or not all(self.control.values())
        return not leaked and not blind and not self.exceeded

    @property
    def exceeded(self) -> tuple[str, ...]:
        """The pipelines that carried more than their bound."""
        return tuple(
            name
            for name, rate in self.recovered.items()
            if (bound := self.bounds.get(name)) is not None and rate > bound
        )


def leave_the_network() -> str:
    """Enter a network namespace in which every packet can be captured.

    Return the reason if this is not possible, or an empty text.

    Call it before any thread starts.
    """
    try:
        network_isolation.isolate(dumpable=privileges.dumpable())
        bring_up_loopback()
    except OSError as error:
        return f"packets are not captured: {error.strerror}"
    return ""


def audit(config: Path, seconds: float, no_capture: str) -> Audit:
    """Audit one configuration; ``no_capture`` is the result of `leave_the_network`.

    Raises `ConfigError`, `StartError`.
    """
    plan = _compiled(config)
    canary = fresh()
    with ExitStack() as stack:
        try:
            folder = stack.enter_context(tempfile.TemporaryDirectory(prefix="edge-infer-privacy-"))
            log = stack.enter_context((Path(folder) / "log").open("w+b"))
        except OSError as error:
            raise StartError(f"the audit cannot make its temporary folder: {with_disk_remedy(error)}") from error
        recorder = stack.enter_context(RecordingBroker())
        capture = None if no_capture else stack.enter_context(PacketCapture(Broker("127.0.0.1", recorder.port)))
        watched = _watched(plan, canary, Path(folder) / "state", recorder.port)
        walls, results, troubles, viewer = _run(watched, seconds, recorder, log.fileno(), Path(folder))
        found = _judge(watched, seconds, canary, Path(folder), recorder, capture, no_capture, walls, results)
        if viewer is not None:
            control = {**found.control, "the page's own socket": bool(Search(canary).found(bytes(viewer.seen)))}
            found = replace(found, page_pictures=viewer.pictures, control=control)
        why = {name: troubles[name] for name in found.silent if name in troubles}
        return replace(found, why_silent=why, **_channel(plan))


def _channel(plan: Plan) -> dict[str, Any]:
    """Return the fields about what valid messages can carry: the calculated bound, and the simulation."""
    bound, played = device_bound(plan), leaks_of(plan)
    totals = {name: each.total for name, each in channel_bound(plan).items()}
    return {
        "channel_bound": bound.bytes_per_second,
        "picture_seconds": None if bound.picture_seconds is ABSENT else bound.picture_seconds,
        "burst_bytes": None if bound.burst_bytes is ABSENT else bound.burst_bytes,
        "bounds": {name: total if total is None else round(total, 3) for name, total in totals.items()},
        "recovered": {name: leak.recovered for name, leak in played.items()},
    }


def _judge(  # noqa: PLR0917 - the parts of one record
    plan: Plan,
    seconds: float,
    canary: Canary,
    folder: Path,
    recorder: RecordingBroker,
    capture: PacketCapture | None,
    no_capture: str,
    walls: Mapping[str, str],
    results: Mapping[str, list[int]],
) -> Audit:
    search, cascades = Search(canary), _cascades(plan)
    packets, elsewhere = (capture.packets, dict(capture.others)) if capture else (None, {})
    missed = capture.missed() if capture else 0
    heard = {"the data sent to the broker": bytes(recorder.stream)}
    heard |= {f"a payload of {topic}": payload for topic, payload in recorder.payloads}
    if capture:
        heard["the packets"] = capture.data
    kept = {f"the file {path.relative_to(folder)}": path.read_bytes() for path in _files_of(folder)}
    everything = heard | kept
    found = {place: search.found(data) for place, data in everything.items()}
    hits = tuple(f"{place}: {how}" for place, how in found.items() if how)
    return Audit(
        seconds=seconds,
        pipelines={pipeline.name: pipeline.model.input.takes for pipeline in plan.pipelines},
        results={name: len(sizes) for name, sizes in results.items()},
        bytes_per_result={name: round(sum(sizes) / len(sizes), 1) for name, sizes in results.items() if sizes},
        rate_bound=plan.mqtt.max_rate,
        published=sum(len(payload) for _, payload in recorder.payloads),
        searched=sum(map(len, everything.values())),
        hits=hits,
        packets=packets,
        elsewhere=elsewhere,
        missed=missed,
        network=no_capture or (f"{missed} packets were missed" if missed else "every packet was captured"),
        control=_control(search, canary, folder, recorder, capture),
        walls=walls,
        silent=tuple(name for name, sizes in results.items() if not sizes and name not in cascades),
        unshown=tuple(name for name in cascades if not results[name]),
    )


def _compiled(config: Path) -> Plan:
    compiled = compile_in_child(config)
    if compiled.plan is None:
        raise ConfigError("\n".join(map(str, compiled.problems)))
    return compiled.plan


def _watched(plan: Plan, canary: Canary, state: Path, port: int) -> Plan:
    """Return the plan with the pattern as its sources and the recorder as its broker."""
    if not plan.pipelines:
        raise ConfigError("there are no pipelines, so nothing could leak")
    pipelines = tuple(replace(one, publish="every") for one in plan.pipelines)
    used = {pipeline.source for pipeline in pipelines}
    sources = [stand_in(source, canary, plan) for source in plan.sources if source.name in used]
    mqtt = MqttPlan("127.0.0.1", port, None, None, None, plan.mqtt.topic, 1, plan.mqtt.client_id)
    mqtt = replace(mqtt, max_rate=plan.mqtt.max_rate)
    return replace(plan, state_dir=str(state), mqtt=mqtt, sources=tuple(sources), pipelines=pipelines)


def _cascades(plan: Plan) -> tuple[str, ...]:
    """Return the pipelines that process objects that another pipeline has detected."""
    within = {source.name for source in plan.sources if source.parent is not None}
    return tuple(pipeline.name for pipeline in plan.pipelines if pipeline.source in within)


def _run(
    plan: Plan, seconds: float, recorder: RecordingBroker, log: int, folder: Path
) -> tuple[dict[str, str], dict[str, list[int]], dict[str, str], PageViewer | None]:
    """Run the processes until every pipeline has had its time, while a browser views the local page.

    Return sandbox states, sizes of results, errors, and that browser.
    """
    topics = {f"{plan.mqtt.topic}/{pipeline.name}/result": pipeline.name for pipeline in plan.pipelines}
    wanted = {topic for topic, name in topics.items() if name not in _cascades(plan)}
    shown = [source.name for source in plan.sources if source.gives == "image" and source.parent is None]
    with locked(Path(plan.state_dir)), _standard_error(log), ExitStack() as stack:
        house = ProcessSupervisor("debug")
        stack.callback(house.close)
        viewer = stack.enter_context(PageViewer(house, folder, shown)) if shown else None
        house.apply(ApplyPlan(plan))
        end, latest = 0.0, time.monotonic() + STARTING + seconds
        while time.monotonic() < (end or latest):
            reads = [*house.files(), *(viewer.files() if viewer else ())]
            ready = readable(reads, [*house.unsent(), *(viewer.unsent() if viewer else ())], 0.2)
            house.serve()
            house.restart_due()
            if viewer is not None:
                viewer.step(ready)
            spoken = {topic for topic, _ in list(recorder.payloads)}
            if not end and wanted <= spoken:
                end = time.monotonic() + seconds
        walls, troubles = house.walls(), _troubles(plan, house)
    sizes: dict[str, list[int]] = {name: [] for name in topics.values()}
    for topic, payload in recorder.payloads:
        if topic in topics:
            sizes[topics[topic]].append(len(payload))
    return walls, sizes, troubles, viewer


def _troubles(plan: Plan, house: ProcessSupervisor) -> dict[str, str]:
    """Return the last error of each pipeline, of its source, or of any process, because the audit deletes the log."""
    engine, trouble = house.heard.engine, house.heard.trouble
    found: dict[str, str] = {}
    for pipeline in plan.pipelines:
        health = engine.pipelines.get(pipeline.name) if engine else None
        source = engine.sources.get(pipeline.source) if engine else None
        if health is not None and health.error is not ABSENT:
            found[pipeline.name] = health.error
        elif source is not None and source.error is not ABSENT:
            found[pipeline.name] = f"source {pipeline.source} is {source.state}: {source.error}"
        elif trouble is not None:
            found[pipeline.name] = trouble.text
    return found


@contextmanager
def _standard_error(log: int) -> Iterator[None]:
    """Redirect the standard error of the processes into a file, which is also searched."""
    kept = os.dup(2)
    os.dup2(log, 2)
    try:
        yield
    finally:
        os.dup2(kept, 2)
        os.close(kept)


def _files_of(folder: Path) -> list[Path]:
    """Return all non-empty files that the audited daemon has left on the disk."""
    return sorted(path for path in folder.rglob("*") if path.is_file() and path.stat().st_size)


def _control(
    search: Search, canary: Canary, folder: Path, recorder: RecordingBroker, capture: PacketCapture | None
) -> dict[str, bool]:
    """Leak the pattern on purpose in every way; return, for each leak, whether the search found it."""
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


def _seen(search: Search, recorder: RecordingBroker, name: str, data: bytes) -> bool:
    """Publish a leak as any client would, and search the recorded payloads for it."""
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


# Replaces a source in an audit by one with the same name and kind that gives the pattern.

_WIDTH, _HEIGHT = 640, 480
_RATE: Final = 50.0
"""Samples per second for models without a sample rate of their own."""


def stand_in(source: SourcePlan, canary: Canary, plan: Plan) -> SourcePlan:
    """Return a live source without network access, so that it runs in a sandboxed reader."""
    if source.parent is not None:  # such a source reads crops from another pipeline
        return source
    if source.gives == "image":
        return _camera(source, canary)
    options: dict[str, JsonValue] = {"pattern": canary.text()}
    name = "PatternLines"
    if source.gives == "samples":
        name = "PatternSamples"
        options |= _signal(source, plan)
    target = f"edge_infer.audit.sensors:{name}"
    return replace(
        source, kind="synthetic", target=target, live=True, network=False, options=options, noisy=False, stdin=False
    )


def _signal(source: SourcePlan, plan: Plan) -> dict[str, JsonValue]:
    """Return the rate and the number of values a sample that suit every model that uses the source.

    A model that chooses columns takes any source with at least ``width`` values. Any other model takes exactly
    ``values``.
    """
    heard = [one.model.input for one in plan.pipelines if one.source == source.name]
    signals = [each for each in heard if isinstance(each, SignalPlan)]
    rate = max((each.rate or _RATE for each in signals), default=_RATE)
    channels = max((each.width or each.values or each.channels for each in signals), default=1)
    return {"rate": rate, "channels": channels}


def _camera(source: SourcePlan, canary: Canary) -> SourcePlan:
    words = own_module("edge_infer.audit.camera", str(_WIDTH), str(_HEIGHT), canary.text())
    options: dict[str, JsonValue] = {
        "command": [*words],
        "width": _WIDTH,
        "height": _HEIGHT,
        "format": "rgb24",
        "network": False,
    }
    target = "edge_infer.readers.sources.exec:ExecSource"
    return replace(source, kind="exec", target=target, live=True, network=False, options=options, stdin=False)
