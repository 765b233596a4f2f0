"""MQTT messages as lines for a terminal; a result shows a strip of the picture with its objects."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any, Final

from edge_infer.contract.codec import ABSENT, decode
from edge_infer.contract.messages import (
    PAYLOADS,
    Anomaly,
    ConfigStatus,
    Event,
    Health,
    Info,
    ModelStatus,
    Parent,
    Result,
    State,
    Value,
)
from edge_infer.errors import WireError

WIDTH: Final = 40
"""Width of a strip in characters; it represents the whole width of the picture."""
_COLORS: Final[Mapping[str, str]] = {"good": "32", "bad": "31", "dim": "2", "name": "36", "warn": "33"}


class Painter:
    """Turns messages into lines, with ``color`` for a terminal; text from the broker cannot control the terminal."""

    def __init__(self, *, color: bool) -> None:
        self._color = color

    def line(self, topic: str, payload: bytes) -> str:
        """Return the line for one message; an unknown payload is shown as it is."""
        name, _, kind = topic.rpartition("/")
        if kind == "status":
            good = payload == b"online"
            return self._line(name, self._paint(_plain(payload.decode(errors="replace")), "good" if good else "bad"))
        if not payload:
            return self._line(topic, self._paint("cleared", "dim"))
        try:
            record = decode(_record(topic), json.loads(payload))
        except (WireError, ValueError, RecursionError):
            return self._line(topic, _plain(payload[:200].decode(errors="replace")))
        return self._line(name.rpartition("/")[2] if kind in ("result", "state", "event") else kind, self._say(record))

    def _line(self, name: str, text: str) -> str:
        return f"{self._paint(f'{_plain(name):<14}', 'name')} {text}"

    def _paint(self, text: str, color: str) -> str:
        return f"\x1b[{_COLORS[color]}m{text}\x1b[0m" if self._color else text

    def _say(self, record: Any) -> str:
        if isinstance(record, Result):
            return self._result(record)
        if isinstance(record, State):
            return self._state(record)
        if isinstance(record, Health):
            return self._paint(_health(record), "dim")
        if isinstance(record, ConfigStatus):
            text = f"configuration {record.digest[:8]} {record.state}"
            return self._paint(text, "dim") if record.state == "applied" else self._paint(_errors(text, record), "bad")
        return self._paint(_plain(_SENTENCES[type(record)](record)), "dim")

    def _result(self, result: Result) -> str:
        picture = f"|{strip(result)}| " if result.objects is not ABSENT else ""
        more = f" and {result.more} more" if result.more is not ABSENT else ""
        head = self._paint(f"{result.ts[11:23]} #{result.seq:<5}", "dim")
        if isinstance(result.parent, Parent):
            head += f" {_plain(result.parent.label)}{f' #{result.parent.id}' if result.parent.id else ''}:"
        tail = self._paint(f"  {result.ms:.0f} ms" if result.ms is not ABSENT else "", "dim")
        late = self._paint("  late", "warn") if result.replay is not ABSENT else ""
        return f"{head} {picture}{_plain(', '.join(_found(result)) or 'nothing')}{more}{tail}{late}"

    def _state(self, state: State) -> str:
        if isinstance(state.counts, Mapping):
            text = ", ".join(f"{count} {label}" for label, count in state.counts.items() if count) or "nothing"
        elif isinstance(state.class_, str):
            text = state.class_
        elif isinstance(state.anomaly, Anomaly):
            text = _anomaly(state.anomaly)
        elif isinstance(state.values, tuple):
            text = ", ".join(map(_value, state.values))
        elif state.reason is ABSENT:
            text = "nothing"
        else:
            return self._paint(f"now: unknown: {state.reason.replace('_', ' ')}", "warn")
        return self._paint(f"now: {_plain(text)}", "good")


def _found(result: Result) -> list[str]:
    """Return the findings of a result as text, for any task."""
    words = [f"{item.label} {item.score:.2f}" for item in result.objects or ()]
    words += [f"{item.label} {item.score:.2f}" for item in result.classes or ()]
    words += [f"pose {pose.score:.2f}" for pose in result.poses or ()]
    words += [f"{item.label} {item.share:.0%}" for item in result.segments or ()]
    words += [_anomaly(result.anomaly)] if isinstance(result.anomaly, Anomaly) else []
    return words + [_value(value) for value in result.values or ()]


def _anomaly(anomaly: Anomaly) -> str:
    return f"{anomaly.state} {anomaly.score:g} (limit {anomaly.threshold:g})"


def _value(value: Value) -> str:
    shown = "implausible" if value.value is None else f"{value.value:g} {value.unit}".rstrip()
    return f"{value.name} {shown}"


def strip(result: Result, width: int = WIDTH) -> str:
    """Return a strip of the picture, from left to right: an object fills its extent with its label's initial.

    The best object is on top.
    """
    columns = ["."] * width
    for item in reversed(() if result.objects is ABSENT else result.objects):
        left, right = (min(int(x * width), width - 1) for x in (item.box[0], item.box[2]))
        columns[left : right + 1] = (_plain(item.label) or "?")[0] * (right + 1 - left)
    return "".join(columns)


def _record(topic: str) -> type[Any]:
    words = topic.split("/")
    names = {"config": "config-status"}
    return PAYLOADS["model"] if words[-2:-1] == ["model"] else PAYLOADS.get(names.get(words[-1], words[-1]), Result)


def _plain(text: str) -> str:
    return "".join(letter if letter.isprintable() else "?" for letter in text)


def _errors(text: str, status: ConfigStatus) -> str:
    return _plain(": ".join([text, *status.errors[:1]])) + (
        f" (and {len(status.errors) - 1} more)" if len(status.errors) > 1 else ""
    )


def _health(health: Health) -> str:
    parts = []
    for name, pipeline in health.pipelines.items():
        latency = f", p95 {pipeline.latency_ms.p95:.0f} ms" if pipeline.latency_ms else ""
        parts.append(f"{name} {pipeline.fps:g} fps{latency}")
    parts += [f"{name} {source.state}" for name, source in health.sources.items()]
    lost = sum(health.outbox.lost.values())
    parts.append(f"{health.outbox.delivered} delivered, {health.outbox.pending} pending, {lost} lost")
    board = health.board
    figures = (("cpu", board.cpu, 100, " %"), ("memory", board.memory, 100, " %"), ("", board.temperature, 1, " °C"))
    parts.append(
        ", ".join(f"{name} {value * by:.0f}{unit}".strip() for name, value, by, unit in figures if value is not None)
    )
    return _plain("; ".join(part for part in parts if part)) + ("; throttled" if board.throttled else "")


def _event(event: Event) -> str:
    number = ABSENT if event.id is ABSENT else f"#{event.id}"
    score = ABSENT if event.score is ABSENT else f"{event.score:.2f}"
    late = ABSENT if event.replay is ABSENT else "late"
    words = (event.type, event.label, number, score, event.zone, event.line, event.direction, event.reason, late)
    return f"event: {' '.join(word for word in words if isinstance(word, str))}"


def _info(info: Info) -> str:
    pipelines = ", ".join(f"{name}: {item.model} on {item.source}" for name, item in info.pipelines.items())
    return f"{info.board}; {pipelines}"


def _model(status: ModelStatus) -> str:
    reason = "" if status.reason is ABSENT else f": {status.reason}"
    return f"{status.state} {status.version or ''} {status.sha or ''}{reason}"


_SENTENCES: Final[Mapping[type[Any], Any]] = {Event: _event, Info: _info, ModelStatus: _model}


# Status text about delegates, the libraries that run a model instead of the processor.


def delegate_lines(status: ModelStatus) -> Iterator[str]:
    """Yield a sentence for each pipeline of a model that has a delegate."""
    for pipeline, each in status.delegate.items() if isinstance(status.delegate, Mapping) else ():
        if each.reason is not ABSENT:
            yield f"delegate in {pipeline}: {each.library} does not run the model, so the processor does: {each.reason}"
        else:
            yield f"delegate in {pipeline}: {each.library} runs {each.share:.0%} of the operators"
