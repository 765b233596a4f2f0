"""Quantizes a float TFLite model to int8 or float16, and says what that changes on the same inputs.

For int8 the files in FOLDER (pictures; for models of sound and samples .wav, .csv or .npy files; for text files with
one input a line) show which values occur inside the network: some dozens of what the device will see are right. How a
file becomes an input is read from the model and its manifest, as the daemon does it.
"""

from __future__ import annotations

import argparse
import contextlib
import hashlib
import os
import statistics
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from comparison import Tally, Times
    from numpy.typing import NDArray

    from edge_infer.engine.input.files import FileFindings
    from edge_infer.engine.model.loaded_model import LoadedModel
    from edge_infer.models.tflite.graph import Graph
    from edge_infer.plan.records import ModelPlan, PipelinePlan

EXAMPLE: Final = """\
example:
  scripts/quantize detector.tflite --inputs pictures/ --to int8 -o detector_int8.tflite --report report/
"""
NOTHING: Final = "--inputs {folder}: no file in there can be read as an input of this model, which takes {takes}"
KINDS: Final = {"image": "pictures", "samples": "recordings (.wav, .csv, .npy)", "text": "lines of text"}
WORST: Final = 5
BAR: Final = 30
MOST_PIXELS: Final = 1 << 26
"""Maximum number of pixels of a picture, as in `edge-infer infer`."""


def main() -> int:
    """Write the quantized file and print the report."""
    args = _parser().parse_args()
    os.environ.setdefault("OPENCV_IO_MAX_IMAGE_PIXELS", str(MOST_PIXELS))
    from edge_infer.errors import EdgeInferError

    try:
        return _quantize(args)
    except EdgeInferError as error:
        print(f"quantize: {error}", file=sys.stderr)
        return error.exit_code


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="scripts/quantize",
        description=__doc__,
        epilog=EXAMPLE,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("model", metavar="MODEL", type=Path, help="a float .tflite file, its manifest beside it")
    parser.add_argument("--inputs", metavar="FOLDER", type=Path, required=True, help="what to calibrate and compare on")
    parser.add_argument("--to", choices=("int8", "float16"), required=True, help="int8 is smaller and quicker")
    parser.add_argument("-o", dest="out", metavar="OUT", type=Path, required=True, help="the .tflite file to write")
    parser.add_argument("--report", metavar="DIR", type=Path, help="write the report and the worst pictures in there")
    return parser


def _quantize(args: argparse.Namespace) -> int:
    from edge_infer.contract.codec import replace
    from edge_infer.models.request import ModelRequest
    from edge_infer.models.resolve.resolve import open_model
    from edge_infer.models.trials.probe import probe

    files = _files(args.inputs)
    _check_places(args)
    request = ModelRequest(args.model.stem, str(args.model.absolute()))
    opened = open_model(request)
    _check_graph(args.model, opened.graph, args.to)
    plan = probe(request)
    content = _converted(args.to, opened.data, plan, files)
    with _unfinished(args.out, content) as part:
        quantized = replace(plan, path=str(part.absolute()), sha256=hashlib.sha256(content).hexdigest())
        tally, times = _compared(plan, quantized, files, told=args.to == "int8")
    lines = [*_sizes(args.model, args.out), *_report(tally, times)]
    print("\n".join(lines))
    if args.report:
        _write_report(args, tally, lines)
    _hint(opened.package.manifest_path, args.out, plan, quantized.sha256)
    return 0


def _files(folder: Path) -> list[Path]:
    """Return the visible files of a folder."""
    from edge_infer.errors import InputError

    try:
        found = sorted(path for path in folder.iterdir() if path.is_file() and not path.name.startswith("."))
    except OSError as error:
        raise InputError(f"--inputs {folder}: {error.strerror}; name a folder of inputs") from error
    if not found:
        raise InputError(f"--inputs {folder}: there are no files in this folder")
    return found


