"""A request for a model before its file is opened, and the result of `resolve` with its reasons."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated

from edge_infer.contract.codec import Record, ShortText, at_most, field
from edge_infer.contract.messages import Task
from edge_infer.plan.records import ModelPlan

# Settings of a configuration or command line for a model, before the file is opened.

AbsolutePath = Annotated[str, at_most(4096)]


class TrustedKey(Record, frozen=True):
    """An Ed25519 public key: the name of its file, and its 32 bytes in hexadecimal."""

    name: ShortText
    hex: ShortText


class Applied(Record, frozen=True):
    """A model in use now or before: name and version, and the digests of its file and (if known) of its manifest."""

    title: ShortText
    sha256: ShortText
    manifest: ShortText = ""


class Policy(Record, frozen=True):
    """Requirements of a configuration for every model.

    ``highest`` maps packages to the highest version that was committed on this device; it is empty if downgrades are
    allowed. ``applied`` lists the models of the active configuration, which never count as a downgrade.
    """

    require_digest: bool = False
    require_signature: bool = False
    keys: tuple[TrustedKey, ...] = ()
    highest: Mapping[ShortText, ShortText] = field(default_factory=dict)
    applied: tuple[Applied, ...] = ()


class ModelRequest(Record, frozen=True):
    """A model to be resolved. Paths are absolute; values given here take precedence over the manifest.

    ``labels`` and ``labels_file`` exclude each other. If ``sha256`` is given, only this digest is accepted. With
    ``roots``, no file is opened through a link. Without ``roots``, the user has named the files and links are allowed.
    No manifest may name one of the ``private`` files.
    """

    name: ShortText
    file: AbsolutePath
    labels: tuple[ShortText, ...] | None = None
    labels_file: AbsolutePath | None = None
    sha256: ShortText | None = None
    threshold: float | None = None
    task: Task | None = None
    decoder: ShortText | None = None
    roots: tuple[AbsolutePath, ...] = ()
    policy: Policy = Policy()
    private: tuple[AbsolutePath, ...] = ()


# The result of `resolve`, with the reason for every part of it.

Words = Annotated[str, at_most(4000)]


class Reason(Record, frozen=True):
    """One decision: ``what`` was decided, its ``value`` as text, and ``why``."""

    what: ShortText
    value: Words
    why: Words


class TensorFacts(Record, frozen=True):
    """An input or output tensor; ``scale`` and ``zero_point`` are empty without quantization."""

    name: Words
    shape: tuple[int, ...]
    dtype: ShortText
    scale: tuple[float, ...]
    zero_point: tuple[int, ...]


class Resolution(Record, frozen=True):
    """A plan ready to be loaded, with the reasons for it; ``notes`` are hints for the operator.

    ``inputs`` and ``outputs`` have the shapes that the runtime reports, because a file may leave shapes open.
    """

    plan: ModelPlan
    inputs: tuple[TensorFacts, ...]
    outputs: tuple[TensorFacts, ...]
    reasons: tuple[Reason, ...]
    notes: tuple[Words, ...] = ()
