"""Decides how a signal becomes the model's input, from the manifest, and for raw sound also from the metadata."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from edge_infer.contract.codec import replace
from edge_infer.engine.interpreter import Tensor
from edge_infer.engine.preprocess.signal import SignalPreprocess
from edge_infer.errors import ModelError
from edge_infer.models.packages.manifest import InputSection
from edge_infer.models.request import Reason
from edge_infer.models.resolve.picture_input import Feeding
from edge_infer.models.tflite.metadata import Metadata
from edge_infer.plan.records import FilterPlan, SignalPlan

METADATA: Final = "metadata in the file"
SPECTRAL: Final = ("mfcc", "log_mel", "spectrum")
BELONGS: Final = {
    "window": SPECTRAL,
    "hop": (*SPECTRAL, "micro"),
    "bins": SPECTRAL,
    "low": SPECTRAL,
    "high": SPECTRAL,
    "power": SPECTRAL,
    "log": SPECTRAL,
    "floor": SPECTRAL,
    "mel": ("mfcc", "log_mel"),
    "coefficients": ("mfcc",),
    "channels": ("raw", "spectrum"),
    "columns": ("raw", "waveform", *SPECTRAL),
}
"""Keys that only some features use. With other features they would have no effect, so they are rejected."""
STRIDE_TOLERANCE: Final = 0.01
"""Relative difference between the written and the real stride from which the difference is reported."""
COPIED: Final = (
    "window",
    "hop",
    "stride",
    "channels",
    "columns",
    "bins",
    "coefficients",
    "low",
    "high",
    "mel",
    "power",
    "log",
    "floor",
)


def choose_signal(said: InputSection, metadata: Metadata, tensor: Tensor, *, remembers: bool) -> Feeding:
    """Choose the input plan; ``remembers`` is true for a model that keeps state between runs.

    Raises `ModelError` if a setting is missing, superfluous or does not fit the tensor.
    """
    plan, rate_why = _plan(said, metadata)
    preprocess = SignalPreprocess(plan, tensor)
    stride_why = "manifest"
    if plan.stride is None:
        stride_why = "half of it: no stride is set"
        if remembers:
            plan = replace(plan, stride=preprocess.turn) if plan.rate else replace(plan, whole=True)
            preprocess = SignalPreprocess(plan, tensor)
            stride_why = "the model has state: no sample twice"
    plan = replace(plan, values=preprocess.values)
    why = "manifest" if said.features else METADATA
    reasons = [Reason("features", _features(plan, preprocess), why)]
    reasons += _front(plan)
    reasons += [
        Reason("rate", f"{plan.rate:g} samples a second", rate_why) if plan.rate else _AS_IT_COMES,
        Reason("at once", _at_once(plan, preprocess), "the input's shape"),
        Reason("next after", _after(plan, preprocess), stride_why),
    ]
    return Feeding(plan, tuple(reasons), tuple(_uneven(plan, preprocess)))


_AS_IT_COMES: Final = Reason("rate", "as the source has it", "the manifest sets no rate")


def _plan(said: InputSection, metadata: Metadata) -> tuple[SignalPlan, str]:
    features, sound = said.features, metadata.sound
    if features is None:
        features = "waveform"
    _check_keys(said, features)
    rate, why = said.rate, "manifest"
    if rate is None and features == "waveform" and sound and sound.rate:
        rate, why = float(sound.rate), METADATA
    if rate is None and features == "micro":
        rate, why = 16000.0, "as the micro front end works"
    if rate is None and features != "raw":
        raise ModelError(
            f"input: features: {features} needs rate: in the manifest, the rate of the model's training data"
        )
    chosen = {key: value for key in COPIED if (value := getattr(said, key)) is not None}
    if said.columns:
        chosen["width"] = 1 + max(said.columns)
        if features in ("raw", "spectrum"):
            chosen.setdefault("channels", len(said.columns))
    peak = said.scale == "peak"
    scale = 1.0 if said.scale is None or said.scale == "peak" else float(said.scale)
    plan = SignalPlan(
        features,
        rate,
        **chosen,
        scale=scale,
        peak=peak,
        mean=said.mean,
        std=said.std,
        filter=said.filter or FilterPlan(),
    )
    return plan, why


def _check_keys(said: InputSection, features: str) -> None:
    for key, owners in BELONGS.items():
        if getattr(said, key) is not None and features not in owners:
            raise ModelError(f"input: {key}: is for features: {' or '.join(owners)}, and these are {features}")


def _features(plan: SignalPlan, preprocess: SignalPreprocess) -> str:
    frames, values = preprocess.frames_of
    many = f"{frames} frame{'' if frames == 1 else 's'} of {values}"
    span = f"{plan.low:g} to {plan.high or (plan.rate or 0) / 2:g} Hz"
    if plan.features == "waveform":
        return f"waveform, {frames} samples, full scale is 1"
    if plan.features == "raw":
        return f"raw, {frames} sample{'' if frames == 1 else 's'} of {values} value{'' if values == 1 else 's'}"
    if plan.features == "micro":
        return f"micro, {many} values, every {1000 * (plan.hop or 0.01):g} ms"
    if plan.features == "spectrum":
        return f"spectrum, {many} bands, {span}"
    return f"{plan.features}, {many}, from {plan.bins or values} {plan.mel} mel bands, {span}"


def _front(plan: SignalPlan) -> Iterable[Reason]:
    """Yield the reasons of the steps before the features, if there are any."""
    if plan.peak:
        yield Reason("scale", "each window by its largest sample", "manifest")
    elif plan.scale != 1.0:
        yield Reason("scale", f"samples times {plan.scale:g}", "manifest")
    words = [f"{name} {value:g} Hz" for name, value in _cuts(plan.filter) if value is not None]
    if plan.filter.gravity:
        words.insert(0, "gravity removed" + (", then upright" if plan.filter.gravity == "rotate" else ""))
    if words:
        yield Reason("filter", ", ".join(words), "manifest")


def _cuts(said: FilterPlan) -> tuple[tuple[str, float | None], ...]:
    return ("highpass", said.highpass), ("lowpass", said.lowpass)


def _at_once(plan: SignalPlan, preprocess: SignalPreprocess) -> str:
    return preprocess.described_need if plan.rate is None else f"{preprocess.span:.4g} s"


def _uneven(plan: SignalPlan, preprocess: SignalPreprocess) -> Iterable[str]:
    """Yield a note if the distance between two windows differs from ``stride``, because it counts whole samples."""
    if plan.rate and plan.stride and abs(preprocess.stride - plan.stride) > STRIDE_TOLERANCE * plan.stride:
        step = f"{1000 / plan.rate:.4g} ms" if plan.features != "micro" else "10 ms"
        yield (
            f"input: stride: {1000 * plan.stride:.4g} ms is no multiple of {step}, the time of a "
            f"{'sample' if plan.features != 'micro' else 'feature'}: the model runs every "
            f"{1000 * preprocess.stride:.4g} ms"
        )


def _after(plan: SignalPlan, preprocess: SignalPreprocess) -> str:
    if plan.rate is None and plan.stride is None:
        return f"{preprocess.step} sample{'' if preprocess.step == 1 else 's'}"
    return f"{preprocess.stride if plan.rate else plan.stride or preprocess.stride:.4g} s"
