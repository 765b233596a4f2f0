"""Small image models, written by hand, that are good, or good until a certain frame and bad from then on.

All see a picture of 8x8 pixels and tell which of three classes it is; a variable counts the runs.
"""

from __future__ import annotations

import struct
from pathlib import Path
from typing import Any, Final, Literal

import flatbuffers
import numpy as np
from ai_edge_litert import schema_py_generated as schema

Mood = Literal["good", "nan", "constant", "slow", "hang", "crash"]

OPS, TYPES = schema.BuiltinOperator, schema.TensorType
CODES = (
    OPS.MEAN, OPS.MUL, OPS.ADD, OPS.SUB, OPS.DIV, OPS.VAR_HANDLE, OPS.READ_VARIABLE, OPS.ASSIGN_VARIABLE,
    OPS.CALL_ONCE, OPS.GREATER_EQUAL, OPS.CAST, OPS.WHILE, OPS.LESS, OPS.FLOOR_MOD,
)  # fmt: skip
LOOPS: Final = {"slow": (1.4e-7, 1.2), "hang": (1e-15, 1.0)}
"""The step and the end of an empty loop: nine million rounds are some 1.6 seconds of a quick core, more than the one
that any model may take; the other gets stuck at 1e-8."""
MANIFEST: Final = """\
name: {name}
version: {version}
file: {file}
decoder: {{kind: classification, activation: none}}
labels: [dark, medium, bright]
input: {{color: rgb, mean: 0, std: 255}}
"""