def _check_places(args: argparse.Namespace) -> None:
    """Check that the output can be written and is not the input; raises `ConfigError`."""
    from edge_infer.errors import ConfigError

    if args.out.exists() and args.model.exists() and args.out.samefile(args.model):
        raise ConfigError(f"-o {args.out}: this is the model itself; name another file")
    if not args.out.absolute().parent.is_dir():
        raise ConfigError(f"-o {args.out}: there is no folder {args.out.absolute().parent}")
    if args.report:  # the folder is created later
        place = next(each for each in (args.report, *args.report.absolute().parents) if os.path.lexists(each))
        if not place.is_dir() or not os.access(place, os.W_OK | os.X_OK):
            why = "is no folder" if not place.is_dir() else "cannot be written"
            raise ConfigError(f"--report {args.report}: cannot be used as a folder: {place} {why}")


def _check_graph(file: Path, graph: Graph, to: str) -> None:
    """Raise `ModelError` for a model that should not or cannot be quantized."""
    from edge_infer.errors import ModelError
    from edge_infer.models.inspect.advice import FLOATS, weights_in_words

    kinds = {tensor.dtype for tensor in graph.weights()}
    if any(tensor.scale for tensor in graph.tensors):
        raise ModelError(f"{file}: it is quantized already (weights: {weights_in_words(graph)}); take its float file")
    if not kinds & FLOATS:
        raise ModelError(f"{file}: it is no float model: its weights are {weights_in_words(graph)}")
    if to == "float16" and "float32" not in kinds:
        raise ModelError(f"{file}: its weights are float16 already; --to int8 makes it smaller and quicker")
    if len(graph.inputs) != 1:
        names = ", ".join(f"{tensor.name} {list(tensor.shape)}" for tensor in graph.inputs)
        raise ModelError(
            f"{file}: it has {len(graph.inputs)} inputs ({names}); only models with one are quantized here"
        )
    if graph.subgraphs != 1:
        raise ModelError(
            f"{file}: it has {graph.subgraphs} graphs (loops or branches); only one can be calibrated here"
        )
    if graph.remembers():
        raise ModelError(f"{file}: it keeps state from one run to the next, which cannot be calibrated here")
    if graph.custom():
        names = ", ".join(graph.custom())
        raise ModelError(f"{file}: it has custom operators ({names}), which the quantizer cannot run")


def _pipeline(plan: ModelPlan) -> PipelinePlan:
    from edge_infer.plan.records import PipelinePlan

    return PipelinePlan("quantize", "folder", plan, plan.threshold)


def _converted(to: str, data: bytes, plan: ModelPlan, files: Sequence[Path]) -> bytes:
    """Return the bytes of the quantized file."""
    import quantizing

    from edge_infer.errors import InputError, ModelError

    try:
        model = quantizing.plain_float_model(data)
        content = quantizing.to_float16(model) if to == "float16" else quantizing.to_int8(model, _samples(plan, files))
    except InputError:
        raise
    except (ValueError, RuntimeError, KeyError, TypeError, AttributeError) as error:
        reason = str(error).strip().splitlines() or [type(error).__name__]
        raise ModelError(f"{plan.path}: the quantizer cannot make {to} of it: {reason[0][:300]}") from error
    return quantizing.with_files_of(data, content)


def _samples(plan: ModelPlan, files: Sequence[Path]) -> Iterator[NDArray[Any]]:
    """Yield the input tensor of every run of the float model on the files; raises `InputError` if there is none."""
    from edge_infer.engine.model.loaded_model import LoadedModel
    from edge_infer.errors import InputError

    class Watched(LoadedModel):
        def feed(self, part: Any) -> Any:
            place = super().feed(part)
            seen.append(self.interpreter.input().copy())
            return place

    seen: list[NDArray[Any]] = []
    some = False
    with Watched(_pipeline(plan)) as model:
        seen.clear()  # inputs of the warm-up
        for _ in _through(model, plan, files, "calibrating"):
            some = True
            yield from seen
            seen.clear()
    if not some:
        raise InputError(NOTHING.format(folder=files[0].parent, takes=KINDS[plan.input.takes]))


