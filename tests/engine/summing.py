"""Small models written by hand that sum up what goes in; two of them remember it from run to run, in two ways."""

from __future__ import annotations

import struct
from dataclasses import dataclass
from typing import Any

import flatbuffers
import numpy as np
from ai_edge_litert import schema_py_generated as schema
from numpy.typing import NDArray

FLOAT, INT, RESOURCE = schema.TensorType.FLOAT32, schema.TensorType.INT32, schema.TensorType.RESOURCE
HALF = schema.TensorType.FLOAT16
ADD, MUL, MEAN = schema.BuiltinOperator.ADD, schema.BuiltinOperator.MUL, schema.BuiltinOperator.MEAN
CAST = schema.BuiltinOperator.CAST
HANDLE = schema.BuiltinOperator.VAR_HANDLE
READ, ASSIGN, ONCE = (
    schema.BuiltinOperator.READ_VARIABLE,
    schema.BuiltinOperator.ASSIGN_VARIABLE,
    schema.BuiltinOperator.CALL_ONCE,
)
CODES = (ADD, MUL, MEAN, HANDLE, READ, ASSIGN, ONCE, CAST)


def summing_model() -> bytes:
    """State outside: ``total = x + before`` and ``twice = total + total``, all float32 [1, 1]."""
    tensors = [_tensor(name) for name in ("x", "before", "total", "twice")]
    return _model([_graph(tensors, [0, 1], [2, 3], [_operator(ADD, [0, 1], [2]), _operator(ADD, [2, 2], [3])])])


@dataclass(frozen=True)
class Entry:
    """An input of `adding_model`; -1 in its shape is left open."""

    name: str
    shape: tuple[int, ...]


def adding_model(*entries: Entry, out: tuple[int, ...]) -> bytes:
    """``out`` is the sum of two or more inputs, each spread over the axes where it has a 1; all float32."""
    tensors = [_open(entry) for entry in entries]
    steps, last = [], 0
    for position in range(1, len(entries)):
        steps.append(_operator(ADD, [last, position], [len(tensors)]))
        last = len(tensors)
        tensors.append(_tensor(f"total{position}", shape=out))
    return _model([_graph(tensors, list(range(len(entries))), [last], steps)])


def lifting_model(picture: Entry, out: NDArray[np.float32]) -> bytes:
    """``out`` plus the mean of all numbers of a picture ``[1, height, width, channels]``, float32."""
    axes = np.array([1, 2, 3], np.int32)
    tensors = [_open(picture), _tensor("axes", INT, 1, (3,)), _tensor("mean", shape=(1,))]
    tensors += [_tensor("base", buffer=2, shape=out.shape), _tensor("lifted", shape=out.shape)]
    steps = [_operator(MEAN, [0, 1], [2]), _operator(ADD, [2, 3], [4])]
    return _model([_graph(tensors, [0], [4], steps)], axes.tobytes(), out.tobytes())


def weighing_model(
    picture: Entry, weights: NDArray[np.float32], base: NDArray[np.float32], gain: NDArray[np.float32]
) -> bytes:
    """``base`` plus ``gain`` times the mean of an input times its ``weights`` of the same shape, float32."""
    axes = np.arange(len(picture.shape), dtype=np.int32)
    tensors = [
        _open(picture),
        _tensor("weights", buffer=1, shape=weights.shape),
        _tensor("weighed", shape=picture.shape),
    ]
    tensors += [_tensor("axes", INT, 2, axes.shape), _tensor("mean", shape=())]
    tensors += [_tensor("base", buffer=3, shape=base.shape), _tensor("gain", buffer=4, shape=gain.shape)]
    tensors += [_tensor("gained", shape=base.shape), _tensor("out", shape=base.shape)]
    steps = [_operator(MUL, [0, 1], [2]), _operator(MEAN, [2, 3], [4])]
    steps += [_operator(MUL, [6, 4], [7]), _operator(ADD, [7, 5], [8])]
    return _model([_graph(tensors, [0], [8], steps)], *(each.tobytes() for each in (weights, axes, base, gain)))


