"""The tables of docs/configure.md, made of the schema: ``python -m tests.config.reference`` prints them."""

from __future__ import annotations

from collections.abc import Iterator

from pydantic.fields import FieldInfo

from edge_infer.config.schema.broker import Tls
from edge_infer.config.schema.drift import Drift
from edge_infer.config.schema.file import Config, Device, Metrics, ModelSection, Mqtt, Outbox, Security
from edge_infer.config.schema.governor import Governor
from edge_infer.config.schema.pipelines import Delegate, Motion, Nms, Pipeline, Preprocess, Shadow
from edge_infer.config.schema.scene import Events, Track, Zone
from edge_infer.config.schema.signal_sources import SourceSection
from edge_infer.config.schema.sources import sections
from edge_infer.yamlfile.error_text import as_yaml
from edge_infer.yamlfile.section import Section, written_default

SECTIONS: dict[str, type[Section]] = {
    "device": Device,
    "security": Security,
    "mqtt": Mqtt,
    "mqtt.tls": Tls,
    "outbox": Outbox,
    "governor": Governor,
    "metrics": Metrics,
    "drift": Drift,
    "models.NAME": ModelSection,
    "pipelines.NAME": Pipeline,
    "pipelines.NAME.delegate": Delegate,
    "pipelines.NAME.preprocess": Preprocess,
    "pipelines.NAME.nms": Nms,
    "pipelines.NAME.track": Track,
    "pipelines.NAME.zones.NAME": Zone,
    "pipelines.NAME.events": Events,
    "pipelines.NAME.shadow": Shadow,
    "pipelines.NAME.motion": Motion,
    "sources.NAME": SourceSection,
    **{f"kind: {kind}": section for kind, section in sections().items()},
}

HEAD = "| key | default | meaning |\n|---|---|---|"
VALUES = ("rooms",)
"""Keys of the file that are no sections."""


def tables() -> Iterator[tuple[str, str]]:
    """The name of every section and its table."""
    for key in VALUES:
        yield key, "\n".join([HEAD, row(key, Config.model_fields[key])])
    for name, section in SECTIONS.items():
        common = SourceSection.model_fields if name.startswith("kind: ") else {}
        rows = [row(key, item) for key, item in section.model_fields.items() if key not in {*common, "kind"}]
        yield name, "\n".join([HEAD, *rows])


def row(key: str, item: FieldInfo) -> str:
    default = written_default(item)
    shown = "required" if item.is_required() else "" if default is None else f"`{as_yaml(default)}`"
    return f"| `{key}` | {shown} | {' '.join((item.description or '').split()).replace('|', chr(92) + '|')} |"


if __name__ == "__main__":
    for title, table in tables():
        print(f"{title}\n\n{table}\n")
