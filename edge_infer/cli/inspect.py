"""``edge-infer inspect``: explain a model file and how it would run."""

from __future__ import annotations

import argparse
import os
import sys
import textwrap
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Final

from edge_infer.cli.as_owner import act_as_owner_of
from edge_infer.cli.as_service import refused_by_service
from edge_infer.cli.output import as_json
from edge_infer.contract.codec import encode
from edge_infer.errors import ModelError, StartError
from edge_infer.models.inspect.manifest_draft import draft
from edge_infer.models.inspect.report import Report, report
from edge_infer.models.packages.package import MANIFEST
from edge_infer.models.request import ModelRequest, TensorFacts
from edge_infer.models.resolve.resolve import open_model
from edge_infer.models.trials.probe import examine_safely
from edge_infer.platform.paths import DEFAULT_CONFIG

WIDTH: Final = 100
GAP: Final = "  "
GLUE: Final = "\u00a0"
"""A space at which lines are not broken."""


def add(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    parser.add_argument("model", type=Path, metavar="MODEL", help="a .tflite file, or the folder of a model package")
    form = parser.add_mutually_exclusive_group()
    form.add_argument("--json", action="store_true", help="print one JSON object")
    form.add_argument("--manifest", action="store_true", help="print a manifest with the origin of each value")
    parser.epilog = "example: edge-infer inspect models/face-detect/1.0.0"


def run(args: argparse.Namespace) -> int:
    """Print the facts about a model; return 0 if it can be used, else 1. Known facts are printed in both cases."""
    path = args.model.absolute()
    refusal = refused_by_service(DEFAULT_CONFIG, ["inspect", "--json", str(path)])
    act_as_owner_of(args, None)
    if args.manifest:
        return _manifest(ModelRequest(path.stem, str(path)))
    try:
        found = report(ModelRequest(path.stem, str(path)))
    except ModelError as error:
        if args.json:
            print(as_json({"file": str(path), "error": str(error)}))
        print(f"edge-infer: {_clean(str(error))}", file=sys.stderr)
        return 1
    if args.json:
        print(as_json(encode(found), indent=2))
    else:
        print("\n".join(_lines(found)))
    if found.error:
        sys.stdout.flush()
        print(f"edge-infer: {_clean(found.error)}", file=sys.stderr)
    elif refusal:
        sys.stdout.flush()
        print(f"warning: the service cannot use it: {_clean(refusal)}", file=sys.stderr)
    return 1 if found.error else 0


def _manifest(request: ModelRequest) -> int:
    """Print a manifest; return 1 for a model that cannot be used yet, with the reason on standard error."""
    file = Path(request.file)
    for manifest in (file.with_suffix(".yaml"), file / MANIFEST, file.parent / MANIFEST):
        if manifest.is_file() and os.path.samestat(manifest.stat(), os.fstat(1)):
            what = f"{manifest} is the output of this command, and also its input"
            print(
                f"edge-infer: {_clean(what)}; write the output to another file, then rename that file", file=sys.stderr
            )
            return 1
    try:
        print(draft(open_model(request), examine_safely(request)), end="")
    except (ModelError, StartError) as error:
        print(f"edge-infer: {_clean(str(error))}", file=sys.stderr)
        return 1
    return 0


def _lines(found: Report) -> Iterable[str]:
    yield from _table(_about(found))
    yield from _section("inputs", _tensors(found.inputs))
    yield from _section("outputs", _tensors(found.outputs))
    yield from _section("operators", [_operators(found)])
    yield from _section("set in the file" + (" and the manifest" if found.manifest else ""), found.metadata.items())
    if found.resolution is not None:
        plan = found.resolution.plan
        rows = [(reason.what, reason.value, reason.why) for reason in found.resolution.reasons]
        yield from _section(f"would run as {plan.title}", rows)
    elif found.labels:
        yield from _section("labels", [(str(len(found.labels)), "; ".join(found.labels[:5]))])
    yield from _section("notes", [(f"- {warning}",) for warning in found.warnings])


def _about(found: Report) -> list[tuple[str, str]]:
    rows = [("file", _near(found.file)), ("size", f"{found.bytes:,} bytes"), ("sha256", found.sha256)]
    if found.manifest:
        rows.append(("manifest", _near(found.manifest)))
    if found.description:
        rows.append(("description", found.description))
    rows.append(("weights", found.weights))
    if found.subgraphs > 1:
        rows.append(("subgraphs", str(found.subgraphs)))
    return rows


def _near(path: str) -> str:
    """Return the path relative to the working directory, if it is inside that."""
    here = Path.cwd()
    return str(Path(path).relative_to(here)) if Path(path).is_relative_to(here) else path


def _tensors(tensors: Sequence[TensorFacts]) -> list[tuple[str, ...]]:
    return [(_short(tensor.name), _shape(tensor), tensor.dtype, _quantization(tensor)) for tensor in tensors]


def _shape(tensor: TensorFacts) -> str:
    return "x".join(map(str, tensor.shape)) or "open"


def _quantization(tensor: TensorFacts) -> str:
    if not any(tensor.scale):
        return ""
    if len(tensor.scale) > 1:
        return f"{len(tensor.scale)} scales"
    return f"scale {tensor.scale[0]:.6g}, zero point {tensor.zero_point[0] if tensor.zero_point else 0}"


def _operators(found: Report) -> tuple[str, str]:
    custom = set(found.custom_operators)
    counts = [f"{count}{GLUE}{name}{' (custom)' if name in custom else ''}" for name, count in found.operators.items()]
    return str(sum(found.operators.values())), ", ".join(counts)


def _short(text: str) -> str:
    return text if len(text) <= 60 else "…" + text[-59:]


def _section(title: str, rows: Iterable[Sequence[str]]) -> Iterable[str]:
    rows = list(rows)
    if rows:
        yield ""
        yield title
        yield from (GAP + line for line in _table(rows))


def _table(rows: Sequence[Sequence[str]]) -> Iterable[str]:
    """Yield the lines of a table with aligned columns; the last column is wrapped."""
    clean = [[_clean(cell) for cell in row] for row in rows]
    widths = [max(len(row[column]) for row in clean if len(row) > column) for column in range(len(clean[0]) - 1)]
    for row in clean:
        cells = [cell.ljust(width) for cell, width in zip(row[:-1], widths, strict=True)]
        lead = "".join(cell + GAP for cell in cells)
        indent = len(lead) or len(GAP)
        width = max(40, WIDTH - len(lead))
        wrapped = textwrap.wrap(row[-1], width, break_on_hyphens=False, break_long_words=False) or [""]
        yield (lead + wrapped[0]).rstrip().replace(GLUE, " ")
        yield from (" " * indent + line.replace(GLUE, " ") for line in wrapped[1:])


def _clean(text: str) -> str:
    """Replace characters that would move the cursor: text from a foreign file must not control the terminal."""
    return "".join(letter if letter.isprintable() or letter == GLUE else " " for letter in text)
