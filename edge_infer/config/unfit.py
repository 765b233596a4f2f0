"""What is known of models before they are tried: which cannot be used, and which were tried here before."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from pathlib import Path

from edge_infer.config.plan import ModelPlan, Plan, Unfit
from edge_infer.config.schema import Model
from edge_infer.errors import ModelError
from edge_infer.models.files import largest_here, read_whole
from edge_infer.models.package import find_package
from edge_infer.models.request import ModelRequest
from edge_infer.models.serving import Record


def entry_of(section: Model) -> str:
    """A digest of what the configuration says of a model."""
    return hashlib.sha256(section.model_dump_json().encode()).hexdigest()[:16]


def unfit(request: ModelRequest, entry: str, error: ModelError) -> Unfit:
    """What there is to tell of a model that was refused."""
    found = _look(request)
    title, sha256 = found or (Path(request.file).stem[:128] or request.name, None)
    return Unfit(request.name, sha256, entry, title, str(error)[:500], error.tried and sha256 is not None)


def in_vain(request: ModelRequest, entry: str, record: Record) -> ModelError | None:
    """Why a model is not tried again: its bytes were, and nothing that is said of them has changed."""
    refused = [each for each in record.refused.get(request.name, ()) if (each.entry, each.state) == (entry, "rejected")]
    found = _look(request) if refused else None
    for each in refused:
        if found is not None and each.sha == found[1]:
            return ModelError(
                f"{each.reason} (so it was at {each.ts}, and these bytes are not tried again until this entry changes "
                f"or somebody says: edge-infer models retry {request.name})"
            )
    return None


def as_before(
    requests: Iterable[ModelRequest], entries: Mapping[str, str], applied: Plan | None
) -> dict[str, ModelPlan]:
    """Those of the plan that holds of which neither the bytes have changed nor what is said of them.

    For a file that cannot be applied as it is: what is wrong with it is told sooner.
    """
    before = {model.name: model for model in ((*applied.models(), *applied.shadows()) if applied else ())}
    alike = [each for each in requests if each.name in before and before[each.name].entry == entries[each.name]]
    looks = {each.name: _look(each) for each in alike}
    return {name: before[name] for name, look in looks.items() if look is not None and look[1] == before[name].sha256}


def _look(request: ModelRequest) -> tuple[str, str] | None:
    """Title and digest of what lies there now, nothing of which is parsed but the manifest."""
    try:
        package = find_package(Path(request.file), request.roots)
        return package.title, hashlib.sha256(read_whole(package.file, largest_here(), roots=request.roots)).hexdigest()
    except ModelError:
        return None
