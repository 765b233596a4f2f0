"""Knowledge about models before a trial: which cannot be used, and which were tried here before."""

from __future__ import annotations

import hashlib
from pathlib import Path

from edge_infer.config.plan import Unfit
from edge_infer.config.schema import Model
from edge_infer.errors import ModelError, shortened
from edge_infer.models.files import largest_here
from edge_infer.models.package import find_package
from edge_infer.models.request import ModelRequest
from edge_infer.models.serving import ServingRecord


def entry_of(section: Model) -> str:
    """Return a digest of a model's configuration entry."""
    return hashlib.sha256(section.model_dump_json().encode()).hexdigest()[:16]


def unfit(request: ModelRequest, entry: str, error: ModelError) -> Unfit:
    """Return the record of a model that was refused."""
    found = _look(request)
    title, sha256 = found or (Path(request.file).stem[:128] or request.name, None)
    return Unfit(request.name, sha256, entry, title, shortened(str(error)), error.tried and sha256 is not None)


def in_vain(request: ModelRequest, entry: str, record: ServingRecord) -> ModelError | None:
    """Return why a model is not tried again: the same bytes failed, and the configuration entry is unchanged."""
    refused = [each for each in record.refused.get(request.name, ()) if (each.entry, each.state) == (entry, "rejected")]
    found = _look(request) if refused else None
    for each in refused:
        if found is not None and (each.title, each.sha) == found:
            return ModelError(
                f"{each.reason} (so it was at {each.ts}, and these bytes are not tried again until this entry changes "
                f"or somebody says: edge-infer models retry {request.name})"
            )
    return None


def _look(request: ModelRequest) -> tuple[str, str] | None:
    """Return title and digest of the model at this path now; only its manifest is parsed."""
    try:
        package = find_package(Path(request.file), request.roots)
        return package.title, hashlib.sha256(package.content(package.file, largest_here())).hexdigest()
    except ModelError:
        return None
