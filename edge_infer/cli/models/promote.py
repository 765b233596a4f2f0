"""``edge-infer models promote``: make a shadow the model of its pipeline by editing the configuration file."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from edge_infer.cli.arguments import Actions, add_action, add_config
from edge_infer.cli.edit import apply_edit
from edge_infer.config.edit import promoted, shadowing
from edge_infer.config.file_edit import read
from edge_infer.config.parts import file_of, read_config
from edge_infer.errors import ConfigError
from edge_infer.supervisor.control.server import ask, find_socket


def add(actions: Actions) -> None:
    """Declare the action."""
    purpose = "makes a shadow the model of its pipeline: edits the configuration and applies it"
    rise = add_config(add_action(actions, "promote", purpose, "next --pipeline door-faces", run))
    rise.add_argument("name", metavar="NAME", help="the shadow's model in the configuration")
    rise.add_argument("--pipeline", metavar="P", help="only in this pipeline; default: every pipeline with this shadow")


def run(args: argparse.Namespace) -> int:
    """Return 0 if applied, 2 if rejected (file restored); exit code 1 without a daemon (file untouched)."""
    socket = find_socket(args.config)
    before = ask(socket, {"do": "status"}, timeout=30.0)
    file = file_with_shadow(args.config, args.name, args.pipeline)
    data = read(file)
    edited, pipelines = promoted(file, data, args.name, args.pipeline)
    news = [
        f"{file}: pipelines.{pipeline}: model: {args.name}, and no shadow{_known(before, pipeline)}"
        for pipeline in pipelines
    ]
    digest = apply_edit(file, socket, data, edited, news)
    if digest is None:
        return 2
    print(f"applied {digest}; to wait for the end of the probation: edge-infer models wait {args.name}")
    return 0


def file_with_shadow(config: Path, name: str, pipeline: str | None) -> Path:
    """Return the file of the pipelines with this shadow; raises `ConfigError` for several, as one edit changes one."""
    if pipeline is not None:
        return file_of(config, "pipelines", pipeline)
    value = read_config(config).value
    names = [*shadowing(value, name)]
    files = {file_of(config, "pipelines", each) for each in names}
    if len(files) > 1:
        raise ConfigError(f"pipelines in several files have this shadow; choose one: --pipeline {' or '.join(names)}")
    return files.pop() if files else config


def _known(status: Any, pipeline: str) -> str:
    """Describe the result of the comparison so far."""
    for model in status.get("models", {}).values():
        shadow = model.get("shadow", {}).get(pipeline, {})
        if shadow.get("state") == "off":
            return f"; the shadow was off: {shadow.get('reason', '')}"
        if shadow.get("agreement") is not None:
            return f"; it agreed on {shadow['agreement']:.1%} of {shadow['frames']} frames"
    return "; it has not been compared yet"
