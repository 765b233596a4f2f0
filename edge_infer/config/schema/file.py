"""The configuration file, key by key: allowed values, meaning and default of each key.

Each section is one class. ``edge-infer schema config`` and the tables of ``docs/configure.md`` are generated from these
classes. Every key here has an effect. An unknown key is an error, so that no user relies on a key that is ignored.
"""

from __future__ import annotations

import difflib
import json
from collections.abc import Mapping
from typing import Annotated, Any, ClassVar, Final, Literal

from pydantic import Field, model_validator

from edge_infer.config.schema.broker import HOST, TLS, Tls
from edge_infer.config.schema.cascades import wrong_parents
from edge_infer.config.schema.governor import GOVERNOR, Governor, unknown_pipelines
from edge_infer.config.schema.keys import with_keys_of
from edge_infer.config.schema.pipelines import Pipeline
from edge_infer.config.schema.scene import DRIFT, LABEL_LIST, Drift, on_or_off, parse_labels
from edge_infer.config.schema.sources import AnySource
from edge_infer.contract.messages import (
    MAX_PREFIX_CHARACTERS,
    NAME_PATTERN,
    PREFIX_PATTERN,
    RESERVED_MODEL_NAMES,
    RESERVED_NAMES,
)
from edge_infer.plan.records import MAX_RATE, MetricsPlan, OutboxPlan
from edge_infer.yamlfile.error_text import ProblemAtError, suggestion
from edge_infer.yamlfile.fields import NAME, PATH, Kind, Name, choice, flag, integer, size, text
from edge_infer.yamlfile.scalars import shown
from edge_infer.yamlfile.section import Section, Short

MOST: Final = 256
"""Maximum number of pipelines, sources or models. Health and info messages can list no more."""
USE_PATTERN: Final = rf"{NAME_PATTERN}@[A-Za-z0-9][A-Za-z0-9._+-]{{0,63}}"


def _section_or_nothing(value: Any) -> Any:
    """Accept a key with nothing but comments below it as an empty section."""
    return {} if value is None else value


def _names_or_nothing(value: Any) -> Any:
    """Accept an empty section of names. Reject more names than the device can report."""
    if isinstance(value, dict) and len(value) > MOST:
        raise ValueError(f"{len(value)} entries are more than one device can report; at most {MOST}")
    return _section_or_nothing(value)


OR_NOTHING: Final = Short(_section_or_nothing, {"type": "null"})
NAMES: Final = Short(_names_or_nothing, {"type": "null"})


class Device(Section):
    """The box that the daemon runs on."""

    id: Annotated[str | None, NAME, Field(examples=["gate-3"])] = None
    """Name of this box in topics; without it the host name up to its first dot (other characters become `-`)."""
    state_dir: Annotated[str | None, PATH, Field(examples=["/var/lib/edge-infer"])] = None
    """Folder for data that must outlive a restart; without it `$STATE_DIRECTORY`, for root `/var/lib/edge-infer`, else
    `$XDG_STATE_HOME/edge-infer`."""


class Security(Section):
    """Requirements that a model must meet before it may serve."""

    require_digest: Annotated[bool, flag()] = False
    """Allow only models with a given digest: `sha256` of the model, or of its manifest."""
    require_signature: Annotated[bool, flag()] = False
    """Allow only packages with a manifest signed by one of the `keys`; needs the extra `signatures`."""
    allow_downgrade: Annotated[bool, flag()] = False
    """Let a package serve in a version below the highest one that was committed on this device."""
    keys: Annotated[str, text("the path of a folder", most=4096)] = "keys/"
    """Folder of trusted public keys (Ed25519, `*.pem`); read with `require_signature` only."""


