"""The templates by which Home Assistant reads our payloads. ``None`` in a template is its word for not known."""

from __future__ import annotations

from typing import Final


def quoted(text: str) -> str:
    """A text as a Jinja string, of letters that mean nothing to Jinja wherever they stand."""
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
"""Nothing for a late one, which is no news."""
LOST: Final = "{{value_json.outbox.lost.values()|sum-value_json.outbox.lost.get('unknown',0)}}"
"""Without those of which nobody knows after a power cut: most of them have arrived, or never were."""
RECENT: Final = (
    "{{'online' if value_json.clock is defined or as_timestamp(now())-as_timestamp(value_json.ts)<70 else 'offline'}}"
)
"""Whether a health, which comes every 30 s, is of now: a broker may have it on its disk from before a power cut."""
REJECTED: Final = "{{'ON' if value_json.state=='rejected' else 'OFF'}}"


def count(label: str, zone: str = "") -> str:
    """How many objects have this label, in all or in a zone."""
    counts, known = _counts(zone)
    return f"{{{{{counts}.get({quoted(label)},0) if {known} else None}}}}"


def present(label: str, zone: str = "") -> str:
    """Whether there is one."""
    counts, known = _counts(zone)
    return f"{{{{('ON' if {counts}.get({quoted(label)}) else 'OFF') if {known} else None}}}}"


def crossed(line: str, side: str) -> str:
    """How many went over a line to this side."""
    return f"{{{{value_json.lines[{quoted(line)}].{side} if {_told('lines', line)} else None}}}}"


def _counts(zone: str) -> tuple[str, str]:
    """Where the counts by label are, and the condition that they are there."""
    if not zone:
        return "value_json.counts", "value_json.counts is mapping"
    return f"value_json.zones[{quoted(zone)}]", _told("zones", zone)


def _told(group: str, name: str) -> str:
    """What has no room in a state is left out of it."""
    return f"value_json.{group} is mapping and {quoted(name)} in value_json.{group}"


def value(name: str) -> str:
    """A value of a regression."""
    chosen = f"(value_json['values']|selectattr('name','eq',{quoted(name)})|first).value"
    return f"{{{{{chosen} if value_json['values'] else None}}}}"


def member(path: str) -> str:
    """Something in a payload that may be null, by its path in Jinja."""
    return f"{{{{value_json{path}}}}}"


def percent(path: str) -> str:
    """A share of 1 that may be null, in percent."""
    return f"{{{{(value_json{path}*100)|round(1) if value_json{path} is number else None}}}}"


def alarm(path: str) -> str:
    """Something true, false or null."""
    return f"{{{{('ON' if value_json{path} else 'OFF') if value_json{path} is boolean else None}}}}"


def told(group: str, name: str, member: str, below: str = "") -> str:
    """Something in the part of ``health`` about one pipeline or source, which may not be there (yet), or be null."""
    part = f"value_json.{group}[{quoted(name)}]"
    there = f"{quoted(name)} in value_json.{group}" + (f" and {part}.{member}" if below else "")
    return f"{{{{{part}.{member}{below} if {there} else None}}}}"
