"""Converts a float TFLite file to int8 or float16: prepares the file for litert-quantizer and calls it."""

from __future__ import annotations

import contextlib
import io
import zipfile
from collections.abc import Iterable
from typing import Any, Final

import flatbuffers
import numpy as np
from ai_edge_litert import schema_py_generated as schema
from litert_quantizer import algorithm_manager, calibrator, qtyping, quantizer, recipe, recipe_manager
from litert_quantizer.utils import qsv_utils
from numpy.typing import NDArray

Operators = schema.BuiltinOperator
RELU: Final = schema.ActivationFunctionType.RELU
NO_ACTIVATION: Final = schema.ActivationFunctionType.NONE
FUSABLE: Final = (Operators.CONV_2D, Operators.DEPTHWISE_CONV_2D, Operators.ADD)
SIGNATURE: Final = "serving_default"
INPUT: Final = "input"


def plain_float_model(content: bytes) -> bytes:
    """Return the same network in a form that the quantizer can read, from old, new and float16 files.

    The network must have one graph and no integer weights. Files inside the model file are left out; `with_files_of`
    puts them back.
    """
    model = schema.ModelT.InitFromObj(schema.Model.GetRootAsModel(content, 0))
    fetch_content(model, content)
    name_operators(model)
    widen_float16(model)
    fuse_relu(model)
    drop_unused_tensors(model.subgraphs[0])
    add_signature(model)
    builder = flatbuffers.Builder(len(content) * 2)
    builder.Finish(model.Pack(builder), b"TFL3")
    return bytes(builder.Output())


def fetch_content(model: Any, content: bytes) -> None:
    """Load large content into the tables. Newer converters store it behind the tables and keep only its offset
    there."""
    for buffer in model.buffers:
        if buffer.offset > 1:
            buffer.data = np.frombuffer(content, np.uint8, buffer.size, buffer.offset)
            buffer.offset = buffer.size = 0


def name_operators(model: Any) -> None:
    """Set the operator codes. First trap: files from before 2020 set only ``deprecated_builtin_code``, and in the newer
    field 0 means ADD."""
    for code in model.operatorCodes:
        code.builtinCode = max(code.builtinCode, code.deprecatedBuiltinCode)


def widen_float16(model: Any) -> None:
    """Convert float16 weights to float32, and remove the DEQUANTIZE operators that widen them at run time."""
    graph = model.subgraphs[0]
    kept, narrowed = [], set()
    for operator in graph.operators:
        narrow = graph.tensors[operator.inputs[0]] if _kind(model, operator) == Operators.DEQUANTIZE else None
        if narrow is None or narrow.type != schema.TensorType.FLOAT16 or model.buffers[narrow.buffer].data is None:
            kept.append(operator)
            continue
        weights = np.asarray(model.buffers[narrow.buffer].data, np.uint8).view(np.float16)
        buffer = schema.BufferT()
        buffer.data = weights.astype(np.float32).view(np.uint8)
        model.buffers.append(buffer)
        graph.tensors[operator.outputs[0]].buffer = len(model.buffers) - 1
        narrowed.add(narrow.buffer)
    for number in narrowed:
        model.buffers[number].data = None
    graph.operators = kept


def fuse_relu(model: Any) -> None:
    """Fuse RELU operators. Second trap: a separate RELU in int8 runs on slow kernels (15 ms a frame instead of 1.2)."""
    graph = model.subgraphs[0]
    maker = {int(tensor): operator for operator in graph.operators for tensor in operator.outputs}
    readers = [int(tensor) for operator in graph.operators for tensor in operator.inputs]
    readers += [int(tensor) for tensor in graph.outputs]
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
    """Remove the tensors that no operator uses any more, and renumber the others."""
    ends = [int(tensor) for tensor in (*graph.inputs, *graph.outputs)]
    named = [int(tensor) for operator in graph.operators for tensor in (*operator.inputs, *operator.outputs)]
    inner = [int(tensor) for operator in graph.operators for tensor in _intermediates(operator)]
    used = sorted({tensor for tensor in (*ends, *named, *inner) if tensor >= 0})
    number = {old: new for new, old in enumerate(used)} | {-1: -1}  # -1: an optional input that is absent
    graph.tensors = [graph.tensors[old] for old in used]
    for holder in (graph, *graph.operators):
        holder.inputs = [number[int(tensor)] for tensor in holder.inputs]
        holder.outputs = [number[int(tensor)] for tensor in holder.outputs]
    for operator in graph.operators:
        if _intermediates(operator):
            operator.intermediates = [number[int(tensor)] for tensor in operator.intermediates]


