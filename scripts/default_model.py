"""Makes the shipped model package: MediaPipe's full-range face detector, quantized to int8.

The float file holds its weights as float16. It becomes plain float32, is calibrated on crops of a few pictures, and is
quantized: activations per tensor, weights per channel. The same bytes come out on every machine.
"""

from __future__ import annotations

import argparse
import contextlib
import hashlib
import io
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import cv2
import flatbuffers
import material
import numpy as np
from ai_edge_litert import schema_py_generated as schema
from litert_quantizer import calibrator, qtyping, quantizer, recipe, recipe_manager
from litert_quantizer.utils import qsv_utils
from numpy.typing import NDArray

NAME: Final = "face-detect"
VERSION: Final = "1.0.0"
FILE: Final = "face_full_range_int8.tflite"
GOLDEN_VIEW: Final = (64, 0, 384)
"""Left, top and side of the square of the astronaut picture that becomes the golden input, halved in size."""
GOLDEN_SIDE: Final = 192
CROPS: Final = {
    material.ASTRONAUT: ((0.35, 5), (0.5, 3), (0.7, 3), (0.85, 2)),
    material.CHELSEA: ((0.4, 2), (0.7, 2)),
    material.COFFEE: ((0.4, 2), (0.7, 2)),
    material.MOTORCYCLE: ((0.4, 2), (0.7, 2)),
}
"""Beside each whole picture: crops of this share of its sides, so many across and down, evenly spread."""

Operators = schema.BuiltinOperator
RELU: Final = schema.ActivationFunctionType.RELU
NO_ACTIVATION: Final = schema.ActivationFunctionType.NONE
FUSABLE: Final = (Operators.CONV_2D, Operators.DEPTHWISE_CONV_2D, Operators.ADD)


def main() -> int:
    """Writes the package into ``<directory>/face-detect/1.0.0``."""
    parser = argparse.ArgumentParser(prog="make-default-model", description=__doc__.splitlines()[0])
    parser.add_argument("directory", type=Path, nargs="?", default=Path(__file__).resolve().parent.parent / "models")
    package: Path = parser.parse_args().directory / NAME / VERSION
    _progress("reading the float model and the pictures")
    model = plain_float_model(material.read(material.FLOAT_MODEL))
    _progress("calibrating and quantizing")
    content = quantize(model)
    write_package(package, content)
    _progress(f"{package / FILE}: {len(content)} bytes")
    return 0


def plain_float_model(content: bytes) -> bytes:
    """The same network without what the quantizer cannot read: four things that old and float16 files have."""
    model = schema.ModelT.InitFromObj(schema.Model.GetRootAsModel(content, 0))
    name_operators(model)
    widen_float16(model)
    fuse_relu(model)
    drop_unused_tensors(model.subgraphs[0])
    add_signature(model)
    builder = flatbuffers.Builder(len(content) * 2)
    builder.Finish(model.Pack(builder), b"TFL3")
    return bytes(builder.Output())


def name_operators(model: Any) -> None:
    """First trap: files of before 2020 set only ``deprecated_builtin_code``; in the newer field, 0 means ADD."""
    for code in model.operatorCodes:
        code.builtinCode = max(code.builtinCode, code.deprecatedBuiltinCode)


def widen_float16(model: Any) -> None:
    """Weights as float32, without the DEQUANTIZE operators that widen them at run time."""
    graph = model.subgraphs[0]
    kept = []
    for operator in graph.operators:
        if _kind(model, operator) != Operators.DEQUANTIZE:
            kept.append(operator)
            continue
        narrow, wide = graph.tensors[operator.inputs[0]], graph.tensors[operator.outputs[0]]
        weights = np.asarray(model.buffers[narrow.buffer].data, np.uint8).view(np.float16)
        buffer = schema.BufferT()
        buffer.data = weights.astype(np.float32).view(np.uint8)
        model.buffers.append(buffer)
        wide.buffer = len(model.buffers) - 1
        model.buffers[narrow.buffer].data = None
    graph.operators = kept


def fuse_relu(model: Any) -> None:
    """Second trap: a RELU of its own is left to slow kernels once it is int8 (15 ms a frame instead of 1.2)."""
    graph = model.subgraphs[0]
    maker = {int(tensor): operator for operator in graph.operators for tensor in operator.outputs}
    readers = [int(tensor) for operator in graph.operators for tensor in operator.inputs]
    kept = []
    for operator in graph.operators:
        before = maker.get(int(operator.inputs[0])) if _kind(model, operator) == Operators.RELU else None
        if (
            before is not None
            and _kind(model, before) in FUSABLE
            and before.builtinOptions.fusedActivationFunction == NO_ACTIVATION
            and readers.count(int(operator.inputs[0])) == 1
        ):
            before.builtinOptions.fusedActivationFunction = RELU
            before.outputs = [operator.outputs[0]]
            maker[int(operator.outputs[0])] = before
        else:
            kept.append(operator)
    graph.operators = kept


def drop_unused_tensors(graph: Any) -> None:
    """Leaves out the tensors that no operator names any more, and numbers the others anew."""
    ends = [int(tensor) for tensor in (*graph.inputs, *graph.outputs)]
    named = [int(tensor) for operator in graph.operators for tensor in (*operator.inputs, *operator.outputs)]
    used = sorted({tensor for tensor in (*ends, *named) if tensor >= 0})
    number = {old: new for new, old in enumerate(used)} | {-1: -1}  # -1: an optional input that is not there
    graph.tensors = [graph.tensors[old] for old in used]
    for holder in (graph, *graph.operators):
        holder.inputs = [number[int(tensor)] for tensor in holder.inputs]
        holder.outputs = [number[int(tensor)] for tensor in holder.outputs]


