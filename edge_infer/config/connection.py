"""The broker and the state directory, read from a configuration that may have errors elsewhere."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from edge_infer.config.build import Builder
from edge_infer.config.compile import sound_part
from edge_infer.config.load import Document, read_document, validate
from edge_infer.config.named import NamedFiles
from edge_infer.config.plan import MqttPlan
from edge_infer.config.schema import Config
from edge_infer.errors import ConfigError

SECTIONS: Final = ("device", "mqtt")


@dataclass(frozen=True, slots=True)
class Connection:
    """The part of the configuration that other tools beside the daemon need."""

    mqtt: MqttPlan
    state_dir: Path


def connection(path: Path, environment: Mapping[str, str] = os.environ) -> Connection:
    """Return the connection of a file; raises `ConfigError` if it is unreadable or ``device`` or ``mqtt`` is wrong."""
    document = read_document(path, environment)
    config, problems = validate(document, Config)
    if document.value is not None:
        config = config or sound_part(document, problems)
    wrong = [problem for problem in problems if config is None or problem.path.partition(".")[0] in SECTIONS]
    if config is None or wrong:
        raise ConfigError("\n".join(map(str, wrong)))
    return _connection(document, config)


def usual_connection() -> Connection:
    """Return the connection of an empty configuration."""
    return _connection(Document("", "", None, None), Config())


def _connection(document: Document, config: Config) -> Connection:
    build = Builder(document, NamedFiles(document))
    return Connection(build.mqtt(config.mqtt, build.device(config)), Path(build.state_dir(config)))