def write_model(path: Path, mood: Mood = "good", since: int = 20, gain: float = 1.0, version: str = "1.0.0") -> Path:
    """A model file with its manifest beside it; ``gain`` makes other bytes of it, ``since`` is its first bad run."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(moody_model(mood, since, gain))
    path.with_suffix(".yaml").write_text(MANIFEST.format(name=path.stem, version=version, file=path.name))
    return path


def moody_model(mood: Mood, since: int, gain: float) -> bytes:
    """``scores = mean(picture) * (gain, gain / 2, gain / 4)`` as long as the mood lasts."""
    model = _Model()
    main = _Graph(model)
    picture = main.tensor("picture", [1, 8, 8, 3])
    begin = main.call_once()
    handle = main.operator(OPS.VAR_HANDLE, [], main.tensor("handle", [], TYPES.RESOURCE))
    count = main.operator(OPS.READ_VARIABLE, [handle], main.tensor("count", [1]))
    more = main.operator(OPS.ADD, [count, main.floats("one", [1.0])], main.tensor("more", [1]))
    main.operator(OPS.ASSIGN_VARIABLE, [handle, more])
    mean = main.operator(OPS.MEAN, [picture, main.integers("axes", [1, 2, 3])], main.tensor("mean", [1]))
    bad = main.operator(
        OPS.GREATER_EQUAL, [more, main.floats("since", [float(since)])], main.tensor("bad", [1], TYPES.BOOL)
    )
    badness = main.operator(OPS.CAST, [bad], main.tensor("badness", [1]))
    goodness = main.operator(OPS.SUB, [main.floats("whole", [1.0]), badness], main.tensor("goodness", [1]))
    if mood in LOOPS:
        mean = main.lingering(mean, badness, *LOOPS[mood])
    elif mood == "constant":
        mean = main.operator(OPS.MUL, [mean, goodness], main.tensor("silent", [1]))
    elif mood == "nan":
        silent = main.operator(OPS.MUL, [mean, goodness], main.tensor("silent", [1]))
        mean = main.operator(OPS.DIV, [silent, goodness], main.tensor("wild", [1]))
    elif mood == "crash":
        mean = main.crashing(mean, badness)
    gains = main.floats("gains", [gain, gain / 2, gain / 4], [1, 3])
    scores = main.operator(OPS.MUL, [mean, gains], main.tensor("scores", [1, 3]))
    first = _Graph(model)
    first.operator(
        OPS.ASSIGN_VARIABLE,
        [first.operator(OPS.VAR_HANDLE, [], first.tensor("handle", [], TYPES.RESOURCE)), first.floats("zero", [0.0])],
    )
    graphs = [main.packed([picture], [scores])]
    begin.builtinOptions.initSubgraphIndex = len(model.graphs) + 1
    return model.packed([*graphs, *model.graphs, first.packed([], [])])


def picture_model(points: int) -> bytes:
    """A model whose outcome is its picture of one line, in shades of grey."""
    model = _Model()
    main = _Graph(model)
    picture = main.tensor("picture", [1, 1, points, 3])
    grey = main.operator(OPS.MEAN, [picture, main.integers("axes", [1, 3])], main.tensor("grey", [1, points]))
    return model.packed([main.packed([picture], [grey])])


class _Model:
    """Buffers and further graphs of a file."""

    def __init__(self) -> None:
        self.buffers = [schema.BufferT()]
        self.graphs: list[Any] = []

    def buffer(self, data: bytes) -> int:
        self.buffers.append(schema.BufferT())
        self.buffers[-1].data = np.frombuffer(data, np.uint8)
        return len(self.buffers) - 1

    def packed(self, graphs: list[Any]) -> bytes:
        model = schema.ModelT()
        model.version, model.subgraphs, model.buffers = 3, graphs, self.buffers
        model.operatorCodes = []
        for number in CODES:
            code = schema.OperatorCodeT()
            code.builtinCode, code.deprecatedBuiltinCode, code.version = number, min(number, 127), 1
            model.operatorCodes.append(code)
        builder = flatbuffers.Builder(1024)
        builder.Finish(model.Pack(builder), b"TFL3")
        return bytes(builder.Output())


class _Graph:
    """Tensors and operators of one graph, added in order of execution."""

    def __init__(self, model: _Model) -> None:
        self._model = model
        self._graph = schema.SubGraphT()
        self._graph.tensors, self._graph.operators = [], []

    def tensor(self, name: str, shape: list[int], kind: int = TYPES.FLOAT32, buffer: int = 0) -> int:
        tensor = schema.TensorT()
        tensor.name, tensor.shape, tensor.type, tensor.buffer = name, shape, kind, buffer
        self._graph.tensors.append(tensor)
        return len(self._graph.tensors) - 1

    def floats(self, name: str, values: list[float], shape: list[int] | None = None) -> int:
        data = struct.pack(f"<{len(values)}f", *values)
        return self.tensor(name, shape or [len(values)], buffer=self._model.buffer(data))

    def integers(self, name: str, values: list[int]) -> int:
        data = struct.pack(f"<{len(values)}i", *values)
        return self.tensor(name, [len(values)], TYPES.INT32, self._model.buffer(data))

    def operator(self, code: int, inputs: list[int], *outputs: int) -> int:
        """Adds it; its first output, or -1."""
        operator = schema.OperatorT()
        operator.opcodeIndex, operator.inputs, operator.outputs = CODES.index(code), inputs, list(outputs)
        name = {OPS.MEAN: "Reducer", OPS.VAR_HANDLE: "VarHandle"}.get(code)
        name = name or {OPS.MUL: "Mul", OPS.ADD: "Add", OPS.SUB: "Sub", OPS.DIV: "Div"}.get(code)
        if name is not None:
            operator.builtinOptionsType = getattr(schema.BuiltinOptions, f"{name}Options")
            operator.builtinOptions = getattr(schema, f"{name}OptionsT")()
        if code == OPS.VAR_HANDLE:
            operator.builtinOptions.container, operator.builtinOptions.sharedName = "", "count"
        self._graph.operators.append(operator)
        return outputs[0] if outputs else -1

    def call_once(self) -> Any:
        """The operator that makes the first value of the variable; the graph's number is set later."""
        self.operator(OPS.CALL_ONCE, [])
        begin = self._graph.operators[-1]
        begin.builtinOptionsType, begin.builtinOptions = (
            schema.BuiltinOptions.CallOnceOptions,
            schema.CallOnceOptionsT(),
        )
        return begin

    def lingering(self, value: int, badness: int, step: float, end: float) -> int:
        """The value, after a loop from 0 to ``end`` where badness is 1."""
        wanted = self.operator(OPS.MUL, [badness, self.floats("end", [end])], self.tensor("wanted", [1]))
        begin, size = self.floats("begin", [0.0]), self.floats("step", [step])
        condition, body = _Graph(self._model), _Graph(self._model)
        names = ("at", "wanted", "size", "value")
        left, right = ([graph.tensor(name, [1]) for name in names] for graph in (condition, body))
        result = condition.operator(OPS.LESS, left[:2], condition.tensor("go", [1], TYPES.BOOL))
        following = body.operator(OPS.ADD, [right[0], right[2]], body.tensor("next", [1]))
        self._model.graphs += [condition.packed(left, [result]), body.packed(right, [following, *right[1:]])]
        outputs = [self.tensor(f"after {name}", [1]) for name in names]
        self.operator(OPS.WHILE, [begin, wanted, size, value], *outputs)
        operator = self._graph.operators[-1]
        operator.builtinOptionsType, operator.builtinOptions = (
            schema.BuiltinOptions.WhileOptions,
            schema.WhileOptionsT(),
        )
        operator.builtinOptions.condSubgraphIndex, operator.builtinOptions.bodySubgraphIndex = 1, 2
        return outputs[3]

    def crashing(self, value: int, badness: int) -> int:
        """The value; where badness is 1, what the least number leaves by -1: a trap to x86 processors (SIGFPE)."""
        twice = self.operator(OPS.MUL, [badness, self.floats("two", [2.0])], self.tensor("twice", [1]))
        sign = self.operator(OPS.SUB, [self.floats("plus", [1.0]), twice], self.tensor("sign", [1]))
        divisor = self.operator(OPS.CAST, [sign], self.tensor("divisor", [1], TYPES.INT32))
        least = self.integers("least", [-(2**31)])
        rest = self.operator(OPS.FLOOR_MOD, [least, divisor], self.tensor("rest", [1], TYPES.INT32))
        number = self.operator(OPS.CAST, [rest], self.tensor("number", [1]))
        nothing = self.operator(OPS.MUL, [number, self.floats("none", [0.0])], self.tensor("nothing", [1]))
        return self.operator(OPS.ADD, [value, nothing], self.tensor("same", [1]))

    def packed(self, inputs: list[int], outputs: list[int]) -> Any:
        self._graph.inputs, self._graph.outputs = inputs, outputs
        return self._graph
