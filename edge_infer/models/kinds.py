"""The kind of a model's input: pictures, a signal, or text, chosen by the manifest's keys or the file's metadata."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from edge_infer.config.plan import Gives
from edge_infer.errors import ModelError
from edge_infer.models.manifest import InputSection
from edge_infer.models.metadata import Metadata

TELLING: Final[Mapping[str, Gives]] = {"tokenizer": "text", "features": "samples"}
"""Keys of ``input`` that decide the kind."""
KEYS: Final[Mapping[Gives, frozenset[str]]] = {
    "image": frozenset({"color", "resize", "mean", "std", "size"}),
    "text": frozenset({"tokenizer", "vocabulary", "length", "pattern", "lowercase"}),
    "samples": frozenset(
        {
            *(
                "features",
                "rate",
                "window",
                "hop",
                "stride",
                "length",
                "channels",
                "columns",
                "bins",
                "coefficients",
                "low",
                "high",
            ),
            *("mel", "power", "log", "floor", "scale", "mean", "std", "filter"),
        }
    ),
}
"""Keys that are valid for each kind."""
WORDS: Final[Mapping[Gives, str]] = {"image": "pictures", "samples": "sound and samples", "text": "text"}


def kind_of(said: InputSection, metadata: Metadata) -> Gives:
    """Return the kind of a model's input; raises `ModelError` for a manifest key that belongs to another kind."""
    found: Gives = next((kind for key, kind in TELLING.items() if getattr(said, key) is not None), "image")
    if found == "image" and metadata.tokenizer is not None:
        found = "text"
    if found == "image" and metadata.sound is not None:
        found = "samples"
    for key in sorted(said.model_fields_set):
        owners = [kind for kind, keys in KEYS.items() if key in keys]
        if found not in owners:
            telling = next((key for key, kind in TELLING.items() if kind == owners[0]), "")
            hint = f"; a manifest for {WORDS[owners[0]]} says {telling}:, too" if telling else ""
            raise ModelError(
                f"input: {key}: is for models of {WORDS[owners[0]]}, but this is one of {WORDS[found]}{hint}"
            )
    return found
