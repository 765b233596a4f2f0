"""Jinja templates with which Home Assistant reads the payloads.

``None`` in a template means that a value is unknown.
"""

from __future__ import annotations

from typing import Final


def quoted(text: str) -> str:
    """Return a text as a Jinja string; every character with a meaning in Jinja is escaped."""
    return '"' + "".join(letter if letter.isascii() and letter.isalnum() else _escape(letter) for letter in text) + '"'


def _escape(letter: str) -> str:
    code = ord(letter)
    if letter in " _-.,:":
        return letter
    return f"\\x{code:02x}" if code < 0x100 else f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}"


TOTAL: Final = "{{value_json.counts.values()|sum if value_json.counts is mapping else None}}"
COUNTS: Final = "{{(value_json.counts or {})|to_json}}"
CLASS: Final = "{{value_json['class'] or (None if value_json.reason is defined else 'nothing')}}"
ANOMALOUS: Final = (
    "{{('ON' if value_json.anomaly.state=='anomalous' else 'OFF') if value_json.anomaly is mapping else None}}"
)
DISTANCE: Final = "{{value_json.anomaly.score if value_json.anomaly is mapping else None}}"
EVENT: Final = "{{dict(value_json,event_type=value_json.type)|to_json if value_json.replay is not defined}}"
"""Empty for a replayed event, because it does not happen now."""
LOST: Final = "{{value_json.outbox.lost.values()|sum-value_json.outbox.lost.get('unknown',0)}}"
"""Losses without ``unknown``. Unknown losses are counted after a power cut, and most of these messages arrived or never
existed."""
RECENT: Final = (
    "{{'online' if value_json.clock is defined or as_timestamp(now())-as_timestamp(value_json.ts)<70 else 'offline'}}"
)
"""Whether a health message, sent every 30 s, is current: the broker may still hold one from before a power cut."""
REJECTED: Final = "{{'ON' if value_json.state=='rejected' else 'OFF'}}"


def count(label: str, zone: str = "") -> str:
    """Return the template for the number of objects with this label, in total or in a zone."""
    return f"{{{{{_count(label, zone)}}}}}"


def present(label: str, zone: str = "") -> str:
    """Return the template for the presence of this label, in total or in a zone."""
    return f"{{% set n={_count(label, zone)} %}}{{{{('ON' if n else 'OFF') if n is number else None}}}}"


def crossed(line: str, side: str) -> str:
    """Return the template for the number of crossings of a line to this side."""
    return f"{{{{value_json.lines[{quoted(line)}].{side} if {_told('lines', line)} else None}}}}"


def _count(label: str, zone: str) -> str:
    """Return the expression for the number of objects with this label, in total or in a zone.

    A missing label counts as 0, unless the state omits labels that do not fit (``more``).
    """
    counts = f"value_json.zones[{quoted(zone)}]" if zone else "value_json.counts"
    known = _told("zones", zone) if zone else "value_json.counts is mapping"
    return f"{counts}.get({quoted(label)},None if value_json.more is defined else 0) if {known} else None"


def _told(group: str, name: str) -> str:
    """Return the condition that a member of a group is present: a state omits members that do not fit."""
    return f"value_json.{group} is mapping and {quoted(name)} in value_json.{group}"


def value(name: str) -> str:
    """Return the template for a regression value."""
    chosen = f"(value_json['values']|selectattr('name','eq',{quoted(name)})|first).value"
    return f"{{{{{chosen} if value_json['values'] else None}}}}"


def member(path: str) -> str:
    """Return the template for a payload member that may be null, given its path in Jinja."""
    return f"{{{{value_json{path}}}}}"


def percent(path: str) -> str:
    """Return the template for a fraction that may be null, in percent."""
    return f"{{{{(value_json{path}*100)|round(1) if value_json{path} is number else None}}}}"


def alarm(path: str) -> str:
    """Return the template for a member that is true, false or null."""
    return f"{{{{('ON' if value_json{path} else 'OFF') if value_json{path} is boolean else None}}}}"


def drift(name: str) -> str:
    """Return the template for whether the camera or the model of a pipeline drifts, from ``health``."""
    there = f"value_json.drift is mapping and {quoted(name)} in value_json.drift"
    part = f"value_json.drift[{quoted(name)}]"
    calm = "['ok','learning',None]"
    states = f"{part}.get('camera') not in {calm} or {part}.get('outcome') not in {calm}"
    return f"{{{{('ON' if {states} else 'OFF') if {there} else None}}}}"


def told(group: str, name: str, member: str, below: str = "") -> str:
    """Return the template for a ``health`` member of one pipeline or source, which may be missing or null."""
    part = f"value_json.{group}[{quoted(name)}]"
    there = f"{quoted(name)} in value_json.{group}" + (f" and {part}.{member}" if below else "")
    return f"{{{{{part}.{member}{below} if {there} else None}}}}"
