"""The Home Assistant entities of a configuration, the most important first."""

from __future__ import annotations

import re
import zlib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Final, get_args

from edge_infer.contract.announcement import Entity, Platform
from edge_infer.contract.messages import EventType, SourceState
from edge_infer.contract.topics import Place
from edge_infer.plan.records import PipelinePlan, Plan
from edge_infer.platform.board import firmware_flags, hottest
from edge_infer.publisher.homeassistant import templates

MOST_LABELS: Final = 12
"""Maximum number of labels of a pipeline that get entities of their own. If there are more labels, only their sum gets
an entity."""
NOTHING: Final = "nothing"
"""Value of the class entity when no class reached the threshold."""
EXPIRE_AFTER: Final = 120
"""Seconds without a new message after which Home Assistant shows no value. Messages repeat after 60 s at the latest. A
health message counts as new until it is 70 s old (`RECENT`); both together are about the 180 s of other subscribers."""
OF_DRIFT: Final[tuple[EventType, ...]] = ("drift", "drift_end")
OF_CLASSES: Final[tuple[EventType, ...]] = ("start", "end")
"""Types of events about classes and anomalies."""
OF_OBJECTS: Final = tuple(kind for kind in get_args(EventType) if kind not in OF_CLASSES + OF_DRIFT)
"""Types of events about objects. All types are included, because the configuration of zones and lines may change while
an event is open."""
MEASURED: Final[Mapping[str, Any]] = {"stat_cla": "measurement"}

Keyed = Iterator[tuple[str, Entity]]


def entities(plan: Plan, root: Path) -> Keyed:
    """Yield keys and entities; the caller fills in ``uniq_id``.

    ``root`` holds the kernel's files that show which sensors the board has.
    """
    for pipeline in plan.pipelines:
        yield from _of_pipeline(pipeline, plan.mqtt.topic)
    yield from _of_device(plan.mqtt.topic, root)
    for pipeline in plan.pipelines:
        yield from _speed(pipeline.name)
    for source in plan.sources:
        state = templates.told("sources", source.name, "state")
        shown = _diagnosis("sensor", f"{source.name} source", state, dev_cla="enum", ops=get_args(SourceState))
        yield f"s.{source.name}.state", shown


def _of_pipeline(pipeline: PipelinePlan, base: str) -> Keyed:
    name, task = pipeline.name, pipeline.model.task
    state: dict[str, Any] = {"stat_t": Place("state", name).topic(base), "exp_aft": EXPIRE_AFTER}
    if pipeline.state_key == "counts":
        yield from _counts(pipeline, state)
        yield from _places(pipeline, state)
    elif task == "classification":
        yield f"p.{name}.class", _class(pipeline, state)
    elif task == "anomaly":
        anomaly = Entity("binary_sensor", f"{name} anomaly", val_tpl=templates.ANOMALOUS, dev_cla="problem", **state)
        yield f"p.{name}.anomaly", anomaly
        score = Entity("sensor", f"{name} anomaly score", val_tpl=templates.DISTANCE, **MEASURED, **state)
        yield f"p.{name}.distance", score
    else:
        for value in pipeline.model.values:
            unit: dict[str, Any] = {"unit_of_meas": value.unit} if value.unit else {}
            template = templates.value(value.name)
            shown = Entity("sensor", f"{name} {value.name}", val_tpl=template, **unit, **MEASURED, **state)
            yield f"p.{name}.value.{_slug(value.name)}", shown
    if pipeline.events is not None or pipeline.drift is not None:
        yield f"p.{name}.event", _last_event(pipeline, base)
    if pipeline.drift is not None:
        yield f"p.{name}.drift", _diagnosis("binary_sensor", f"{name} drift", templates.drift(name), dev_cla="problem")


def _counts(pipeline: PipelinePlan, state: Mapping[str, Any]) -> Keyed:
    """Yield the entities for counts by label.

    For segmentation only the presence of a label carries information, because each label is counted at most once.
    """
    name, labels, regions = pipeline.name, _labels(pipeline), pipeline.model.task == "segmentation"
    told = labels if len(labels) <= MOST_LABELS else ()
    for label in told:
        slug, template = _slug(label), templates.present(label)
        present = Entity("binary_sensor", f"{name} {label} present", val_tpl=template, dev_cla="occupancy", **state)
        yield f"p.{name}.present.{slug}", present
        if not regions:
            count = Entity("sensor", f"{name} {label} count", val_tpl=templates.count(label), **MEASURED, **state)
            yield f"p.{name}.count.{slug}", count
    if len(told) != 1 or regions:
        what = f"{name} {'regions' if regions else 'objects'}"
        each: dict[str, Any] = {"json_attr_t": state["stat_t"], "json_attr_tpl": templates.COUNTS}
        yield f"p.{name}.count", Entity("sensor", what, val_tpl=templates.TOTAL, **each, **MEASURED, **state)


