"""A family of models from another package, through its entry point: found, loaded and used without a change here."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
PACKAGE = ROOT / "models" / "face-detect" / "1.0.0"
DECODER = '''
"""The one most likely face of a full-range BlazeFace file, as a square of a fifth of the input around its cell."""

import numpy as np

from edge_infer.config.plan import InputPlan, NmsPlan
from edge_infer.engine.records import Boxes
from edge_infer.errors import ModelError

SIDE = 48


class Likeliest:
    task = "detection"
    input = InputPlan(resize="letterbox", mean=(127.5,), std=(127.5,))
    nms = NmsPlan()
    classes = 1

    def __init__(self, layout):
        found = [place for place, tensor in enumerate(layout.outputs) if tensor.shape == (1, SIDE * SIDE, 1)]
        if not found:
            raise ModelError("it has no output [1, 2304, 1]")
        self.place, self.tensor = found[0], layout.outputs[found[0]]

    def __call__(self, tensors):
        logits = self.tensor.dequantize(tensors[self.place]).reshape(SIDE, SIDE)
        y, x = np.unravel_index(logits.argmax(), logits.shape)
        center = np.array([x + 0.5, y + 0.5, x + 0.5, y + 0.5], np.float32) / SIDE
        score = 1 / (1 + np.exp(-logits[y, x]))
        return Boxes((center + (-0.1, -0.1, 0.1, 0.1))[None].astype(np.float32), score[None], np.zeros(1, np.int32))

    @staticmethod
    def recognise(inputs, outputs):
        return None  # its shapes are those of another family: only by name
'''


@pytest.fixture
def with_plugin(tmp_path: Path) -> dict[str, str]:
    """An environment in which a package is installed that registers the decoder ``likeliest``."""
    (tmp_path / "likeliest_decoder.py").write_text(DECODER)
    about = tmp_path / "likeliest_decoder-1.0.dist-info"
    about.mkdir()
    (about / "METADATA").write_text("Metadata-Version: 2.1\nName: likeliest-decoder\nVersion: 1.0\n")
    (about / "entry_points.txt").write_text("[edge_infer.decoders]\nlikeliest = likeliest_decoder:Likeliest\n")
    return {**os.environ, "PYTHONPATH": str(tmp_path)}


def test_a_decoder_of_another_package_is_used(with_plugin: dict[str, str]) -> None:
    command = [sys.executable, "-m", "edge_infer", "infer", "--decoder", "likeliest"]
    done = subprocess.run(
        [*command, str(PACKAGE), str(PACKAGE / "golden" / "astronaut.png")],
        env=with_plugin, capture_output=True, text=True, check=False, timeout=120,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    (found,) = json.loads(done.stdout)["objects"]
    xmin, ymin, xmax, ymax = found["box"]
    assert found["label"] == "face"
    assert found["score"] > 0.8
    assert (xmax - xmin, ymax - ymin) == pytest.approx((0.2, 0.2), abs=0.001)
    assert (xmin + xmax) / 2 == pytest.approx(0.42, abs=0.08)  # the face that the manifest promises
    assert (ymin + ymax) / 2 == pytest.approx(0.31, abs=0.08)


def test_it_is_found_by_name_and_only_while_it_is_installed(with_plugin: dict[str, str]) -> None:
    script = (
        "from edge_infer.engine.decoders import decoder_class, decoder_names, decoder_target\n"
        "assert 'likeliest' in decoder_names()\n"
        "print(decoder_target('likeliest'), decoder_class(decoder_target('likeliest')).task)"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], env=with_plugin, capture_output=True, text=True, check=False, timeout=60
    )
    assert done.stdout.split() == ["likeliest_decoder:Likeliest", "detection"], done.stderr
    without = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False, timeout=60)
    assert without.returncode != 0