class Mqtt(Section):
    """The broker."""

    host: Annotated[str, HOST, Field(examples=["broker.lan"])] = "127.0.0.1"
    """Host name or address of the broker."""
    port: Annotated[int | None, integer(1, 65535), Field(examples=[8883])] = None
    """Port of the broker; without it 1883, with `tls` 8883."""
    tls: Annotated[Tls | None, TLS, Field(examples=[True])] = None
    """Encrypt the connection: `true` trusts the authorities of the system; keys name files instead."""
    username: Annotated[str | None, text("a user name"), Field(examples=["edge"])] = None
    """User name at the broker."""
    password_file: Annotated[str | None, PATH, Field(examples=["mqtt.pass"])] = None
    """File that holds the password and nothing else."""
    prefix: Annotated[
        str,
        text(
            "topic levels such as site/edge, without +, #, a leading $ or empty levels",
            PREFIX_PATTERN,
            MAX_PREFIX_CHARACTERS,
        ),
    ] = "edge-infer"
    """First part of every topic."""
    qos: Annotated[Literal[0, 1], choice(0, 1)] = 1
    """MQTT quality of service; with 0, delivered means written to the socket."""
    client_id: Annotated[str | None, text("a client id", most=128), Field(examples=["edge-infer-gate-3"])] = None
    """Name of this client at the broker, one for each device; without it `edge-infer-<device id>`."""
    max_rate: Annotated[int, size(1 << 10, 1 << 30), Field(examples=["64K"])] = MAX_RATE
    """Bytes a second that may be published on average, in bursts of 10 s; further messages wait in the outbox."""
    discovery: Annotated[Literal["off", "homeassistant"], choice("off", "homeassistant")] = "off"
    """System to which the device announces pipelines and their values, as entities."""

    @model_validator(mode="after")
    def _belongs_together(self) -> Mqtt:
        if self.password_file and self.username is None:
            raise ProblemAtError(("password_file",), "needs username, the user that this password belongs to")
        return self


@with_keys_of(OutboxPlan)
class Outbox(Section):
    """Queue of messages while the broker is unreachable."""


@with_keys_of(MetricsPlan, file=text("the path of a file that ends with .prom", r"[^\x00-\x1f\x7f]+\.prom", 4096))
class Metrics(Section):
    """A file with metrics for Prometheus, which node_exporter's textfile collector reads."""


def _metrics(value: Any) -> Any:
    return None if value is None else on_or_off(value, ", ".join(Metrics.model_fields))


def _labels_or_file(value: Any) -> str | tuple[str, ...]:
    """Return the path of a file with one label a line, or the labels themselves."""
    if isinstance(value, str):
        return str(value)
    return parse_labels(value, "the path of a file with one label a line, or a list of labels")


class ModelSection(Section):
    """A model: a file, or a package in the model store."""

    one_of: ClassVar[tuple[str, ...]] = ("file", "use")
    file: Annotated[str | None, PATH, Field(examples=["models/person.tflite"])] = None
    """A `.tflite` file; a manifest next to it (`person.yaml`) is read too."""
    use: Annotated[
        str | None, text("NAME@VERSION of a package in the model store", USE_PATTERN), Field(examples=["face@1.0.0"])
    ] = None
    """A package in the model store, in `<state_dir>/models/<name>/<version>/`."""
    sha256: Annotated[
        str | None,
        text("64 hexadecimal digits, as sha256sum prints them", "[0-9a-fA-F]{64}"),
        Field(examples=["3fa9" * 16]),
    ] = None
    """Only a file with this digest may serve; without it, the file as it is when the configuration is applied."""
    labels: Annotated[
        str | tuple[str, ...] | None,
        Kind(_labels_or_file, {"anyOf": [{"type": "string"}, LABEL_LIST]}),
        Field(examples=["models/coco.txt"]),
    ] = None
    """File with one label a line, or a list; without it those of the manifest, then those inside the model file."""

    @model_validator(mode="after")
    def _one_of_two(self) -> ModelSection:
        if (self.file is None) == (self.use is None):
            raise ValueError("needs either file (a .tflite file) or use (NAME@VERSION of a package), and not both")
        return self


def _name_but(reserved: frozenset[str], owner: str, use: str) -> Kind:
    """Return the kind of a name for an ``owner`` that is not reserved as a topic ``use``."""

    def parse(value: Any) -> str:
        found: str = NAME.parse(value)
        if found in reserved:
            others = ", ".join(sorted(reserved - {found}))
            raise ValueError(f"{owner} cannot have this name, which is a topic {use}; {others} are reserved, too")
        return found

    pattern = rf"^(?!(?:{'|'.join(sorted(reserved))})$)(?:{NAME_PATTERN})$"
    return Kind(parse, {"type": "string", "pattern": pattern})


PipelineName = Annotated[str, _name_but(RESERVED_NAMES, "a pipeline", "of the device")]
ModelName = Annotated[str, _name_but(RESERVED_MODEL_NAMES, "a model", "of each pipeline")]