def _through(model: LoadedModel, plan: ModelPlan, files: Sequence[Path], title: str) -> Iterator[FileFindings]:
    """Yield the findings of the model in all inputs; report and skip unreadable files."""
    from edge_infer.engine.input.files import find_in_file
    from edge_infer.errors import InputError

    with _Bar(title, len(files)) as bar:
        for path in files:
            try:
                yield from find_in_file(model, plan.input, str(path))
            except InputError as error:
                bar.tell(f"left out: {error}")
            bar.step()


def _compared(plan: ModelPlan, quantized: ModelPlan, files: Sequence[Path], *, told: bool) -> tuple[Tally, Times]:
    """Return the comparison of both models on every readable input, and the times of a run.

    With ``told``, the calibration has already reported unreadable files.
    """
    from comparison import Tally, compare, run_times

    from edge_infer.engine.input.files import find_in_file
    from edge_infer.engine.model.loaded_model import LoadedModel
    from edge_infer.errors import InputError

    tally = Tally(WORST)
    with LoadedModel(_pipeline(plan)) as before, LoadedModel(_pipeline(quantized)) as after:
        with _Bar("comparing", len(files)) as bar:
            for path in files:
                try:
                    seen = [find_in_file(each, plan.input, str(path)) for each in (before, after)]
                    for one, other in zip(*seen, strict=True):
                        tally.add(compare(one, other))
                except InputError as error:
                    if not told:
                        bar.tell(f"left out: {error}")
                bar.step()
        if not tally.inputs:
            raise InputError(NOTHING.format(folder=files[0].parent, takes=KINDS[plan.input.takes]))
        return tally, run_times(before.interpreter, after.interpreter)


def _sizes(before: Path, after: Path) -> Iterator[str]:
    sizes = [path.stat().st_size for path in (before, after)]
    yield f"file        {before.name} -> {after.name}"
    yield f"size        {sizes[0]:,} -> {sizes[1]:,} bytes: {sizes[1] / sizes[0]:.0%}"


def _report(tally: Tally, times: Times) -> Iterator[str]:
    """Yield the rest of the table."""
    before, after = times.before * 1e3, times.after * 1e3
    yield f"one run     {before:.3g} -> {after:.3g} ms here, one thread: {times.ratio:.0%} of the time"
    yield f"inputs      {tally.inputs}, the same outcome in {tally.same} ({tally.same / tally.inputs:.0%})"
    found = tally.kept + tally.missing
    yield f"found       {found} before; {tally.kept} of them after, {tally.missing} missing, {tally.new} new"
    if tally.overlaps:
        yield f"places      IoU {statistics.mean(tally.overlaps):.3f} on average, {min(tally.overlaps):.3f} at worst"
    if tally.differences:
        sizes = [abs(difference) for difference in tally.differences]
        mean, drift = statistics.mean(sizes), statistics.mean(tally.differences)
        yield f"scores      differ by {mean:.3f} on average, {max(sizes):.3f} at most; {drift:+.3f} on the whole"
    for pair in tally.worst:
        missing_new = f"{pair.kept} kept, {pair.missing} missing, {pair.new} new"
        yield f"worst       {Path(pair.before.name).name}: {missing_new}, moved by {pair.badness[1]:.3f}"


@contextlib.contextmanager
def _unfinished(out: Path, content: bytes) -> Iterator[Path]:
    """Write the content to a temporary file beside ``out``. Rename it to ``out`` on success, and remove it on
    failure."""
    part = out.with_name(f"{out.name}.part")
    _write(part, content)
    try:
        yield part
        part.replace(out)
    finally:
        part.unlink(missing_ok=True)


def _write(path: Path, content: bytes) -> None:
    from edge_infer.errors import StartError

    try:
        path.write_bytes(content)
    except OSError as error:
        raise StartError(f"{path}: cannot be written: {error.strerror}") from error


