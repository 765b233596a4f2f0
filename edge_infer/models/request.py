"""What a configuration or a command line says about a model, before anybody has opened the file."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Annotated

from edge_infer.codec import Text
from edge_infer.messages import Task

AbsolutePath = Annotated[str, Text(most=4096)]


@dataclass(frozen=True, slots=True)
class TrustedKey:
    """An Ed25519 public key: the name of its file, and its 32 bytes in hexadecimal digits."""

    name: str
    hex: str


@dataclass(frozen=True, slots=True)
class Applied:
    """A model that serves or served: name and version, and the digests of its file and of its manifest, if known."""

    title: str
    sha256: str
    manifest: str = ""


@dataclass(frozen=True, slots=True)
class Policy:
    """What a configuration demands of every model.

    ``highest`` are packages and the highest version of each that was committed here, empty where an older one may
    serve; ``applied`` are the models of the configuration that holds now, which are no step back.
    """

    require_digest: bool = False
    require_signature: bool = False
    keys: tuple[TrustedKey, ...] = ()
    highest: Mapping[str, str] = field(default_factory=dict)
    applied: tuple[Applied, ...] = ()


@dataclass(frozen=True, slots=True)
class ModelRequest:
    """A model to be resolved. Paths are absolute; whatever is given here wins over the manifest.

    ``labels`` and ``labels_file`` exclude each other; ``sha256`` is the only digest that is accepted. With ``roots``
    no file is opened through a link beneath them, or anywhere else; without, a person names files and knows of links.
    No manifest may name one of the ``private`` files as a file of its own.
    """

    name: str
    file: AbsolutePath
    labels: tuple[str, ...] | None = None
    labels_file: AbsolutePath | None = None
    sha256: str | None = None
    threshold: float | None = None
    task: Task | None = None
    decoder: str | None = None
    roots: tuple[AbsolutePath, ...] = ()
    policy: Policy = Policy()
    private: tuple[AbsolutePath, ...] = ()