class Config(Section):
    """The whole file. Every section is optional."""

    device: Annotated[Device, OR_NOTHING] = Device()
    """The box that the daemon runs on."""
    security: Annotated[Security, OR_NOTHING] = Security()
    """Requirements that a model must meet before it may serve."""
    mqtt: Annotated[Mqtt, OR_NOTHING] = Mqtt()
    """The broker."""
    outbox: Annotated[Outbox, OR_NOTHING] = Outbox()
    """Queue of messages while the broker is unreachable."""
    rooms: Annotated[Literal["separate", "merged"], choice("separate", "merged")] = "separate"
    """`merged`: supervisor and publisher in one process, which saves memory but weakens the sandbox; see below."""
    governor: Annotated[Governor | None, GOVERNOR, Field(examples=[True])] = None
    """Lower frame rates before the board gets too hot or too busy; `true`, or keys."""
    metrics: Annotated[Metrics | None, Short(_metrics, {"type": ["boolean", "null"]}), Field(examples=[True])] = None
    """Write metrics for Prometheus into a file; `true`, or keys."""
    drift: Annotated[Drift | None, DRIFT, Field(examples=[True])] = None
    """Report when a camera's pictures or a model's findings no longer look as learned, in all pipelines; `true`, or
    keys."""
    models: Annotated[dict[ModelName, ModelSection], NAMES] = Field(default_factory=dict)
    """Models by name."""
    sources: Annotated[dict[Name, AnySource], NAMES] = Field(default_factory=dict)
    """Sources by name."""
    pipelines: Annotated[dict[PipelineName, Pipeline], NAMES] = Field(default_factory=dict)
    """Pipelines by name; the name is the topic below the device's."""


def dangling(value: Mapping[str, Any]) -> list[tuple[tuple[str | int, ...], str]]:
    """Return the position of each reference to a missing entry and of each circular reference, with a sentence.

    ``value`` may have any faults. References into a section with a misspelt name are not reported in addition.
    """
    found: list[tuple[tuple[str | int, ...], str]] = []
    extra = value.keys() - Config.model_fields.keys()
    meant = {close for key in extra for close in difflib.get_close_matches(key, Config.model_fields, 1)}
    for name, pipeline in _group(value.get("pipelines")).items():
        for key, section in (("source", "sources"), ("model", "models")):
            referred, known = _group(pipeline).get(key), _group(value.get(section))
            if isinstance(referred, str) and referred not in known and (known or section not in meant):
                sentence = f"there is no {shown(referred)} under {section}; {suggestion(referred, known)}"
                found.append((("pipelines", name, key), sentence))
        shadow, known = _group(_group(pipeline).get("shadow")).get("model"), _group(value.get("models"))
        if isinstance(shadow, str) and shadow not in known and (known or "models" not in meant):
            sentence = f"there is no {shown(shadow)} under models; {suggestion(shadow, known)}"
            found.append((("pipelines", name, "shadow", "model"), sentence))
    if value.get("pipelines") or "pipelines" not in meant:
        found += unknown_pipelines(value.get("governor"), _group(value.get("pipelines")))
    return [*found, *wrong_parents(_group(value.get("pipelines")), _group(value.get("sources")))]


def _group(value: Any) -> Mapping[str, Any]:
    return value if isinstance(value, dict) else {}


# The JSON Schema of the configuration file, for editors.

_MODEL: Final = "Model"
"""Name of `ModelSection` in the schema. Editors and generated classes depend on it."""


def config_schema() -> dict[str, Any]:
    """Return the schema, draft 2020-12, generated from the classes with which the program validates."""
    found = json.loads(json.dumps(Config.model_json_schema()).replace(ModelSection.__name__, _MODEL))
    _close_names(found)
    draft = "https://json-schema.org/draft/2020-12/schema"
    return {"$schema": draft, **found, "title": "Configuration of edge-infer"}


def _close_names(part: Any) -> None:
    """Reject names that do not match the pattern, wherever users choose names."""
    if isinstance(part, dict):
        if "patternProperties" in part:
            part["additionalProperties"] = False
        part = list(part.values())
    for inner in part if isinstance(part, list) else ():
        _close_names(inner)
