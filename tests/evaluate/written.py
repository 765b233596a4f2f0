"""Small classifiers of rows with two numbers: class a if the first one is larger, b if the second one is."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from tests.engine.summing import Entry, adding_model

MANIFEST = """\
name: rows
version: {version}
file: rows.tflite
task: classification
decoder: {{kind: classification, activation: softmax}}
labels: [a, b]
threshold: 0.5
input: {{features: raw, channels: 2}}
inputs: {{bias: {{value: [0.0, {bias}]}}}}
"""


def write_model(folder: Path, bias: float = 0.0, version: str = "1.0.0") -> Path:
    """A package whose second class gets ``bias`` more than its due."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "rows.tflite").write_bytes(adding_model(Entry("x", (1, 2)), Entry("bias", (1, 2)), out=(1, 2)))
    (folder / "manifest.yaml").write_text(MANIFEST.format(bias=bias, version=version))
    return folder


def write_rows(path: Path, count: int, seed: int = 0) -> np.ndarray[tuple[int, ...], np.dtype[np.float64]]:
    """A table of so many rows with the right labels; return how much larger the first number of each is."""
    table = np.round(np.random.default_rng(seed).uniform(0, 4, (count, 2)), 3)
    lines = [f"{one},{other},{'a' if one > other else 'b'}" for one, other in table.tolist()]
    path.write_text("\n".join(["first,second,label", *lines, ""]))
    return np.asarray(table[:, 0] - table[:, 1], np.float64)
