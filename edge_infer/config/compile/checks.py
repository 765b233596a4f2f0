"""Finds models that cannot be used, and models that were tried before, without another trial."""

from __future__ import annotations

import hashlib
import os
from collections import Counter
from collections.abc import Iterator
from contextlib import suppress
from importlib.util import find_spec
from pathlib import Path
from typing import Final

from edge_infer.config.schema.file import Config, ModelSection
from edge_infer.contract.codec import dumps
from edge_infer.errors import ModelError, quoted, shortened
from edge_infer.ipc.channel import MAX_PLAN_BYTES
from edge_infer.models.packages.package import find_package
from edge_infer.models.packages.read_files import largest_here
from edge_infer.models.request import ModelRequest
from edge_infer.models.serving_record import ServingRecord
from edge_infer.plan.credentials import plain_connections
from edge_infer.plan.records import ModelPlan, Plan, Problem, SourcePlan, TextPlan, Unfit
from edge_infer.plan.source_kinds import KINDS
from edge_infer.platform.extras import install_command
from edge_infer.platform.paths import source_folder
from edge_infer.readers.sources import link_out
from edge_infer.sandbox import system_paths
from edge_infer.sandbox.name_look_up import closed_look_up
from edge_infer.sandbox.needs import engine_fence, look_ups
from edge_infer.yamlfile.load import Document

MAX_EXAMINED: Final = 1000
"""Number of entries of a folder of pictures that are examined for links; a folder may hold a million."""
MAX_BYTES: Final = MAX_PLAN_BYTES - (1 << 20)
"""Maximum bytes of a plan. The rest of a record is for data that is sent with the plan, such as warnings."""


def entry_of(section: ModelSection) -> str:
    """Return a digest of a model's entry in the configuration."""
    return hashlib.sha256(section.model_dump_json().encode()).hexdigest()[:16]


def unfit(request: ModelRequest, entry: str, error: ModelError) -> Unfit:
    """Return the record of a model that was refused."""
    found = _look(request)
    title, sha256 = found or (Path(request.file).stem[:128] or request.name, None)
    reason = shortened(quoted(str(error)) if error.foreign else str(error))
    return Unfit(request.name, sha256, entry, title, reason, error.tried and sha256 is not None)


def in_vain(request: ModelRequest, entry: str, record: ServingRecord) -> ModelError | None:
    """Return the error of a model that failed before with the same bytes and the same configuration entry.

    Such a model is not tried again. Return None if the model must be tried.
    """
    refused = [each for each in record.refused.get(request.name, ()) if (each.entry, each.state) == (entry, "rejected")]
    found = _look(request) if refused else None
    for each in refused:
        if found is not None and (each.title, each.sha) == found:
            return ModelError(
                f"{each.reason} (failed at {each.ts}; the daemon does not try these bytes again until this entry "
                f"changes or you run: edge-infer models retry {request.name})"
            )
    return None


def _look(request: ModelRequest) -> tuple[str, str] | None:
    """Return the title and the digest of the model that is at this path now. Only its manifest is parsed."""
    try:
        package = find_package(Path(request.file), request.roots)
        return package.title, hashlib.sha256(package.content(package.file, largest_here())).hexdigest()
    except ModelError:
        return None


def too_large(document: Document, plan: Plan) -> Iterator[Problem]:
    """Yield a problem if the plan is too large for a record between processes. Only labels take so much space."""
    size = len(dumps(plan))
    if size <= MAX_BYTES:
        return
    labels: Counter[str] = Counter()
    for pipeline in plan.pipelines:
        labels[pipeline.model.name] += len(dumps(pipeline.model.labels))
    ((largest, _),) = labels.most_common(1)
    text = (
        f"the labels of all pipelines together make a plan of {size} bytes, and the limit is {MAX_BYTES}; most are "
        "those of this model: name fewer or shorter labels, or use it in fewer pipelines"
    )
    yield document.problem(("models", largest), text)


# Warnings about possibly unintended effects of a valid configuration.


def idle(document: Document, config: Config, plan: Plan) -> Iterator[Problem]:
    """Yield warnings: unused models or sources, unnamed classes, limits that drop lines, links, secrets, look-ups."""
    for steps, text in plain_connections(plan):
        yield document.problem(steps, text)
    for steps, host in look_ups(plan):
        if closed := closed_look_up(host):
            yield document.problem(steps, closed)
    used = {model.name: model for model in (*plan.models(), *plan.shadows())}
    for name in config.models.keys() - used.keys():
        yield document.problem(("models", name), "no pipeline uses this model")
    for name in {source.name for source in plan.sources} - {pipeline.source for pipeline in plan.pipelines}:
        yield document.problem(("sources", name), "no pipeline uses this source; the daemon opens it anyway")
    for name, model in config.models.items():
        if name in used and model.labels is None and _by_number(used[name]):
            yield document.problem(("models", name), "its classes have no names, so results use numbers; add labels")
    for pipeline in plan.pipelines:
        if pipeline.fps is not None and isinstance(pipeline.model.input, TextPlan):
            text = (
                f"lines that arrive faster than fps: {pipeline.fps:g} are skipped and not counted; remove fps to "
                "process all"
            )
            yield document.problem(("pipelines", pipeline.name), text)
    yield from _without_microphones(document, plan)
    yield from _links_out(document, plan)


def _without_microphones(document: Document, plan: Plan) -> Iterator[Problem]:
    """Yield a warning for each microphone if the package that records from it is not installed.

    The state of the source is then ``lost``. This is no error, because the other pipelines work.
    """
    devices = [source.name for source in plan.sources if source.kind == "audio" and source.options.get("device")]
    if devices and not find_spec("sounddevice"):
        text = f"microphones need the extra audio; install it: {install_command('audio')}"
        yield from (document.problem(("sources", name, "device"), text) for name in devices)


def _links_out(document: Document, plan: Plan) -> Iterator[Problem]:
    """Yield a warning for each source of which a file is a link to a place that the engine may not read.

    The sandbox does not follow such links. Otherwise a user with write access to the folder could let the engine read
    any file.
    """
    fence = engine_fence(plan)
    allowed = [os.path.realpath(path) for path in (*fence.reads, *fence.files, *system_paths.program())]
    for source in plan.sources:
        if source.live or source.kind not in KINDS:
            continue
        for key, path in _read_by(source):
            target = Path(os.path.realpath(path))
            if any(map(target.is_relative_to, allowed)):
                continue
            if reason := link_out(path, source_folder(str(source.options[key]))):
                yield document.problem(("sources", source.name, key), f"{path} {reason}")
                break


def _read_by(source: SourcePlan) -> Iterator[tuple[str, str]]:
    """Yield the files of a source that the engine reads, each with the key that names it."""
    file, path = source.options.get("file"), source.options.get("path")
    if isinstance(file, str):
        yield "file", file
    if isinstance(path, str):
        from edge_infer.readers.sources.images import some_pictures  # the source's class has already loaded OpenCV

        with suppress(OSError):  # a folder that cannot be read is a problem of its own
            yield from (("path", str(picture)) for picture in some_pictures(path, MAX_EXAMINED))


def _by_number(model: ModelPlan) -> bool:
    return bool(model.labels) and model.labels == tuple(map(str, range(len(model.labels))))
