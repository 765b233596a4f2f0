"""Damaged model files: cut off, flipped, rearranged, wrong where only the schema knows it, or no models at all."""

from __future__ import annotations

import contextlib
import gzip
import random
import struct
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import flatbuffers
import numpy as np
from ai_edge_litert import schema_py_generated as schema

SHARES: Final = {"cut off": 15, "bits flipped": 30, "rearranged": 20, "schema": 25, "no model": 10}
"""Of a hundred."""


@dataclass(frozen=True, slots=True)
class Mutant:
    """Bytes that a model file has become; ``kind`` is how."""

    kind: str
    data: bytes


def mutants(sound: bytes, count: int, chance: random.Random, others: Iterator[bytes]) -> Iterator[Mutant]:
    """``count`` different mutants of a file, always the same for the same ``chance``; ``others`` are no models."""
    kinds = [kind for kind, share in SHARES.items() for _ in range(share)]
    made = {sound}
    while len(made) <= count:
        kind = chance.choice(kinds)
        data = next(others) if kind == "no model" else CHANGES[kind](sound, chance)
        if data not in made:
            made.add(data)
            yield Mutant(kind, data)


def _cut(sound: bytes, chance: random.Random) -> bytes:
    return sound[: chance.randrange(len(sound))]


def _flipped(sound: bytes, chance: random.Random) -> bytes:
    """Up to 64 bits; half of the times in the first or last part, where the structure is."""
    data, edge = bytearray(sound), min(len(sound), 8192)
    for _ in range(2 ** chance.randint(0, 6)):
        place = chance.randrange(len(data))
        if chance.random() < 0.5:
            place = chance.randrange(edge) if chance.random() < 0.5 else len(data) - 1 - chance.randrange(edge)
        data[place] ^= 1 << chance.randrange(8)
    return bytes(data)


def _rearranged(sound: bytes, chance: random.Random) -> bytes:
    """A block is taken out, doubled, moved, emptied or filled with noise."""
    size = chance.choice((1, 4, 32, 512, 4096, 65536))
    begin = chance.randrange(max(1, len(sound) - size))
    before, block, after = sound[:begin], sound[begin : begin + size], sound[begin + size :]
    how = chance.randrange(5)
    if how == 0:
        return before + after
    if how == 1:
        return before + block + block + after
    if how == 2:
        rest = before + after
        place = chance.randrange(len(rest))
        return rest[:place] + block + rest[place:]
    return before + (bytes(size) if how == 3 else chance.randbytes(size)) + after


def _by_schema(sound: bytes, chance: random.Random) -> bytes:
    """One to three values that the runtime takes for what they say; a value that cannot be written is another one."""
    while True:
        model = schema.ModelT.InitFromPackedBuf(sound, 0)
        for _ in range(chance.randint(1, 3)):
            chance.choice(TWISTS)(model, chance)
        builder = flatbuffers.Builder(len(sound))
        with contextlib.suppress(struct.error, TypeError, AttributeError, AssertionError, ValueError, OverflowError):
            builder.Finish(model.Pack(builder), b"TFL3")
            return bytes(builder.Output())


CHANGES: Final[dict[str, Callable[[bytes, random.Random], bytes]]] = {
    "cut off": _cut,
    "bits flipped": _flipped,
    "rearranged": _rearranged,
    "schema": _by_schema,
}


def _graph(model: Any, chance: random.Random) -> Any:
    return chance.choice(model.subgraphs)


def _tensor(model: Any, chance: random.Random) -> Any:
    return chance.choice(_graph(model, chance).tensors)


def _operator(model: Any, chance: random.Random) -> Any:
    return chance.choice(_graph(model, chance).operators)


def _replace_one(values: Any, value: Any, chance: random.Random) -> Any:
    """The same list with another value somewhere."""
    found = [] if values is None else list(values)
    if found:
        found[chance.randrange(len(found))] = value
    return found


def _index(chance: random.Random) -> int:
    return chance.choice((-1, 0, 1, chance.randrange(400), 2**31 - 1, -(2**31)))


def _twist_shape(model: Any, chance: random.Random) -> None:
    tensor = _tensor(model, chance)
    tensor.shape = _replace_one(tensor.shape, chance.choice((-1, 0, 1, 2, 7, 4096, 2**31 - 1)), chance)


def _twist_type(model: Any, chance: random.Random) -> None:
    _tensor(model, chance).type = chance.randrange(20)


