"""Generates the tables of docs/configure.md from the classes that validate the configuration."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from pydantic.fields import FieldInfo

from edge_infer.config.schema.broker import Tls
from edge_infer.config.schema.file import Config, Device, Metrics, ModelSection, Mqtt, Outbox, Security
from edge_infer.config.schema.governor import Governor
from edge_infer.config.schema.pipelines import Delegate, Motion, Nms, Pipeline, Preprocess, Shadow
from edge_infer.config.schema.scene import Drift, Events, Track, Zone
from edge_infer.config.schema.signal_sources import SourceSection
from edge_infer.config.schema.sources import sections
from edge_infer.yamlfile.error_text import as_yaml
from edge_infer.yamlfile.section import Section, written_default

PAGE: Final = Path(__file__).resolve().parents[1] / "docs" / "configure.md"
SECTIONS: Final[dict[str, type[Section]]] = {
    "device": Device,
    "security": Security,
    "mqtt": Mqtt,
    "mqtt.tls": Tls,
    "outbox": Outbox,
    "": Config,
    "governor": Governor,
    "metrics": Metrics,
    "drift": Drift,
    "models.NAME": ModelSection,
    "sources.NAME": SourceSection,
    **{f"kind: {kind}": section for kind, section in sections().items()},
    "pipelines.NAME": Pipeline,
    "pipelines.NAME.delegate": Delegate,
    "pipelines.NAME.preprocess": Preprocess,
    "pipelines.NAME.nms": Nms,
    "pipelines.NAME.track": Track,
    "pipelines.NAME.zones.NAME": Zone,
    "pipelines.NAME.events": Events,
    "pipelines.NAME.shadow": Shadow,
    "pipelines.NAME.motion": Motion,
}
"""Every section, in the order of the page."""
VALUES: Final = {"rooms"}
"""Top-level keys that are not sections."""
HEAD: Final = "| key | default | meaning |\n|---|---|---|\n"
_TABLE: Final = re.compile(re.escape(HEAD) + r"(?:\|.*\n)+")


def page() -> str:
    """Return the page with new tables; raises ValueError unless the page has one table for each section."""
    text = PAGE.read_text(encoding="utf-8")
    if len(_TABLE.findall(text)) != len(SECTIONS):
        raise ValueError(f"{PAGE} has {len(_TABLE.findall(text))} tables of keys, for {len(SECTIONS)} sections")
    made = tables()
    return _TABLE.sub(lambda _: next(made), text)


def tables() -> Iterator[str]:
    """Yield the table of every section."""
    for name, section in SECTIONS.items():
        common = {*SourceSection.model_fields, "kind"} if name.startswith("kind: ") else set()
        meanings = section.meanings()
        keys = section.model_fields if name else {key: section.model_fields[key] for key in VALUES}
        yield HEAD + "".join(_row(key, item, meanings.get(key, "")) for key, item in keys.items() if key not in common)


def _row(key: str, item: FieldInfo, meaning: str) -> str:
    default = written_default(item)
    shown = "required" if item.is_required() else "" if default is None else f"`{as_yaml(default)}`"
    return f"| `{key}` | {shown} | {meaning.replace('|', chr(92) + '|')} |\n"
