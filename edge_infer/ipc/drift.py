"""Records of drift: what a pipeline has learned of its camera and model, how that compares with now, and requests.

engine -> supervisor: `DriftReference` to keep, `DriftAnswer`; back: `DriftReference` as it was kept, `DriftQuestion`,
`DriftAccept`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Final

from edge_infer.contract.codec import Record, ShortText, at_least, at_most, between, field
from edge_infer.contract.messages import CameraDrift, Count, Fraction, Name, OutcomeDrift, Sentence, Timestamp

DRIFT_PARTS: Final = ("camera", "answers")
"""The parts of a pipeline that are compared, each with a score in the metrics."""
CAMERA_HOURS: Final = 24.0
"""Hours in which the appearances of a camera are learned, and as many in which it is learned how much it varies."""
MAX_REFERENCE_BYTES: Final = 4096
"""Most bytes of the reference of a pipeline on the disk."""
MAX_APPEARANCES: Final = 6
MAX_SIGNALS: Final = 12
MAX_LABELS: Final = 3
MAX_SCORE: Final = 1e6
MAX_LEVEL: Final = 1e9
Level = Annotated[float, between(-MAX_LEVEL, MAX_LEVEL)]
Sum = Annotated[float, between(-1e15, 1e15)]
Extreme = tuple[Count, Sum, Sum]
"""Number, sum and sum of the squares of largest values."""
PackedAppearance = Annotated[str, at_most(160)]
"""One look of a scene, such as by day (see `edge_infer.engine.drift.packed.pack_appearance`)."""
PackedSignal = Annotated[str, at_most(140)]
"""What was learned of one signal of the answers (see `edge_infer.engine.drift.packed.pack_signal`)."""


class CameraReference(Record, frozen=True):
    """What is learned of a camera for the settings with the digest ``basis``.

    ``extremes`` are by signal: the largest deviations of an hour from the appearances, once these are complete.
    """

    basis: ShortText
    frames: Count = 0
    hours: Annotated[float, at_least(0)] = 0.0
    appearances: Annotated[tuple[PackedAppearance, ...], at_most(MAX_APPEARANCES)] = ()
    extremes: Annotated[Mapping[ShortText, Extreme], at_most(MAX_SIGNALS)] = field(default_factory=dict)


class OutcomeReference(Record, frozen=True):
    """What is learned of the answers of a model for the settings with the digest ``basis``.

    ``histograms`` count frames. ``labels`` are the places of the most frequent labels among those of the pipeline.
    """

    basis: ShortText
    frames: Count = 0
    hours: Annotated[float, at_least(0)] = 0.0
    labels: Annotated[tuple[Count, ...], at_most(MAX_LABELS)] = ()
    signals: Annotated[Mapping[ShortText, PackedSignal], at_most(MAX_SIGNALS)] = field(default_factory=dict)
    histograms: Annotated[Mapping[ShortText, Annotated[tuple[Count, ...], at_most(10)]], at_most(4)] = field(
        default_factory=dict
    )


class DriftReference(Record, frozen=True):
    """The reference of a pipeline; a part without content has not been learned yet."""

    pipeline: Name
    camera: CameraReference | None = None
    outcome: OutcomeReference | None = None


class DriftQuestion(Record, frozen=True):
    """A request to compare the present with the reference."""


class DriftAccept(Record, frozen=True):
    """An order to forget what was learned of the camera or the answers of a pipeline: the change was meant."""

    pipeline: Name
    camera: bool
    outcome: bool


class SignalDrift(Record, frozen=True):
    """One signal: its present value, and how far it is on the way to the threshold (1: reached).

    ``usual`` is its mean in the reference; None for a deviation, whose usual value is 0. ``telling``: whether a fault
    can be told by it; it cannot where the reference itself changes too much.
    """

    value: Level
    score: Annotated[float, between(0, MAX_SCORE)]
    usual: Level | None = None
    telling: bool = True


class DriftHistogram(Record, frozen=True):
    """Shares of frames by bin in the reference and now, and their stability index.

    ``noise`` is the mean index of so many frames without any drift.
    """

    bins: Annotated[tuple[Annotated[str, at_most(16)], ...], at_most(10)]
    reference: Annotated[tuple[Fraction, ...], at_most(10)]
    now: Annotated[tuple[Fraction, ...], at_most(10)]
    psi: Annotated[float, at_least(0)]
    noise: Annotated[float, at_least(0)]


class PartDrift(Record, frozen=True):
    """One part of a pipeline, its camera or its answers.

    ``learned`` is the share of the reference, 1 when it is complete. ``since`` is when the present drift began.
    """

    learned: Fraction
    signals: Annotated[Mapping[ShortText, SignalDrift], at_most(16)] = field(default_factory=dict)
    since: Timestamp | None = None


class PipelineDrift(Record, frozen=True):
    """The drift of one pipeline. ``shift`` is how far the content of the picture moved, in fractions of the frame."""

    camera: CameraDrift | None = None
    outcome: OutcomeDrift | None = None
    camera_part: PartDrift | None = None
    outcome_part: PartDrift | None = None
    shift: tuple[Level, Level] | None = None
    histograms: Annotated[Mapping[ShortText, DriftHistogram], at_most(4)] = field(default_factory=dict)
    false_alarm: Annotated[float, at_least(0)] = 0.0
    """Seconds that are expected between two false alarms."""
    learn: Annotated[float, at_least(0)] = 0.0
    """Seconds over which the answers are learned."""


class DriftAnswer(Record, frozen=True):
    """The drift of every pipeline that watches for it; ``error`` is why there is none."""

    pipelines: Annotated[Mapping[Name, PipelineDrift], at_most(512)] = field(default_factory=dict)
    error: Sentence = ""
