"""What a configuration or a command line says about a model, before anybody has opened the file."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated

from edge_infer.codec import Record, ShortText, at_most, field
from edge_infer.messages import Task

AbsolutePath = Annotated[str, at_most(4096)]


class TrustedKey(Record, frozen=True):
    """An Ed25519 public key: the name of its file, and its 32 bytes in hexadecimal digits."""

    name: ShortText
    hex: ShortText


class Applied(Record, frozen=True):
    """A model that serves or served: name and version, and the digests of its file and of its manifest, if known."""

    title: ShortText
    sha256: ShortText
    manifest: ShortText = ""


class Policy(Record, frozen=True):
    """What a configuration demands of every model.

    ``highest`` are packages and the highest version of each that was committed here, empty where an older one may
    serve; ``applied`` are the models of the configuration that holds now, which are no step back.
    """

    require_digest: bool = False
    require_signature: bool = False
    keys: tuple[TrustedKey, ...] = ()
    highest: Mapping[ShortText, ShortText] = field(default_factory=dict)
    applied: tuple[Applied, ...] = ()


class ModelRequest(Record, frozen=True):
    """A model to be resolved. Paths are absolute; whatever is given here wins over the manifest.

    ``labels`` and ``labels_file`` exclude each other; ``sha256`` is the only digest that is accepted. With ``roots``
    no file is opened through a link beneath them, or anywhere else; without, a person names files and knows of links.
    No manifest may name one of the ``private`` files as a file of its own.
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
