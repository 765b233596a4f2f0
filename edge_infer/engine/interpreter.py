"""The only module that imports ``ai_edge_litert`` or ``tflite_runtime``; all other modules use `Interpreter`."""

from __future__ import annotations

import ctypes
import logging
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from importlib import import_module
from types import ModuleType
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from edge_infer.errors import ModelError, StartError
from edge_infer.plan.records import DelegatePlan

# The share of a model's graph that a delegate runs: the runtime's own delegate (XNNPACK), or an external library.

DELEGATE: Final = "DELEGATE"


def left_alone(steps: Sequence[Step], outputs: Sequence[int]) -> list[str]:
    """Return the names of the operators that no delegate has taken.

    The runtime lists the steps that a delegate has taken as well as the delegate itself. The steps that still run are
    therefore found by tracing back from the outputs through the steps that produce their inputs.
    """
    makers = {index: step for step in steps for index in step.outputs}
    makers |= {index: step for step in steps if step.name == DELEGATE for index in step.outputs}
    wanted, seen = deque(outputs), set[int]()
    found: list[Step] = []
    while wanted:
        index = wanted.popleft()
        step = makers.get(index)
        if step is None or index in seen:
            continue
        seen.update(step.outputs)
        if step.name != DELEGATE:
            found.append(step)
        wanted.extend(step.inputs)
    return [step.name for step in found]


log = logging.getLogger(__name__)

BACKENDS: Final = (("ai_edge_litert.interpreter", "ai-edge-litert"), ("tflite_runtime.interpreter", "tflite-runtime"))
"""Module and distribution of each runtime, the best first."""
PLUGIN: Final = ("tflite_plugin_create_delegate", "tflite_plugin_destroy_delegate")
"""Symbols that a delegate library must export."""
# The smallest valid model: one subgraph with one float32[1] tensor that is input and output. A runtime is tested by
# loading this model, because tflite-runtime 2.14 imports under NumPy 2 and fails only then.
_SMALLEST: Final = bytes.fromhex(
    "1800000054464c3300000e001800140010000c00080004000e00000014000000280000002c00000098000000030000000200"
    "00001000000004000000fcffffff0400040004000000000000000000000001000000100000000c00140010000c0008000400"
    "0c00000010000000100000001400000018000000000000000100000000000000010000000000000001000000100000000c00"
    "10000c000000080004000c0000000c000000010000000c0000000100000078000000010000000100000000000000"
)
REMEMBER: Final = frozenset(
    {
        "VAR_HANDLE",
        "CALL_ONCE",
        "SVDF",
        "RNN",
        "LSTM",
        "UNIDIRECTIONAL_SEQUENCE_RNN",
        "UNIDIRECTIONAL_SEQUENCE_LSTM",
        "BIDIRECTIONAL_SEQUENCE_RNN",
        "BIDIRECTIONAL_SEQUENCE_LSTM",
    }
)
"""Operators that keep data from one run to the next."""
SEQUENCES: Final = frozenset(
    {
        "UNIDIRECTIONAL_SEQUENCE_RNN",
        "UNIDIRECTIONAL_SEQUENCE_LSTM",
        "BIDIRECTIONAL_SEQUENCE_RNN",
        "BIDIRECTIONAL_SEQUENCE_LSTM",
    }
)
"""Operators of `REMEMBER` that process a whole sequence in one run. Each sequence starts without memory, as in
training, because the next picture or window is another sequence."""
LIMITS: Final[Mapping[str, tuple[int, int]]] = {
    kind: (int(np.iinfo(kind).min), int(np.iinfo(kind).max))
    for kind in ("int8", "uint8", "int16", "uint16", "int32", "uint32", "int64", "uint64")
}
"""Lowest and highest stored value by type; computing them each time would take longer than filling a small tensor."""


@dataclass(frozen=True, slots=True)
class Tensor:
    """One input or output: ``real = scale * (stored - zero_point)``. Without quantization both parameters are empty."""

    name: str
    index: int
    shape: tuple[int, ...]
    dtype: str
    scale: tuple[float, ...] = ()
    zero_point: tuple[int, ...] = ()

    @property
    def quantized(self) -> bool:
        """Whether stored values must be scaled to obtain real values."""
        return bool(self.scale)

    def dequantize(self, values: NDArray[Any]) -> NDArray[np.float32]:
        """Convert stored values to real values in a new array.

        Only per-tensor parameters are supported; inputs and outputs have no other parameters.
        """
        if not self.quantized:
            return np.array(values, np.float32)
        real = values.astype(np.float32)
        real -= np.float32(self.zero_point[0])
        real *= np.float32(self.scale[0])
        return real

    def store(self, real: NDArray[Any], into: NDArray[Any]) -> None:
        """Fill ``into``, a view of this tensor, with ``round(real / scale) + zero_point``, half to even, clipped.

        An integer tensor without parameters receives the rounded real numbers.
        """
        flat = real.reshape(into.shape)
        if into.dtype.kind == "f":
            limit = np.finfo(into.dtype).max
            into[...] = np.clip(flat, -limit, limit)
            return
        stored = flat / (self.scale[0] if self.scale else 1.0)
        if self.scale:
            stored += self.zero_point[0]
        least, most = LIMITS[self.dtype]
        np.rint(stored, out=stored)
        np.maximum(stored, least, out=stored)  # both calls take a third of the time of np.clip, and NaN stays NaN
        np.minimum(stored, most, out=stored)
        into[...] = stored


