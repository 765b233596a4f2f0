"""Manifests of the public models of sound and sensors, and what tests need to run them."""

from __future__ import annotations

import shutil
import wave
from collections.abc import Callable, Iterable
from pathlib import Path

import numpy as np

from edge_infer.engine.interpreter import Tensor
from edge_infer.engine.preprocess.signal import SignalPreprocess
from edge_infer.frames.frame import Samples, Signal
from edge_infer.plan.records import SignalPlan

KEYWORDS = "kws_ref_model.tflite"
MICRO_SPEECH = "micro_speech_quantized.tflite"
WAKE_WORD = "mww_alexa.tflite"
EVENTS = "yamnet_audio_classifier_with_metadata.tflite"
MACHINE = "ad01_int8.tflite"
JOGGING = "gmp_wl_24_int8.tflite"
RESTING = "ign_wl_24_int8.tflite"
SINE = "hello_world_int8.tflite"
DIGITS = "keras_lstm_mnist_ptq.tflite"
ACTIVITIES = "labels: [Jogging, Stationary, Stairs, Walking]\ninput: {features: raw, rate: 10}\ntask: classification\n"
MANIFESTS = {
    KEYWORDS: (
        "task: classification\n"
        'labels: [Down, Go, Left, "No", "Off", "On", Right, Stop, Up, "Yes", Silence, Unknown]\n'
        "input: {features: mfcc, rate: 16000, window: 30ms, hop: 20ms, bins: 40, low: 20, high: 4000, scale: peak}\n"
    ),
    MICRO_SPEECH: (
        'task: classification\nlabels: [silence, unknown, "yes", "no"]\ninput: {features: micro, hop: 20ms}\n'
    ),
    WAKE_WORD: "task: classification\nlabels: [nothing, alexa]\ninput: {features: micro}\n",
    EVENTS: "threshold: 0.3\n",
    MACHINE: ("task: anomaly\ninput: {features: raw, rate: 31.25, channels: 128, stride: 32ms}\nthreshold: 15\n"),
    JOGGING: ACTIVITIES,
    RESTING: ACTIVITIES,
    SINE: "task: regression\ninput: {features: raw}\nvalues: [{name: sine, min: -1.2, max: 1.2}]\n",
    DIGITS: "task: classification\ninput: {color: gray}\n",
}
"""All but the events one say nothing about themselves."""
SCORES = {
    KEYWORDS: (("audio/yes_1000ms.wav", "Yes", 0.996), ("audio/silence_1000ms.wav", "Silence", 0.90)),
    MICRO_SPEECH: (("audio/yes_1000ms.wav", "yes", 0.996), ("audio/no_1000ms.wav", "no", 0.91)),
    EVENTS: (("audio/speech.wav", "Speech", 0.96), ("audio/meow_16k.wav", "Cat", 0.73)),
}
"""What their makers and the references say: the score of a label in a recording."""
MACHINE_ERROR = 10.27
SINE_ERRORS = 0.113, 0.026
"""The largest, and the mean."""
Place = Callable[[str], Path]


def put(assets: Path, folder: Path, name: str, manifest: str | None = None) -> Path:
    """A model in ``folder`` with a manifest beside it."""
    path = folder / name
    shutil.copyfile(assets / "models" / name, path)
    path.with_suffix(".yaml").write_text(MANIFESTS[name] if manifest is None else manifest)
    return path


def sound(assets: Path, name: str) -> Signal:
    """The samples of a public recording of 16 bits, ``[n, 1]``."""
    with wave.open(str(assets / "audio" / name)) as file:
        values = np.frombuffer(file.readframes(-1), "<i2").reshape(-1, file.getnchannels())
    return values.astype(np.float32) / np.float32(32768)


def normal_machine(assets: Path) -> Signal:
    """200 frames of 128 mel bands of a machine that runs as it should."""
    data = np.fromfile(assets / "sensor" / "normal_id_01_00000000_hist_librosa.bin", "<f4")
    return data.reshape(200, 128)


def motions(assets: Path) -> list[tuple[str, Signal]]:
    """What people did, and 10 s of acceleration of it, ``[100, 3]``."""
    found, data = [], False
    for line in (assets / "sensor" / "BasicMotions_TRAIN.ts").read_text().splitlines():
        if data and line:
            *axes, label = line.split(":")
            rows = [[float(value) for value in axis.split(",")] for axis in axes[:3]]
            found.append((label, np.array(rows, np.float32).T))
        data = data or line.startswith("@data")
    return found


def tensor(*shape: int, dtype: str = "float32", scale: float = 0.0, zero: int = 0) -> Tensor:
    """An input."""
    return Tensor("input", 0, shape, dtype, (scale,) if scale else (), (zero,) if scale else ())


def stretches(values: Signal, rate: float, sizes: Iterable[int] = ()) -> list[Samples]:
    """A signal in stretches of these sizes, the rest of it in one."""
    found: list[Samples] = []
    start = 0
    for size in (*sizes, len(values)):
        part = values[start : start + size]
        if len(part):
            start += len(part)
            found.append(Samples(part, rate, 100 + start / rate, 50 + start / rate, len(found) + 1, gap=not found))
    return found


def windows(preprocess: SignalPreprocess, parts: Iterable[Samples]) -> list[Samples]:
    """All windows of some stretches, and of what is left after the last."""
    found: list[Samples] = []
    last = None
    for last in parts:
        found += preprocess.frames(last)
    if last is not None:
        found += preprocess.rest(last)
    return found


def features_of(plan: SignalPlan, into: Tensor, values: Signal, rate: float) -> list[np.ndarray]:
    """What goes into the tensor, window after window."""
    preprocess = SignalPreprocess(plan, into)
    found = []
    for window in windows(preprocess, stretches(values, rate)):
        view = np.zeros(into.shape, into.dtype)
        preprocess(window, view)
        found.append(view)
    return found