def casting_model(kind: int, weight: float) -> bytes:
    """``out``, float32 [1, 1], is a number of another type times ``weight``."""
    tensors = [_tensor("x", kind), _tensor("real"), _tensor("weight", buffer=1), _tensor("weighed")]
    tensors += [_tensor("zero", buffer=2), _tensor("out")]  # which makes 0 of -0
    steps = [_operator(CAST, [0], [1]), _operator(MUL, [1, 2], [3]), _operator(ADD, [3, 4], [5])]
    return _model([_graph(tensors, [0], [5], steps)], struct.pack("<f", weight), struct.pack("<f", 0.0))


def remembering_model(first: float) -> bytes:
    """State in a variable that begins as ``first``: ``total = x + variable``, which becomes the variable."""
    handle, begun = _operator(HANDLE, [], [1]), _operator(ONCE, [], [])
    begun.builtinOptionsType, begun.builtinOptions = schema.BuiltinOptions.CallOnceOptions, schema.CallOnceOptionsT()
    begun.builtinOptions.initSubgraphIndex = 1
    steps = [begun, handle, _operator(READ, [1], [2]), _operator(ADD, [0, 2], [3]), _operator(ASSIGN, [1, 3], [])]
    tensors = [_tensor("x"), _tensor("handle", RESOURCE, shape=()), _tensor("variable"), _tensor("total")]
    main = _graph(tensors, [0], [3], steps)
    begin = _graph(
        [_tensor("first", buffer=1), _tensor("handle", RESOURCE, shape=())],
        [],
        [],
        [_operator(HANDLE, [], [1]), _operator(ASSIGN, [1, 0], [])],
    )
    return _model([main, begin], struct.pack("<f", first))


def _model(graphs: list[Any], *constants: bytes) -> bytes:
    model = schema.ModelT()
    model.version, model.subgraphs, model.operatorCodes = 3, graphs, [_code(code) for code in CODES]
    model.buffers = [schema.BufferT() for _ in range(1 + len(constants))]
    for buffer, data in zip(model.buffers[1:], constants, strict=True):
        buffer.data = list(data)
    builder = flatbuffers.Builder(1024)
    builder.Finish(model.Pack(builder), b"TFL3")
    return bytes(builder.Output())


def _code(number: int) -> Any:
    code = schema.OperatorCodeT()
    code.builtinCode, code.deprecatedBuiltinCode = number, min(number, 127)
    return code


def _graph(tensors: list[Any], inputs: list[int], outputs: list[int], operators: list[Any]) -> Any:
    graph = schema.SubGraphT()
    graph.tensors, graph.inputs, graph.outputs, graph.operators = tensors, inputs, outputs, operators
    return graph


def _tensor(name: str, kind: int = FLOAT, buffer: int = 0, shape: tuple[int, ...] = (1, 1)) -> Any:
    tensor = schema.TensorT()
    tensor.name, tensor.shape, tensor.type, tensor.buffer = name, list(shape), kind, buffer
    return tensor


def _open(entry: Entry) -> Any:
    tensor = _tensor(entry.name, shape=tuple(abs(size) for size in entry.shape))
    tensor.shapeSignature = list(entry.shape)
    return tensor


def _operator(code: int, inputs: list[int], outputs: list[int]) -> Any:
    operator = schema.OperatorT()
    operator.opcodeIndex, operator.inputs, operator.outputs = CODES.index(code), inputs, outputs
    if code == ADD:
        operator.builtinOptionsType = schema.BuiltinOptions.AddOptions
        operator.builtinOptions = schema.AddOptionsT()
    elif code == MUL:
        operator.builtinOptionsType = schema.BuiltinOptions.MulOptions
        operator.builtinOptions = schema.MulOptionsT()
    elif code == MEAN:
        operator.builtinOptionsType = schema.BuiltinOptions.ReducerOptions
        operator.builtinOptions = schema.ReducerOptionsT()
    elif code == HANDLE:
        operator.builtinOptionsType = schema.BuiltinOptions.VarHandleOptions
        operator.builtinOptions = schema.VarHandleOptionsT()
        operator.builtinOptions.container, operator.builtinOptions.sharedName = "", "sum"
    return operator