@dataclass(frozen=True, slots=True)
class Step:
    """One operator of the graph as the runtime reports it, with the indices of its tensors."""

    name: str
    inputs: tuple[int, ...]
    outputs: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class _Carried:
    """An output that becomes an input of the next run, and the functions that create views of the two."""

    output: Tensor
    input: Tensor
    output_view: Callable[[], NDArray[Any]]
    input_view: Callable[[], NDArray[Any]]


class Interpreter:
    """A model that is allocated and ready to run; only one thread may use it at a time.

    ``inputs`` are the inputs that frames fill, ``outputs`` the outputs that decoders read. Tensors carried from one run
    to the next are in neither. After the outputs, `invoke` also returns the inputs at the positions of ``echo``, as
    copies made before the run.
    """

    _runtime: Any = None
    echo: tuple[int, ...] = ()

    def __init__(
        self,
        model: str | bytes,
        threads: int = 1,
        state: Sequence[tuple[str, str]] = (),
        shapes: Sequence[tuple[str, tuple[int, ...]]] = (),
        outputs: Sequence[str] = (),
        *,
        delegate: DelegatePlan | None = None,
    ) -> None:
        """Load a file by path (mapped, not copied) or by content; raises `ModelError` with the runtime's reason.

        ``state`` pairs outputs with the inputs that they become in the next run; these inputs start as 0. ``shapes``
        are the shapes of inputs without a fixed size in the file. ``outputs`` names the wanted outputs, in order.
        Operators that a ``delegate`` does not take run on the processor. If the delegate fails, all operators run on
        the processor, provided that the plan permits it.
        """
        self._source = {"model_path": model} if isinstance(model, str) else {"model_content": model}
        self._threads = threads
        self._state = tuple(state)
        self._shapes = dict(shapes)
        self._wanted = tuple(outputs)
        self._delegate = delegate
        self.delegated = 0.0
        """Share of the operators that the delegate runs, 0 to 1."""
        self.failure = delegate.unusable if delegate is not None else ""
        """Why the processor runs everything although a delegate is configured."""
        self._load()
        operators = self.operators()
        self._variables = "VAR_HANDLE" in operators
        self._anew = not SEQUENCES.isdisjoint(operators) and REMEMBER.isdisjoint(set(operators) - SEQUENCES)
        self.remembers = bool(state) or not REMEMBER.isdisjoint(operators)
        """Whether a run depends on earlier runs."""
        self._empty()

    def _load(self) -> None:
        if self._delegate is not None and not self.failure:
            self.close()  # an accelerator may have room for only one model
            try:
                self._load_with(self._delegate)
            except ModelError as error:
                if self._delegate.on_failure == "refuse":
                    raise
                self._failed(str(error))
            else:
                return
        self.delegated = 0.0
        self._load_with(None)

    def _load_with(self, delegate: DelegatePlan | None) -> None:
        libraries = [_library(delegate)] if delegate is not None else None
        try:
            runtime = backend().Interpreter(num_threads=self._threads, experimental_delegates=libraries, **self._source)
            for detail in runtime.get_input_details() if self._shapes else ():
                if detail["name"] in self._shapes:
                    runtime.resize_tensor_input(detail["index"], self._shapes[detail["name"]], strict=True)
            if delegate is not None:  # before the runtime's own delegate takes the other operators
                self.delegated = _share(runtime, delegate)
            runtime.allocate_tensors()
            inputs = tuple(_tensor(detail) for detail in runtime.get_input_details())
            outputs = tuple(_tensor(detail) for detail in runtime.get_output_details())
        except (ValueError, RuntimeError, TypeError) as error:  # a name that is not UTF-8 also raises ValueError
            who = "the delegate" if delegate is not None else f"the runtime ({backend_name()})"
            raise ModelError(f"{who} cannot load it: {_reason(error)}") from error
        pairs = [_pair(output, into, outputs, inputs) for output, into in self._state]
        view: Callable[[int], Callable[[], NDArray[Any]]] = runtime.tensor
        self._runtime, self._ran = runtime, False
        self.inputs = tuple(each for each in inputs if each not in [pair[1] for pair in pairs])
        self.outputs = _wanted(tuple(each for each in outputs if each not in [pair[0] for pair in pairs]), self._wanted)
        # While a view of a tensor is held, the next invoke raises. Therefore no views are kept, only functions that
        # create views.
        self._carried = [_Carried(one, other, view(one.index), view(other.index)) for one, other in pairs]
        self._views = tuple(view(tensor.index) for tensor in self.outputs)
        self._input_views = tuple(view(tensor.index) for tensor in self.inputs)

    def input(self, position: int = 0) -> NDArray[Any]:
        """Return a view of an input tensor; write to it and release it before `invoke`."""
        return self._input_views[position]()

    def invoke(self) -> list[NDArray[Any]]:
        """Run the model. The returned outputs are views, which must be released before the next call."""
        if self._anew and self._ran:
            self._runtime.reset_all_variables()
        self._ran = True
        given = [self._input_views[position]().copy() for position in self.echo] if self.echo else []
        try:
            self._runtime.invoke()
        except (ValueError, RuntimeError) as error:
            self._recover(error)
        for each in self._carried:
            each.input.store(each.output.dequantize(each.output_view()), each.input_view())
        return [view() for view in self._views] + given

    def computed(self) -> tuple[tuple[Tensor, ...], tuple[Tensor, ...]]:
        """Return inputs and outputs in the form in which the model computes with them.

        The tensors are integer if the model converts its float inputs and outputs only at its ends.
        """
        steps = [step for step in _steps(self._runtime) if step.name != DELEGATE]
        details = {int(detail["index"]): detail for detail in self._runtime.get_tensor_details()}

        def inside(tensor: Tensor, touching: list[Step], name: str, other: str) -> Tensor:
            if tensor.dtype != "float32" or [step.name for step in touching] != [name]:
                return tensor
            found = _tensor(details[getattr(touching[0], other)[0]])
            return found if found.dtype in LIMITS and len(found.scale) == 1 else tensor

        readers = [[step for step in steps if tensor.index in step.inputs] for tensor in self.inputs]
        makers = [[step for step in steps if tensor.index in step.outputs] for tensor in self.outputs]
        return (
            tuple(inside(one, by, "QUANTIZE", "outputs") for one, by in zip(self.inputs, readers, strict=True)),
            tuple(inside(one, by, "DEQUANTIZE", "inputs") for one, by in zip(self.outputs, makers, strict=True)),
        )

    def _recover(self, error: Exception) -> None:
        """Run all operators on the processor from now on, with the same inputs.

        Raises `ModelError` if the operators already run on the processor, or if the plan forbids that.
        """
        if self._delegate is None or self.failure or self._delegate.on_failure == "refuse":
            who = "the model" if self._delegate is None or self.failure else "the delegate"
            raise ModelError(f"{who} failed while running: {_reason(error)}") from error
        given = [view().copy() for view in self._input_views]
        carried = [each.input_view().copy() for each in self._carried]
        self._failed(f"the delegate failed while running: {_reason(error)}")
        self.close()
        self._load()
        for view, values in zip(self._input_views, given, strict=True):
            view()[...] = values
        for each, values in zip(self._carried, carried, strict=True):
            each.input_view()[...] = values
        self._ran = True
        try:
            self._runtime.invoke()
        except (ValueError, RuntimeError) as again:
            raise ModelError(f"the model failed while running: {_reason(again)}") from again

    def _failed(self, why: str) -> None:
        self.failure = why
        log.warning("%s; the model runs on the processor instead", why)

    def forget(self) -> None:
        """Reset the memory that a model keeps between runs.

        Neither runtime's ``reset_all_variables`` resets variables with a handle (tested), so a model with such
        variables is loaded again: 0.3 ms for a wake word.
        """
        if self._variables and self._ran:
            self._load()
        self._runtime.reset_all_variables()
        self._empty()

    def _empty(self) -> None:
        for each in self._carried:
            view = each.input_view()
            each.input.store(np.zeros(view.shape), view)

    def operators(self) -> list[str]:
        """Return the operators of the graph as the runtime names them, in order of execution."""
        return [step.name for step in self.steps()]

    def steps(self) -> list[Step]:
        """Return the operators with their tensors. ``DELEGATE`` follows the operators that a delegate has taken."""
        return _steps(self._runtime)

    def close(self) -> None:
        """Release the model; may be called twice."""
        self._views, self._input_views = (), ()
        self._carried = []
        self._runtime = None


