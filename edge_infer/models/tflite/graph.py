"""Content of a TFLite file, read without a runtime: tensors, operators, metadata buffers.

Schema: ``tensorflow/compiler/mlir/lite/schema/schema.fbs`` of TensorFlow; fields are addressed by their position there.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from edge_infer.errors import ModelError
from edge_infer.models.tflite.flatbuffer import Table

# Names of the builtin operators of TFLite, by their number in a file.

CUSTOM: Final = 32
"""The number of every custom operator, which has its own name."""

_IN_ORDER: Final = """
ADD AVERAGE_POOL_2D CONCATENATION CONV_2D DEPTHWISE_CONV_2D DEPTH_TO_SPACE DEQUANTIZE EMBEDDING_LOOKUP FLOOR
FULLY_CONNECTED HASHTABLE_LOOKUP L2_NORMALIZATION L2_POOL_2D LOCAL_RESPONSE_NORMALIZATION LOGISTIC LSH_PROJECTION
LSTM MAX_POOL_2D MUL RELU RELU_N1_TO_1 RELU6 RESHAPE RESIZE_BILINEAR RNN SOFTMAX SPACE_TO_DEPTH SVDF TANH
CONCAT_EMBEDDINGS SKIP_GRAM CALL CUSTOM EMBEDDING_LOOKUP_SPARSE PAD UNIDIRECTIONAL_SEQUENCE_RNN GATHER
BATCH_TO_SPACE_ND SPACE_TO_BATCH_ND TRANSPOSE MEAN SUB DIV SQUEEZE UNIDIRECTIONAL_SEQUENCE_LSTM STRIDED_SLICE
BIDIRECTIONAL_SEQUENCE_RNN EXP TOPK_V2 SPLIT LOG_SOFTMAX DELEGATE BIDIRECTIONAL_SEQUENCE_LSTM CAST PRELU MAXIMUM
ARG_MAX MINIMUM LESS NEG PADV2 GREATER GREATER_EQUAL LESS_EQUAL SELECT SLICE SIN TRANSPOSE_CONV SPARSE_TO_DENSE TILE
EXPAND_DIMS EQUAL NOT_EQUAL LOG SUM SQRT RSQRT SHAPE POW ARG_MIN FAKE_QUANT REDUCE_PROD REDUCE_MAX PACK LOGICAL_OR
ONE_HOT LOGICAL_AND LOGICAL_NOT UNPACK REDUCE_MIN FLOOR_DIV REDUCE_ANY SQUARE ZEROS_LIKE FILL FLOOR_MOD RANGE
RESIZE_NEAREST_NEIGHBOR LEAKY_RELU SQUARED_DIFFERENCE MIRROR_PAD ABS SPLIT_V UNIQUE CEIL REVERSE_V2 ADD_N GATHER_ND
COS WHERE RANK ELU REVERSE_SEQUENCE MATRIX_DIAG QUANTIZE MATRIX_SET_DIAG ROUND HARD_SWISH IF WHILE
NON_MAX_SUPPRESSION_V4 NON_MAX_SUPPRESSION_V5 SCATTER_ND SELECT_V2 DENSIFY SEGMENT_SUM BATCH_MATMUL
PLACEHOLDER_FOR_GREATER_OP_CODES CUMSUM CALL_ONCE BROADCAST_TO RFFT2D CONV_3D IMAG REAL COMPLEX_ABS HASHTABLE
HASHTABLE_FIND HASHTABLE_IMPORT HASHTABLE_SIZE REDUCE_ALL CONV_3D_TRANSPOSE VAR_HANDLE READ_VARIABLE ASSIGN_VARIABLE
BROADCAST_ARGS RANDOM_STANDARD_NORMAL BUCKETIZE RANDOM_UNIFORM MULTINOMIAL GELU DYNAMIC_UPDATE_SLICE RELU_0_TO_1
UNSORTED_SEGMENT_PROD UNSORTED_SEGMENT_MAX UNSORTED_SEGMENT_SUM ATAN2 UNSORTED_SEGMENT_MIN SIGN BITCAST BITWISE_XOR
RIGHT_SHIFT
"""
_NAMES: Final = tuple(_IN_ORDER.split())


def builtin_name(number: int) -> str:
    """Return the name of a builtin operator, or its number if it is beyond this table."""
    return _NAMES[number] if 0 <= number < len(_NAMES) else f"BUILTIN_{number}"


IDENTIFIER: Final = b"TFL3"
_DTYPES: Final = (
    "float32 float16 int32 uint8 int64 string bool int16 complex64 int8 float64 complex128 uint64 resource variant "
    "uint32 uint16 int4 bfloat16 int2 uint4"
)
DTYPES: Final = tuple(_DTYPES.split())
"""Element types, indexed by their number in a file."""
_PASSES_ON: Final = frozenset({"RESHAPE", "QUANTIZE", "DEQUANTIZE", "SQUEEZE"})


@dataclass(frozen=True, slots=True)
class GraphTensor:
    """A tensor of the main graph; ``scale`` and ``zero_point`` may have one value per channel of ``dimension``.

    ``constant`` is true for weights: their values are in the file. ``signature`` is the shape with -1 for sizes that
    the file does not define; ``shape`` has 1 in their place.
    """

    index: int
    name: str
    shape: tuple[int, ...]
    dtype: str
    scale: tuple[float, ...]
    zero_point: tuple[int, ...]
    dimension: int
    constant: bool
    signature: tuple[int, ...] = ()

    @property
    def per_channel(self) -> bool:
        """Whether every channel has its own scale."""
        return len(self.scale) > 1

    def fault(self) -> str | None:
        """Return the reason why a runtime rejects the quantization parameters of this tensor, or None."""
        if not self.per_channel or not self.shape:
            return None
        if not 0 <= self.dimension < len(self.shape):
            return (
                f"tensor {self.index} ({self.name}) has a quantization dimension of {self.dimension}, which its shape "
                f"{list(self.shape)} does not have"
            )
        if len(self.scale) != self.shape[self.dimension]:
            return (
                f"tensor {self.index} ({self.name}) has {len(self.scale)} scales for "
                f"{self.shape[self.dimension]} channels"
            )
        return None


@dataclass(frozen=True, slots=True)
class Operator:
    """One step of the main graph.

    ``custom`` operators have a name of their own; all others are builtin operators of TFLite.
    """

    name: str
    custom: bool
    inputs: tuple[int, ...]
    outputs: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Graph:
    """The parsed content of a TFLite file; the first subgraph is the main one."""

    description: str
    tensors: tuple[GraphTensor, ...]
    inputs: tuple[GraphTensor, ...]
    outputs: tuple[GraphTensor, ...]
    operators: tuple[Operator, ...]
    subgraphs: int
    metadata: Mapping[str, bytes]

    @classmethod
    def read(cls, data: bytes) -> Graph:
        """Parse the bytes of a file; raises `ModelError` for anything that is not a complete TFLite model."""
        if data[4:8] != IDENTIFIER:
            raise ModelError(f"it is not a TFLite model: {_looks_like(data)}")
        model = Table.root(data, IDENTIFIER)
        buffers = model.tables(4)
        subgraphs = model.tables(2)
        if not subgraphs:
            raise ModelError("the file is damaged: it has no graph")
        main = subgraphs[0]
        filled = [_filled(buffer, len(data)) for buffer in buffers]
        tensors = tuple(_tensor(index, table, filled) for index, table in enumerate(main.tables(0)))
        return cls(
            description=model.text(3),
            tensors=tensors,
            inputs=_pick(tensors, main.numbers(1, "i")),
            outputs=_pick(tensors, main.numbers(2, "i")),
            operators=_operators(main, model.tables(1)),
            subgraphs=len(subgraphs),
            metadata=_metadata(model, buffers),
        )

    def chosen(self, names: tuple[str, ...]) -> tuple[GraphTensor, ...]:
        """Return the outputs with these names; all outputs if ``names`` is empty."""
        return tuple(tensor for tensor in self.outputs if not names or tensor.name in names)

    def counts(self) -> list[tuple[str, int]]:
        """Return operator counts by name, the most frequent first."""
        return Counter(operator.name for operator in self.operators).most_common()

    def custom(self) -> tuple[str, ...]:
        """Return the names of custom operators, each once."""
        return tuple(dict.fromkeys(operator.name for operator in self.operators if operator.custom))

    def faults(self) -> tuple[str, ...]:
        """Return every fault of the tensors that a runtime rejects."""
        return tuple(fault for tensor in self.tensors if (fault := tensor.fault()))

    def weights(self) -> tuple[GraphTensor, ...]:
        """Return the constant tensors with two or more dimensions, which make up most of a model."""
        return tuple(tensor for tensor in self.tensors if tensor.constant and len(tensor.shape) > 1)

    def remembers(self) -> bool:
        """Return whether the model keeps state between runs in its own variables, as streaming models do.

        The list `REMEMBER` of the interpreter is longer, because two streams must not share a model that possibly keeps
        state. Here a false positive would change the windows of a model.
        """
        return any(operator.name == "VAR_HANDLE" for operator in self.operators)

    def rows(self, name: str) -> int | None:
        """Return the number of rows of the table that an input's ids index, directly or after a cast.

        Returns None if there is no such table.
        """
        ids = {tensor.index for tensor in self.inputs if tensor.name == name}
        ids |= {
            index for each in self.operators if each.name == "CAST" and ids & {*each.inputs} for index in each.outputs
        }
        for each in self.operators:
            if each.name == "GATHER" and len(each.inputs) > 1 and each.inputs[1] in ids:
                table = each.inputs[0]
                if 0 <= table < len(self.tensors) and self.tensors[table].constant and self.tensors[table].shape:
                    return self.tensors[table].shape[0]
        return None

    def made_by(self, tensor: GraphTensor) -> Operator | None:
        """Return the operator that computes a tensor, skipping mere changes of its form; None for an input."""
        makers = {index: operator for operator in self.operators for index in operator.outputs}
        found = makers.get(tensor.index)
        for _ in range(len(_PASSES_ON)):  # limited number of steps, because a hostile file may contain a cycle
            if found is None or found.name not in _PASSES_ON or not found.inputs:
                break
            found = makers.get(found.inputs[0], found)
        return found


def _looks_like(data: bytes) -> str:
    if not data:
        return "the file is empty"
    if data[:4] == b"PK\3\4":
        return "it is a zip archive (a saved model or a package of one?)"
    if data[:8] == b"\x89HDF\r\n\x1a\n":
        return "it is a Keras/HDF5 file; convert it with TFLiteConverter first"
    if data.startswith(b"version https://git-lfs"):
        return "it is a Git LFS pointer; fetch the file itself with `git lfs pull`"
    if all(byte >= 32 or byte in b"\t\r\n" for byte in data[:64]):
        return "it is a text file"
    return f"bytes 4 to 8 are {data[4:8]!r} instead of {IDENTIFIER!r}"


def _filled(buffer: Table, end: int) -> bool:
    """Return whether a buffer has content: in the buffer itself or, with newer converters, after the flatbuffer."""
    start, size = buffer.number(1, "Q"), buffer.number(2, "Q")
    if start > 1 and start + size > end:
        raise ModelError(f"the file is damaged or cut off: it has {end} bytes, and weights up to byte {start + size}")
    return buffer.length(0) > 0 or size > 0


def _tensor(index: int, table: Table, filled: list[bool]) -> GraphTensor:
    kind, buffer = table.number(1, "b"), table.number(2, "I")
    quantization = table.table(4)
    return GraphTensor(
        index=index,
        name=table.text(3),
        shape=tuple(table.numbers(0, "i")),
        dtype=DTYPES[kind] if 0 <= kind < len(DTYPES) else f"type {kind}",
        scale=tuple(quantization.numbers(2, "f")) if quantization else (),
        zero_point=tuple(quantization.numbers(3, "q")) if quantization else (),
        dimension=quantization.number(6, "i") if quantization else 0,
        constant=buffer < len(filled) and filled[buffer],
        signature=tuple(table.numbers(7, "i")) or tuple(table.numbers(0, "i")),
    )


def _pick(tensors: tuple[GraphTensor, ...], indices: tuple[int, ...]) -> tuple[GraphTensor, ...]:
    for index in indices:
        if not 0 <= index < len(tensors):
            raise ModelError(f"the file is damaged: it names tensor {index} of {len(tensors)}")
    return tuple(tensors[index] for index in indices)


def _operators(graph: Table, codes: tuple[Table, ...]) -> tuple[Operator, ...]:
    # Older files have the number in a byte; newer files also have it in the fourth field. The larger number is valid.
    numbers = [max(code.number(0, "b"), code.number(3, "i")) for code in codes]
    names = [
        code.text(1) if number == CUSTOM else builtin_name(number) for code, number in zip(codes, numbers, strict=True)
    ]
    found = []
    for table in graph.tables(3):
        code = table.number(0, "I")
        if code >= len(codes):
            raise ModelError(f"the file is damaged: it names operator {code} of {len(codes)}")
        operator = Operator(names[code], numbers[code] == CUSTOM, table.numbers(1, "i"), table.numbers(2, "i"))
        found.append(operator)
    return tuple(found)


def _metadata(model: Table, buffers: tuple[Table, ...]) -> dict[str, bytes]:
    found = {}
    for entry in model.tables(6):
        buffer = entry.number(1, "I")
        if buffer < len(buffers):
            found[entry.text(0)] = _content(buffers[buffer])
    return found


def _content(buffer: Table) -> bytes:
    """Return a buffer's content, stored in it or after all tables (newer converters, and scripts/quantize)."""
    start, size = buffer.number(1, "Q"), buffer.number(2, "Q")
    return buffer.bytes_at(start, size) if start > 1 else buffer.content(0)