def add_signature(model: Any) -> None:
    """Third trap: the quantizer calibrates by signature, and this file has none."""
    graph = model.subgraphs[0]
    signature = schema.SignatureDefT()
    signature.signatureKey = "serving_default"
    signature.subgraphIndex = 0
    signature.inputs = [_named("input", graph.inputs[0])]
    signature.outputs = [_named(f"output_{place}", tensor) for place, tensor in enumerate(graph.outputs)]
    model.signatureDefs = [signature]


def quantize(model: bytes) -> bytes:
    """The int8 file, from ranges seen over all crops."""
    work = quantizer.Quantizer(model, recipe.static_wi8_ai8())
    with contextlib.redirect_stderr(io.StringIO()):  # progress bars
        result = work.quantize(ranges(model), enable_progress_bar=False, enable_progress_report=False)
    return bytes(result.quantized_model)


def ranges(model: bytes) -> dict[str, qtyping.QSV]:
    """Minimum and maximum of every tensor over all crops.

    Fourth trap: the quantizer's own moving average over samples forgets the few crops with a face in the right place;
    the score's range then ends below zero and no face is ever found. So the union of all ranges counts.
    """
    recipes = recipe_manager.RecipeManager()
    recipes.load_quantization_recipe(recipe.static_wi8_ai8())
    # One thread: how many there are decides the order of additions.
    work = calibrator.Calibrator(model, num_threads=1, qsv_update_func=qsv_utils.min_max_update)
    side = int(schema.Model.GetRootAsModel(model, 0).Subgraphs(0).Tensors(0).Shape(1))
    samples = [{"input": letterbox(crop, side)[np.newaxis] / np.float32(127.5) - 1} for crop in crops()]
    work.calibrate({"serving_default": samples}, recipes)
    return {name: {end: coarse(value) for end, value in seen.items()} for name, seen in work.get_model_qsvs().items()}


def coarse(values: NDArray[np.float32]) -> NDArray[np.float32]:
    """Away from zero to six significant bits, so that the last bits, which processors differ in, do not show."""
    mantissa, exponent = np.frexp(values)
    rounded = np.copysign(np.ceil(np.abs(mantissa) * 64) / 64, mantissa)
    return np.asarray(np.ldexp(rounded, exponent), np.float32)


def crops() -> Iterator[NDArray[np.uint8]]:
    """RGB pictures to calibrate on: whole ones and evenly spread parts."""
    for member, plan in CROPS.items():
        picture = _picture(member)
        height, width = picture.shape[:2]
        yield picture
        for share, count in plan:
            part = int(height * share), int(width * share)
            for top in np.linspace(0, height - part[0], count, dtype=int):
                for left in np.linspace(0, width - part[1], count, dtype=int):
                    yield picture[top : top + part[0], left : left + part[1]]


def letterbox(picture: NDArray[np.uint8], side: int) -> NDArray[np.float32]:
    """The picture in the middle of a black square, its proportions kept; values 0..255."""
    height, width = picture.shape[:2]
    scale = side / max(height, width)
    small = cv2.resize(picture, (round(width * scale), round(height * scale)), interpolation=cv2.INTER_LINEAR)
    top, left = (side - small.shape[0]) // 2, (side - small.shape[1]) // 2
    square = np.zeros((side, side, 3), np.float32)
    square[top : top + small.shape[0], left : left + small.shape[1]] = small
    return square


def write_package(package: Path, content: bytes) -> None:
    """The model file, its golden input and its manifest; what was there is replaced."""
    (package / "golden").mkdir(parents=True, exist_ok=True)
    (package / FILE).write_bytes(content)
    left, top, side = GOLDEN_VIEW
    view = _picture(material.ASTRONAUT)[top : top + side, left : left + side]
    small = cv2.resize(view, (GOLDEN_SIDE, GOLDEN_SIDE), interpolation=cv2.INTER_AREA)
    cv2.imwrite(str(package / "golden" / "astronaut.png"), cv2.cvtColor(small, cv2.COLOR_RGB2BGR))
    face = material.ASTRONAUT_FACE
    box = [(face[0] - left) / side, (face[1] - top) / side, (face[2] - left) / side, (face[3] - top) / side]
    (package / "manifest.yaml").write_text(manifest(hashlib.sha256(content).hexdigest(), box), encoding="utf-8")


def manifest(digest: str, box: list[float]) -> str:
    """The manifest's text; ``box`` is where the face is in the golden input, in fractions."""
    return f"""\
name: {NAME}
version: {VERSION}
file: {FILE}
sha256: {digest}
task: detection
decoder: blazeface
labels: [face]
input: {{color: rgb, resize: letterbox, mean: 127.5, std: 127.5}}
threshold: 0.5
nms: {{iou: 0.3, max: 100}}
licence: Apache-2.0
source: >-
  MediaPipe BlazeFace, full range ({material.FLOAT_MODEL.path} in {material.FACES.requirement}),
  made int8 by scripts/make-default-model; see PROVENANCE.md
golden:
  - input: golden/astronaut.png
    expect: [{{label: face, box: [{", ".join(f"{edge:.4f}" for edge in box)}], iou: 0.5}}]
"""


def _picture(member: material.Member) -> NDArray[np.uint8]:
    return np.asarray(cv2.cvtColor(material.picture(member), cv2.COLOR_BGR2RGB), np.uint8)


def _kind(model: Any, operator: Any) -> int:
    return int(model.operatorCodes[operator.opcodeIndex].builtinCode)


def _named(name: str, tensor: int) -> Any:
    entry = schema.TensorMapT()
    entry.name = name
    entry.tensorIndex = int(tensor)
    return entry


def _progress(text: str) -> None:
    print(text, file=sys.stderr)


if __name__ == "__main__":
    sys.exit(main())