def backend() -> ModuleType:
    """Return the runtime module of this machine; raises `StartError` naming the package to install."""
    return _backend()[0]


def backend_name() -> str:
    """Return name and version of the runtime, for example ``ai-edge-litert 2.3.0``."""
    return _backend()[1]


@cache
def _backend() -> tuple[ModuleType, str]:
    problems = []
    for module_name, distribution in BACKENDS:
        try:
            module = import_module(module_name)
            module.Interpreter(model_content=_SMALLEST, num_threads=1).allocate_tensors()
        except ImportError as error:
            problems.append(f"{distribution}: {error}")
        except Exception as error:  # noqa: BLE001 - a runtime that does not fit this NumPy fails in many ways
            problems.append(f"{distribution} is installed but does not work here: {_reason(error)}")
        else:
            package = import_module(module_name.partition(".")[0])  # importlib.metadata would load the module socket
            return module, f"{distribution} {getattr(package, '__version__', '')}".rstrip()
    raise StartError(
        "no interpreter for TFLite models works here ("
        + "; ".join(problems)
        + "). Install one: pip install ai-edge-litert (64-bit), or pip install tflite-runtime 'numpy<2' "
        "(32-bit Arm, Python 3.11 or older)"
    )


def _library(delegate: DelegatePlan) -> Any:
    """Return the runtime's delegate object for a library; raises `ModelError`.

    The symbols are checked first, because the runtime's own class raises an error in its destructor if its constructor
    has failed.
    """
    try:
        library = ctypes.CDLL(delegate.library)
    except OSError as error:
        raise ModelError(f"the delegate cannot be loaded: {_reason(error)}") from error
    if lacking := [name for name in PLUGIN if not hasattr(library, name)]:
        raise ModelError(f"the delegate cannot be loaded: {delegate.library} is not a delegate, it has no {lacking[0]}")
    try:
        return backend().load_delegate(delegate.library, dict(delegate.options))
    except (ValueError, RuntimeError) as error:
        said = " ".join(str(error).split("\n", 1)[-1].split())[:200]  # the first line only names the library
        raise ModelError(f"the delegate cannot be loaded: {said or 'the library gives no reason'}") from error


