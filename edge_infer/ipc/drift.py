"""Records of drift detection: the learned reference of a pipeline, its comparison with the present, and requests.

engine -> supervisor: `DriftReference` for storage, `DriftAnswer`; back: the stored `DriftReference`, `DriftQuestion`,
`DriftAccept`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Final

from edge_infer.contract.codec import Record, ShortText, at_least, at_most, between, field
from edge_infer.contract.messages import CameraDrift, Count, Fraction, Name, OutcomeDrift, Sentence, Timestamp

DRIFT_PARTS: Final = ("camera", "answers")
"""Parts of a pipeline that are compared, each with a score in the metrics: the camera, and the model's findings
(``answers``)."""
CAMERA_HOURS: Final = 24.0
"""Hours for learning the appearances of a camera, and again as many for learning the variation of the appearances."""
MAX_REFERENCE_BYTES: Final = 4096
"""Maximum bytes of the stored reference of a pipeline."""
MAX_APPEARANCES: Final = 6
MAX_SIGNALS: Final = 12
MAX_LABELS: Final = 3
MAX_SCORE: Final = 1e6
MAX_LEVEL: Final = 1e9
Level = Annotated[float, between(-MAX_LEVEL, MAX_LEVEL)]
Sum = Annotated[float, between(-1e15, 1e15)]
Extreme = tuple[Count, Sum, Sum]
"""Number, sum, and sum of squares of the largest values."""
PackedAppearance = Annotated[str, at_most(160)]
"""One appearance of a scene, such as that by day (see `edge_infer.engine.drift.packed.pack_appearance`)."""
PackedSignal = Annotated[str, at_most(140)]
"""The learned reference of one signal of the findings (see `edge_infer.engine.drift.packed.pack_signal`)."""


class CameraReference(Record, frozen=True):
    """The learned reference of a camera; ``basis`` is the digest of the settings during the learning.

    ``extremes`` holds for each signal the largest hourly deviations from the appearances, collected once the
    appearances are complete.
    """

    basis: ShortText
    frames: Count = 0
    hours: Annotated[float, at_least(0)] = 0.0
    appearances: Annotated[tuple[PackedAppearance, ...], at_most(MAX_APPEARANCES)] = ()
    extremes: Annotated[Mapping[ShortText, Extreme], at_most(MAX_SIGNALS)] = field(default_factory=dict)


class OutcomeReference(Record, frozen=True):
    """The learned reference of a model's findings; ``basis`` is the digest of the settings during the learning.

    ``histograms`` count frames. ``labels`` are the indices of the most frequent labels among the labels of the
    pipeline.
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
    """The reference of a pipeline; a part that is None has not been learned yet."""

    pipeline: Name
    camera: CameraReference | None = None
    outcome: OutcomeReference | None = None


class DriftQuestion(Record, frozen=True):
    """Request to compare the present with the reference."""


class DriftAccept(Record, frozen=True):
    """Order to discard the reference of the camera or the findings of a pipeline, because the change was intended."""

    pipeline: Name
    camera: bool
    outcome: bool


class SignalDrift(Record, frozen=True):
    """One signal: its current value, and its ratio to the threshold (1: reached).

    ``usual`` is its mean in the reference; None for a deviation (its usual value is 0). ``telling``: whether the
    signal can reveal a fault; false if the signal varied too much in the reference.
    """

    value: Level
    score: Annotated[float, between(0, MAX_SCORE)]
    usual: Level | None = None
    telling: bool = True


class DriftHistogram(Record, frozen=True):
    """Shares of frames by bin, in the reference and now, and their population stability index.

    ``noise`` is the mean index for the same number of frames without any drift.
    """

    bins: Annotated[tuple[Annotated[str, at_most(16)], ...], at_most(10)]
    reference: Annotated[tuple[Fraction, ...], at_most(10)]
    now: Annotated[tuple[Fraction, ...], at_most(10)]
    psi: Annotated[float, at_least(0)]
    noise: Annotated[float, at_least(0)]


class PartDrift(Record, frozen=True):
    """One part of a pipeline: its camera, or its model's findings.

    ``learned`` is the completed share of the reference, 1 when it is complete. ``since`` is the start of the current
    drift.
    """

    learned: Fraction
    signals: Annotated[Mapping[ShortText, SignalDrift], at_most(16)] = field(default_factory=dict)
    since: Timestamp | None = None


class PipelineDrift(Record, frozen=True):
    """Drift of one pipeline. ``shift`` is the movement of the picture's content, in fractions of the frame."""

    camera: CameraDrift | None = None
    outcome: OutcomeDrift | None = None
    camera_part: PartDrift | None = None
    outcome_part: PartDrift | None = None
    shift: tuple[Level, Level] | None = None
    histograms: Annotated[Mapping[ShortText, DriftHistogram], at_most(4)] = field(default_factory=dict)
    false_alarm: Annotated[float, at_least(0)] = 0.0
    """Expected seconds between two false alarms."""
    learn: Annotated[float, at_least(0)] = 0.0
    """Seconds over which the findings are learned."""


class DriftAnswer(Record, frozen=True):
    """Drift of all pipelines that watch for it. If there is no answer, ``error`` is the reason."""

    pipelines: Annotated[Mapping[Name, PipelineDrift], at_most(512)] = field(default_factory=dict)
    error: Sentence = ""