def add_signature(model: Any) -> None:
    """Add a signature. Third trap: the quantizer calibrates by signature, and old files have none."""
    graph = model.subgraphs[0]
    signature = schema.SignatureDefT()
    signature.signatureKey = SIGNATURE
    signature.subgraphIndex = 0
    signature.inputs = [_named(INPUT, graph.inputs[0])]
    signature.outputs = [_named(f"output_{place}", tensor) for place, tensor in enumerate(graph.outputs)]
    model.signatureDefs = [signature]


def to_int8(model: bytes, samples: Iterable[NDArray[Any]]) -> bytes:
    """Return a plain float model as int8, with weights per channel and the ranges over all input samples."""
    work = quantizer.Quantizer(model, recipe.static_wi8_ai8())
    with contextlib.redirect_stderr(io.StringIO()):  # progress bars
        seen = ranges(model, samples)
        result = work.quantize(seen, enable_progress_bar=False, enable_progress_report=False)
    return bytes(result.quantized_model)


def to_float16(model: bytes) -> bytes:
    """Return a plain float model with float16 weights, which are widened when the model is loaded."""
    recipes = recipe_manager.RecipeManager()
    recipes.add_weight_only_config(
        ".*",
        qtyping.TFLOperationName.ALL_SUPPORTED,
        num_bits=16,
        algorithm_key=algorithm_manager.AlgorithmName.FLOAT_CASTING,
    )
    work = quantizer.Quantizer(model, recipes.get_quantization_recipe())
    with contextlib.redirect_stderr(io.StringIO()):
        result = work.quantize(enable_progress_bar=False, enable_progress_report=False)
    return bytes(result.quantized_model)


def ranges(model: bytes, samples: Iterable[NDArray[Any]]) -> dict[str, qtyping.QSV]:
    """Return the minimum and maximum of every tensor over all samples.

    Fourth trap: the quantizer's own moving average over samples forgets the few crops with a face in the right place;
    the score's range then ends below zero, and the model never finds a face. So this function uses the union of all
    ranges.
    """
    recipes = recipe_manager.RecipeManager()
    recipes.load_quantization_recipe(recipe.static_wi8_ai8())
    # One thread, because the number of threads determines the order of additions.
    work = calibrator.Calibrator(model, num_threads=1, qsv_update_func=qsv_utils.min_max_update)
    for sample in samples:  # one by one, although the quantizer takes a list: not all samples may fit into memory
        work.calibrate({SIGNATURE: [{INPUT: sample}]}, recipes)
    return {name: {end: coarse(value) for end, value in seen.items()} for name, seen in work.get_model_qsvs().items()}


def coarse(values: NDArray[np.float32]) -> NDArray[np.float32]:
    """Round away from zero to six significant bits, because processors differ in the last bits."""
    mantissa, exponent = np.frexp(values)
    rounded = np.copysign(np.ceil(np.abs(mantissa) * 64) / 64, mantissa)
    return np.asarray(np.ldexp(rounded, exponent), np.float32)


def with_files_of(original: bytes, content: bytes) -> bytes:
    """Return a model with the files (labels, vocabulary) of the archive at the end of another model."""
    if not zipfile.is_zipfile(io.BytesIO(original)):
        return content
    whole = io.BytesIO(content)
    with zipfile.ZipFile(io.BytesIO(original)) as source, zipfile.ZipFile(whole, "a") as target:
        for entry in source.infolist():
            target.writestr(entry, source.read(entry))
    return whole.getvalue()


def _kind(model: Any, operator: Any) -> int:
    return int(model.operatorCodes[operator.opcodeIndex].builtinCode)


def _intermediates(operator: Any) -> list[int]:
    """Return the tensors inside an LSTM; few operators have any."""
    return [] if operator.intermediates is None else list(operator.intermediates)


def _named(name: str, tensor: int) -> Any:
    entry = schema.TensorMapT()
    entry.name = name
    entry.tensorIndex = int(tensor)
    return entry