def _places(pipeline: PipelinePlan, state: Mapping[str, Any]) -> Keyed:
    """Yield presence and count by label for each zone, and the crossings for each line.

    A zone with more than `MOST_LABELS` labels has no entities.
    """
    name = pipeline.name
    for zone in pipeline.zones:
        key, labels = f"p.{name}.zone.{zone.name}", _labels(pipeline) if zone.labels is None else zone.labels
        for label in labels if len(labels) <= MOST_LABELS else ():
            slug, what = _slug(label), f"{name} {zone.name} {label}"
            template = templates.present(label, zone.name)
            yield (
                f"{key}.present.{slug}",
                Entity("binary_sensor", f"{what} present", val_tpl=template, dev_cla="occupancy", **state),
            )
            template = templates.count(label, zone.name)
            yield f"{key}.count.{slug}", Entity("sensor", f"{what} count", val_tpl=template, **MEASURED, **state)
    for line in pipeline.lines:
        for side in ("left", "right"):
            template = templates.crossed(line.name, side)
            yield (
                f"p.{name}.line.{line.name}.{side}",
                Entity("sensor", f"{name} {line.name} {side}", val_tpl=template, stat_cla="total_increasing", **state),
            )


def _class(pipeline: PipelinePlan, state: Mapping[str, Any]) -> Entity:
    labels, few = _labels(pipeline), dict[str, Any]()
    if len(labels) <= MOST_LABELS:
        few = {"dev_cla": "enum", "ops": tuple(dict.fromkeys((*labels, NOTHING)))}
    return Entity("sensor", f"{pipeline.name} class", val_tpl=templates.CLASS, **few, **state)


def _last_event(pipeline: PipelinePlan, base: str) -> Entity:
    types, topic = OF_OBJECTS if pipeline.track else OF_CLASSES, Place("event", pipeline.name).topic(base)
    if pipeline.drift is not None:
        types += OF_DRIFT
    return Entity("event", f"{pipeline.name} last event", stat_t=topic, val_tpl=templates.EVENT, evt_typ=types, qos=1)


def _of_device(base: str, root: Path) -> Keyed:
    topic = Place("config").topic(base)
    yield (
        "d.config",
        _diagnosis("binary_sensor", "configuration rejected", templates.REJECTED, dev_cla="problem", stat_t=topic),
    )
    waiting = templates.member(".outbox.pending")
    yield "d.pending", _diagnosis("sensor", "messages waiting", waiting, **MEASURED)
    yield "d.lost", _diagnosis("sensor", "messages lost", templates.LOST, stat_cla="total_increasing")
    if hottest(root) is not None:
        degrees, celsius = templates.member(".board.temperature"), {"dev_cla": "temperature", "unit_of_meas": "°C"}
        yield "d.temperature", _diagnosis("sensor", "temperature", degrees, **celsius, **MEASURED)
    yield "d.cpu", _diagnosis("sensor", "processor", templates.percent(".board.cpu"), unit_of_meas="%", **MEASURED)
    yield "d.memory", _diagnosis("sensor", "memory", templates.percent(".board.memory"), unit_of_meas="%", **MEASURED)
    if firmware_flags(root) is not None:
        throttled = templates.alarm(".board.throttled")
        yield "d.throttled", _diagnosis("binary_sensor", "throttled", throttled, dev_cla="problem")


def _speed(name: str) -> Keyed:
    rate, latency = templates.told("pipelines", name, "fps"), templates.told("pipelines", name, "latency_ms", ".p95")
    yield f"p.{name}.fps", _diagnosis("sensor", f"{name} rate", rate, unit_of_meas="fps", **MEASURED)
    time = {"dev_cla": "duration", "unit_of_meas": "ms"}
    yield f"p.{name}.latency", _diagnosis("sensor", f"{name} latency", latency, **time, **MEASURED)


def _diagnosis(platform: Platform, name: str, template: str, **more: Any) -> Entity:
    """Return a diagnostic entity.

    If it has no topic of its own, it uses that of the announcement, which is ``health``.
    """
    if "stat_t" not in more:
        more["exp_aft"] = EXPIRE_AFTER
    return Entity(platform, name, val_tpl=template, ent_cat="diagnostic", **more)


def _labels(pipeline: PipelinePlan) -> tuple[str, ...]:
    return pipeline.model.labels if pipeline.labels is None else pipeline.labels


def _slug(text: str) -> str:
    """Return the text as part of a key.

    If it contains characters that are not allowed, they are dropped and a checksum is added.
    """
    plain = re.sub(r"[^A-Za-z0-9_-]+", "-", text)[:64]
    return plain if plain == text else f"{plain}-{zlib.crc32(text.encode()):08x}"
