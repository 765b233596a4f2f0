"""What of a configuration an examination needs, even of one that is not valid."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from edge_infer.config.build import Builder
from edge_infer.config.compile import compile_config
from edge_infer.config.load import Document, read_document, validate
from edge_infer.config.named import NamedFiles
from edge_infer.config.plan import MqttPlan
from edge_infer.config.schema import Config
from edge_infer.doctor.finding import Finding, fail, ok, warn


@dataclass(frozen=True, slots=True)
class Settings:
    """Where the broker and the state directory are."""

    mqtt: MqttPlan
    state_dir: Path


def settings(path: Path) -> Settings:
    """Those of the file where it says something valid, else the defaults."""
    document = read_document(path, os.environ)
    config = validate(document, Config)[0] or Config.model_construct()
    return _settings(document, config)


def configuration(path: Path, state_dir: Path) -> Iterator[Finding]:
    """Whether the daemon could run with the file and the models in the state directory."""
    if not path.exists():
        yield warn("configuration", f"there is no {path}, so defaults are examined", "name yours with -c FILE")
    elif closed := [place for place in (path, state_dir) if place.exists() and not os.access(place, os.R_OK)]:
        yield warn("configuration", f"not checked: this user may not read {closed[0]}", "run: sudo edge-infer doctor")
    else:
        compiled = compile_config(path)
        if compiled.plan is None:
            count = len(compiled.problems)
            fact = f"{count} problem{'' if count == 1 else 's'}, first {compiled.problems[0]}"
            yield fail("configuration", fact, f"see all of them: edge-infer check -c {path}")
        else:
            count = len(compiled.plan.pipelines)
            yield ok("configuration", f"{path} is valid, {count} pipeline{'' if count == 1 else 's'}")


def _settings(document: Document, config: Config) -> Settings:
    build = Builder(document, NamedFiles(document))
    return Settings(build.mqtt(config.mqtt, build.device(config)), Path(build.state_dir(config)))