def _share(runtime: Any, delegate: DelegatePlan) -> float:
    """Return the share of the operators that a delegate has taken; raises `ModelError` if it is below the minimum."""
    steps = _steps(runtime)
    left = left_alone(steps, [int(detail["index"]) for detail in runtime.get_output_details()])
    every = sum(step.name != DELEGATE for step in steps)
    share = 1.0 - len(left) / every if every else 0.0
    if share < delegate.min_delegated:
        names = ", ".join(sorted(set(left))[:8])
        raise ModelError(
            f"the delegate takes {every - len(left)} of {every} operators ({share:.0%}), less than min_delegated "
            f"({delegate.min_delegated:.0%}); it leaves {names}"
        )
    return share


def _steps(runtime: Any) -> list[Step]:
    return [
        Step(str(each["op_name"]), tuple(map(int, each["inputs"])), tuple(map(int, each["outputs"])))
        for each in runtime._get_ops_details()  # noqa: SLF001 - no public way
    ]


def _wanted(outputs: tuple[Tensor, ...], names: tuple[str, ...]) -> tuple[Tensor, ...]:
    """Return the outputs with these names, in this order; all outputs if no name is given."""
    if not names:
        return outputs
    known = {tensor.name: tensor for tensor in outputs}
    unknown = next((name for name in names if name not in known), None)
    if unknown is not None:
        raise ModelError(f"`outputs` names the unknown output {unknown}; its outputs are {', '.join(known)}")
    return tuple(known[name] for name in names)


def _pair(output: str, into: str, outputs: tuple[Tensor, ...], inputs: tuple[Tensor, ...]) -> tuple[Tensor, Tensor]:
    """Return the tensors of one entry of ``state``."""
    one = next((tensor for tensor in outputs if tensor.name == output), None)
    other = next((tensor for tensor in inputs if tensor.name == into), None)
    if one is None or other is None:
        made, taken = (", ".join(tensor.name for tensor in tensors) for tensors in (outputs, inputs))
        raise ModelError(f"`state` is {{OUTPUT: INPUT}}; its outputs are {made}, its inputs {taken}")
    if one.shape != other.shape:
        raise ModelError(f"`state`: {output} {list(one.shape)} does not fit into {into} {list(other.shape)}")
    return one, other


def _tensor(detail: Mapping[str, Any]) -> Tensor:
    parameters = detail["quantization_parameters"]
    scales = tuple(float(scale) for scale in parameters["scales"])
    zeros = tuple(int(zero) for zero in parameters["zero_points"])
    return Tensor(
        name=str(detail["name"]),
        index=int(detail["index"]),
        shape=tuple(int(size) for size in detail["shape"]),
        dtype=np.dtype(detail["dtype"]).name,
        scale=scales if any(scales) else (),
        zero_point=zeros if any(scales) else (),
    )


def _reason(error: BaseException) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return lines[0][:200] if lines else type(error).__name__