def _twist_scale(model: Any, chance: random.Random) -> None:
    quantization = _tensor(model, chance).quantization
    if quantization is not None:
        wild = chance.choice((0.0, -1.0, 1e-30, 1e30, float("nan"), float("inf")))
        quantization.scale = _replace_one(quantization.scale, wild, chance)


def _twist_zero(model: Any, chance: random.Random) -> None:
    quantization = _tensor(model, chance).quantization
    if quantization is not None:
        quantization.zeroPoint = _replace_one(quantization.zeroPoint, chance.choice((-300, 300, 2**40)), chance)
        quantization.quantizedDimension = chance.choice((0, 1, 3, 9, -1))


def _twist_buffer(model: Any, chance: random.Random) -> None:
    _tensor(model, chance).buffer = chance.choice((0, 1, chance.randrange(400), 2**31 - 1))


def _twist_inputs(model: Any, chance: random.Random) -> None:
    operator = _operator(model, chance)
    operator.inputs = _replace_one(operator.inputs, _index(chance), chance)


def _twist_outputs(model: Any, chance: random.Random) -> None:
    operator = _operator(model, chance)
    operator.outputs = _replace_one(operator.outputs, _index(chance), chance)


def _twist_code(model: Any, chance: random.Random) -> None:
    if chance.random() < 0.5:
        _operator(model, chance).opcodeIndex = chance.choice((0, 1, 2, 99, 2**31))
    else:
        code = chance.choice(model.operatorCodes)
        code.builtinCode = code.deprecatedBuiltinCode = chance.randrange(127)
        code.version = chance.choice((0, 1, 5, 99))


def _twist_option(model: Any, chance: random.Random) -> None:
    options = _operator(model, chance).builtinOptions
    names = [name for name, value in vars(options).items() if isinstance(value, int)] if options is not None else []
    if names:
        setattr(options, chance.choice(names), chance.choice((0, 1, 2, 77, 127)))


def _twist_weights(model: Any, chance: random.Random) -> None:
    buffer = chance.choice(model.buffers)
    size = 0 if buffer.data is None else len(buffer.data)
    if size:
        noise = np.frombuffer(chance.randbytes(size), np.uint8)
        flat = np.full(size, chance.randrange(256), np.uint8)
        buffer.data = chance.choice((noise, flat, noise[: size // 2], noise[:0]))


def _twist_ends(model: Any, chance: random.Random) -> None:
    graph = _graph(model, chance)
    name = chance.choice(("inputs", "outputs"))
    setattr(graph, name, _replace_one(getattr(graph, name), _index(chance), chance))


def _twist_order(model: Any, chance: random.Random) -> None:
    """An operator is left out, comes twice, or changes its place."""
    operators = _graph(model, chance).operators
    place, how = chance.randrange(len(operators)), chance.randrange(3)
    operator = operators.pop(place) if how != 1 else operators[place]
    if how:
        operators.insert(chance.randrange(len(operators) + 1), operator)


TWISTS: Final[tuple[Callable[[Any, random.Random], None], ...]] = (
    _twist_shape, _twist_type, _twist_scale, _twist_zero, _twist_buffer, _twist_inputs, _twist_outputs, _twist_code,
    _twist_option, _twist_weights, _twist_ends, _twist_order,
)  # fmt: skip


def no_models(chance: random.Random, files: list[Path]) -> Iterator[bytes]:
    """What lies about on disks and could get the name of a model, without end; ``files`` are some more of it."""
    found = [path.read_bytes()[:200_000] for path in files]
    while True:
        noise = chance.randbytes(chance.choice((1, 7, 8, 100, 5000)))
        yield from (
            noise,
            b"\0\0\0\0TFL3" + noise,
            struct.pack("<I", chance.randrange(2**32)) + b"TFL3" + noise,
            bytes(len(noise)),
            gzip.compress(noise, mtime=0),
            zlib.compress(noise),
            b"version https://git-lfs.github.com/spec/v1\noid sha256:" + noise.hex().encode()[:64] + b"\n",
            b"<!DOCTYPE html><title>404</title>" + noise.hex().encode(),
            b"\x89HDF\r\n\x1a\n" + noise,
            b"PK\3\4" + noise,
            b"\x7fELF" + noise,
        )
        if found:
            whole = chance.choice(found)
            yield whole[: chance.randrange(1, len(whole) + 1)]