def _write_report(args: argparse.Namespace, tally: Tally, lines: Sequence[str]) -> None:
    """Write the table, and the worst pictures with the findings of both files."""
    import cv2
    from comparison import side_by_side

    from edge_infer.errors import ConfigError

    try:
        args.report.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ConfigError(f"--report {args.report}: cannot be made: {error.strerror}") from error
    _write(args.report / "report.txt", ("\n".join(lines) + "\n").encode())
    for number, pair in enumerate(tally.worst, start=1):
        picture = side_by_side(pair, (args.model.name, args.out.name))
        if picture is not None:
            encoded = cv2.imencode(".jpg", picture, [cv2.IMWRITE_JPEG_QUALITY, 92])[1]
            _write(args.report / f"worst-{number}-{Path(pair.before.name).stem}.jpg", encoded.tobytes())


def _hint(manifest: Path | None, out: Path, plan: ModelPlan, sha256: str) -> None:
    """Print the manifest that the quantized file needs, unless it is read as in this comparison without one."""
    from edge_infer.errors import ModelError
    from edge_infer.models.request import ModelRequest
    from edge_infer.models.trials.probe import probe

    try:
        found: ModelPlan | None = probe(ModelRequest(plan.name, str(out.absolute())))
    except ModelError:
        found = None
    known = (plan.task, plan.decoder, plan.labels)
    if found and (found.task, found.decoder, found.labels) == known and _fed_alike(plan, found):
        return
    beside = out.with_suffix(".yaml")
    if manifest:
        print(f"quantize: {manifest} speaks of the float file only: copy it to {beside}, with", file=sys.stderr)
        print(f"    file: {out.name}\n    sha256: {sha256}", file=sys.stderr)
    else:
        print(
            f"quantize: by itself {out} would not be read as the float file is (see edge-infer inspect for both); "
            f"write a manifest {beside}",
            file=sys.stderr,
        )


def _fed_alike(plan: ModelPlan, found: ModelPlan) -> bool:
    """Return whether both plans give the quantized file the same input, within one quantization step."""
    from edge_infer.contract.codec import replace
    from edge_infer.engine.interpreter import Interpreter
    from edge_infer.engine.preprocess.encoding import encoding
    from edge_infer.engine.preprocess.shape import image_shape
    from edge_infer.plan.records import InputPlan, TextPlan

    ways = [plan.input, found.input]
    if isinstance(plan.input, TextPlan) and plan.input.vocabulary == plan.path:  # the vocabulary is inside both files
        ways[0] = replace(plan.input, vocabulary=found.path)
    if ways[0] == ways[1] or not all(isinstance(way, InputPlan) for way in ways):
        return ways[0] == ways[1]
    images = [way for way in ways if isinstance(way, InputPlan)]
    if replace(images[0], mean=None, std=None) != replace(images[1], mean=None, std=None):
        return False
    with contextlib.closing(Interpreter(found.path)) as model:
        tensor = model.inputs[0]
    first, second = (encoding(way, tensor, image_shape(tensor)[2]).astype(float) for way in images)
    return bool((abs(first - second) <= 1).all()) and tensor.quantized


class _Bar:
    """A progress bar on standard error, shown only on a terminal."""

    def __init__(self, title: str, whole: int) -> None:
        self._title, self._whole, self._have = title, whole, 0
        self._stream = sys.__stderr__ or sys.stderr  # the quantizer redirects sys.stderr while it runs

    def __enter__(self) -> _Bar:
        self._show()
        return self

    def __exit__(self, *_: object) -> None:
        self._clear()

    def step(self) -> None:
        self._have += 1
        self._show()

    def tell(self, text: str) -> None:
        """Print a line of its own, also without a terminal."""
        self._clear()
        print(f"quantize: {text}", file=self._stream)
        self._show()

    def _show(self) -> None:
        if self._stream.isatty():
            done = "#" * (self._have * BAR // self._whole)
            print(f"\r{self._title} [{done:<{BAR}}] {self._have}/{self._whole}", end="", file=self._stream, flush=True)

    def _clear(self) -> None:
        if self._stream.isatty():
            print("\r\033[K", end="", file=self._stream, flush=True)


if __name__ == "__main__":
    sys.exit(main())
