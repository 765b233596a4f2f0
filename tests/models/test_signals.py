"""What a manifest says about signals, values and thresholds, and what comes of it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from edge_infer.errors import ModelError
from edge_infer.models.request import ModelRequest
from edge_infer.models.resolve.resolve import examine, resolve
from edge_infer.plan.records import FilterPlan, InputPlan, SignalPlan, ValuePlan
from tests.engine.sounds import (
    DIGITS,
    EVENTS,
    JOGGING,
    KEYWORDS,
    MACHINE,
    MANIFESTS,
    MICRO_SPEECH,
    RESTING,
    SINE,
    WAKE_WORD,
    put,
)

Said = Callable[..., ModelRequest]
ANOMALY = "task: anomaly\ninput: {features: raw, rate: 31.25, channels: 128}\n"
REGRESSION = "task: regression\ninput: {features: raw}\n"
MFCC = "input: {features: mfcc, rate: 16000, window: 30ms, hop: 20ms, bins: 40"


@pytest.fixture
def said(tmp_path: Path, assets: Path) -> Said:
    return lambda name, manifest=None: ModelRequest("m", str(put(assets, tmp_path, name, manifest)))


PLANS = {
    KEYWORDS: SignalPlan("mfcc", 16000, 0.03, 0.02, bins=40, low=20, high=4000, peak=True),
    MICRO_SPEECH: SignalPlan("micro", 16000, hop=0.02),
    WAKE_WORD: SignalPlan("micro", 16000, stride=0.03),
    EVENTS: SignalPlan("waveform", 16000),
    MACHINE: SignalPlan("raw", 31.25, channels=128, stride=0.032),
    JOGGING: SignalPlan("raw", 10),
    RESTING: SignalPlan("raw", 10),
    SINE: SignalPlan("raw"),
    DIGITS: InputPlan("gray", "stretch"),
}


@pytest.mark.parametrize("name", MANIFESTS)
def test_public_models_are_declared_in_a_few_words(said: Said, name: str) -> None:
    assert resolve(said(name)).input == PLANS[name]


def test_everything_that_can_be_said_arrives(said: Said) -> None:
    manifest = (
        "task: classification\ninput: {features: log_mel, rate: 8000, window: 64ms, hop: 0.0321, stride: 100ms, "
        "bins: 40, low: 50, high: 3000, mel: slaney, power: 2, log: db, floor: 1e-10, scale: 0.5, mean: -3, "
        "std: 2.5, filter: {highpass: 20, lowpass: 3500}}\n"
    )
    wanted = SignalPlan(
        "log_mel", 8000, 0.064, 0.0321, 0.1, bins=40, low=50, high=3000, mel="slaney", power=2, log="db", floor=1e-10,
        scale=0.5, mean=(-3.0,), std=(2.5,), filter=FilterPlan(20.0, 3500.0),
    )  # fmt: skip
    assert resolve(said(MICRO_SPEECH, manifest)).input == wanted


@pytest.mark.parametrize(
    ("written", "plan"),
    [
        ("gravity", FilterPlan(gravity="remove")),
        ("{gravity: rotate}", FilterPlan(gravity="rotate")),
        ("{gravity: remove, lowpass: 4}", FilterPlan(lowpass=4.0, gravity="remove")),
    ],
)
def test_gravity(said: Said, written: str, plan: FilterPlan) -> None:
    found = examine(said(JOGGING, f"task: classification\ninput: {{features: raw, rate: 10, filter: {written}}}\n"))
    assert isinstance(found.plan.input, SignalPlan)
    assert found.plan.input.filter == plan
    assert any(reason.what == "filter" and "gravity removed" in reason.value for reason in found.reasons)


def test_inspect_says_what_was_decided_and_why(said: Said) -> None:
    reasons = {reason.what: (reason.value, reason.why) for reason in examine(said(KEYWORDS)).reasons}
    assert reasons["decoder"] == ("classification", "the only family for classification")
    assert reasons["features"] == ("mfcc, 49 frames of 10, from 40 htk mel bands, 20 to 4000 Hz", "manifest")
    assert reasons["scale"] == ("each window by its largest sample", "manifest")
    assert reasons["rate"] == ("16000 samples a second", "manifest")
    assert reasons["at once"] == ("0.99 s", "the input's shape")
    assert reasons["next after"] == ("0.495 s", "half of it: no stride is set")
    events = {reason.what: (reason.value, reason.why) for reason in examine(said(EVENTS)).reasons}
    assert events["features"] == ("waveform, 15600 samples, full scale is 1", "metadata in the file")
    assert events["scores"] == ("unchanged", "its last operator is LOGISTIC")


@pytest.mark.parametrize(
    ("stride", "value", "note"),
    [
        ("300ms", "0.3 s", ()),
        (
            "250ms",
            "0.2 s",
            ("input: stride: 250 ms is no multiple of 100 ms, the time of a sample: the model runs every 200 ms",),
        ),
        (
            "30ms",
            "0.1 s",
            ("input: stride: 30 ms is no multiple of 100 ms, the time of a sample: the model runs every 100 ms",),
        ),
    ],
)
def test_a_stride_between_two_samples_is_reported(said: Said, stride: str, value: str, note: tuple[str, ...]) -> None:
    labels = "task: classification\nlabels: [a, b, c, d]\n"
    found = examine(said(JOGGING, f"{labels}input: {{features: raw, rate: 10, stride: {stride}}}\n"))
    assert {reason.what: reason.value for reason in found.reasons}["next after"] == value
    assert found.notes == note


def test_a_model_that_remembers_gets_nothing_twice(said: Said) -> None:
    reasons = {reason.what: (reason.value, reason.why) for reason in examine(said(WAKE_WORD)).reasons}
    assert reasons["next after"] == ("0.03 s", "the model has state: no sample twice")


@pytest.mark.parametrize(
    ("name", "manifest", "words"),
    [
        (KEYWORDS, "task: classification\n", "usual ranges.*model of sound or samples: `input: {features: …}`"),
        (KEYWORDS, "input: {rate: 16000}\ntask: classification\n", "rate: is for models of sound and samples"),
        (KEYWORDS, f"task: classification\n{MFCC}, color: gray}}\n", "color: is for models of pictures, but this is"),
        (KEYWORDS, f"task: classification\n{MFCC}, channels: 2}}\n", "channels: is for features: raw or spectrum"),
        (KEYWORDS, f"task: classification\n{MFCC}, high: 9000}}\n", "there are 0 to 8000"),
        (KEYWORDS, "task: classification\ninput: {features: mfcc}\n", "features: mfcc needs rate: in the manifest"),
        (KEYWORDS, "input: {features: mfc}\n", 'yaml:1: input.features: expected one of .*; did you mean "mfcc"'),
        (KEYWORDS, "input: {features: raw, scale: loud}\n", "yaml:1: input.scale: expected a number"),
        (KEYWORDS, "input: {features: raw, filter: wind}\n", "yaml:1: input.filter: expected gravity, or {highpass"),
        (KEYWORDS, "input: {features: raw, filter: {lowpass: x}}\n", "yaml:1: input.filter.*: expected a number"),
        (KEYWORDS, "task: classification\ninput: {features: raw, hop: 1}\n", "hop: is for features: mfcc or"),
        (KEYWORDS, "input: {features: raw, rate: 0}\n", "yaml:1: input.rate: expected a number between 0.001"),
        (MICRO_SPEECH, "task: classification\ninput: {features: micro, rate: 8000}\n", "`rate` of 16000"),
        (DIGITS, "task: classification\n", "may be a gray picture or a signal; set it"),
        (MACHINE, ANOMALY, "the distance from which a frame is anomalous is unknown: set threshold:"),
        (MACHINE, ANOMALY + "threshold: 9\nlabels: [a]\nvalues: [{name: x}]\n", "values: are for models of task regr"),
        (SINE, REGRESSION + "values: [{name: a}, {name: b}]\n", "the manifest names 2 values; the model gives 1"),
        (
            SINE,
            REGRESSION + "values: [{name: a, min: 2, max: 1}]\n",
            (
                r"the value a has a min \(2\) above its max "
                r"\(1\)"
            ),
        ),
        (SINE, REGRESSION + "values: [{unit: l}]\n", r"yaml:3: values\[0\].name: is missing"),
        (SINE, REGRESSION + "threshold: 2\n", "yaml:3: threshold: 2 is not between 0 and 1"),
        (
            SINE,
            "task: anomaly\ninput: {features: raw, rate: 1}\ndecoder: regression\n",
            "is for regression, but the ta",
        ),
    ],
)
def test_what_is_missing_or_does_not_fit_is_told(said: Said, name: str, manifest: str, words: str) -> None:
    with pytest.raises(ModelError, match=words):
        resolve(said(name, manifest))


def test_values_have_names_units_and_bounds(said: Said) -> None:
    manifest = "values: [{name: level, unit: l, scale: 2, step: 0.1, min: 0, max: 10, max_rate: 1}]\n"
    plan = examine(said(SINE, REGRESSION + manifest))
    assert plan.plan.values == (ValuePlan("level", "l", 2.0, 0.1, 0.0, 10.0, 1.0),)
    assert ("values", "level in l of 0 to 10") in {(reason.what, reason.value) for reason in plan.reasons}
    assert resolve(said(SINE, REGRESSION)).values == (ValuePlan("value"),)


def test_a_distance_may_be_any_number(said: Said) -> None:
    assert resolve(said(MACHINE)).threshold == 15
    request = said(MACHINE, ANOMALY)
    assert resolve(ModelRequest("m", request.file, threshold=0.0)).threshold == 0
