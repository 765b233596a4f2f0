"""The measurements of ``scripts/explain``: how correct, stable and fast explanations are."""

from __future__ import annotations

import argparse
import csv
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

import cv2
import numpy as np
from numpy.typing import NDArray

from edge_infer.engine.model.loaded_model import LoadedModel
from edge_infer.engine.records import Boxes
from edge_infer.errors import EdgeInferError, InputError
from edge_infer.explain.answers import BoxAnswer, Wanted, sampling_plan
from edge_infer.explain.explanation import Explainer, Explanation, Order
from edge_infer.explain.pictures import PictureCells, blending
from edge_infer.explain.sampling import Cells, CellSums, Sampler, Visible
from edge_infer.frames.picture import read_picture
from edge_infer.models.request import ModelRequest
from edge_infer.models.resolve.resolve import resolve
from edge_infer.supervisor.control.server import ask, find_socket
from tests.explain.planted import noise, planted_detector
from tests.explain.sentences import SENTENCES
from tests.explain.test_families import score_of

ROOT: Final = Path(__file__).resolve().parents[1]
ASSETS: Final = Path(os.environ.get("EDGE_INFER_ASSETS", ""))
FACES: Final = ROOT / "models" / "face-detect" / "1.0.0" / "face_full_range_int8.tflite"
SSD: Final = ASSETS / "models" / "coco_ssd_mobilenet_v1_1.0_quant_2018_06_29.tflite"
YOLO: Final = ASSETS / "models" / "yolov8n_full_integer_quant_224.tflite"
CLASSES: Final = ASSETS / "models" / "mobilenet_v2_1.0_224_quant.tflite"
OTHER_CLASSES: Final = ASSETS / "models" / "mobilenet_v1_0.25_128_quant.tflite"
IMAGENET: Final = ASSETS / "labels" / "imagenet_labels.txt"
PICTURES: Final = (
    (FACES, "astronaut.png"), (FACES, "grace_hopper.bmp"), (FACES, "zidane.jpg"), (SSD, "bus.jpg"),
    (SSD, "zidane.jpg"), (SSD, "cats_and_dogs.jpg"), (SSD, "cat.bmp"), (SSD, "table.jpg"), (CLASSES, "cat.bmp"),
    (CLASSES, "fox.jpeg"), (CLASSES, "burger.jpg"), (CLASSES, "grace_hopper.bmp"),
)  # fmt: skip
RASTER: Final = 64
MASKS: Final = int(os.environ.get("MASKS", "700"))
Heat = NDArray[np.float64]


@contextmanager
def opened(file: Path, seed: int = 0, masks: int = MASKS, **wanted: Any) -> Iterator[Explainer]:
    labels = str(IMAGENET) if file in (CLASSES, OTHER_CLASSES) else None
    plan = resolve(ModelRequest(file.stem, str(file), labels_file=labels))
    with LoadedModel(sampling_plan(plan, plan.threshold)) as model:
        order = Order(min(plan.threshold, 0.3), Wanted(**wanted), seed, masks)
        yield Explainer(model, plan, order, lambda *_: None)


def explained(file: Path, picture: str, seed: int = 0, masks: int = MASKS, **wanted: Any) -> Explanation:
    with opened(file, seed, masks, **wanted) as explainer:
        return explainer.picture(picture, read_picture(str(ASSETS / "images" / picture)))


def heat(found: Explanation, evidence: Cells | None = None) -> Heat:
    """Return the evidence for each unit of area, as a small picture."""
    cut = found.cut
    assert isinstance(cut, PictureCells)
    columns, rows = cut.lines()
    values = (found.sampled.evidence if evidence is None else evidence).reshape(cut.shape)
    density = values / np.outer(np.diff(rows), np.diff(columns))
    inner = [(lines - lines[0]) / (lines[-1] - lines[0]) for lines in (rows, columns)]
    return np.asarray(blending(inner[0], RASTER) @ density @ blending(inner[1], RASTER).T, np.float64)


def correlation(one: NDArray[Any], other: NDArray[Any]) -> float:
    """Return Pearson's correlation; 0 if one side is constant, such as a map without evidence."""
    if np.ptp(one) == 0 or np.ptp(other) == 0:
        return 0.0
    return float(np.corrcoef(one.ravel(), other.ravel())[0, 1])


def planted() -> None:
    dice, shares = np.random.default_rng(4), []
    for number in range(20):
        width, height = dice.integers(14, 40, 2).tolist()
        left, top = int(dice.integers(0, 96 - width)), int(dice.integers(0, 96 - height))
        with tempfile.TemporaryDirectory() as folder:
            file = planted_detector(Path(folder), (left, top, left + width, top + height))
            with opened(file) as explainer:
                shares.append(explainer.picture("noise", noise(number)).inside or 0.0)
    print(
        f"planted: {sum(share >= 0.9 for share in shares)} of 20 hold 90 % of the evidence, the least {min(shares):.1%}"
    )


def spread(cut: PictureCells, values: NDArray[Any]) -> NDArray[np.float32]:
    """Return the values of cells as a picture, blended like the masks of the cells."""
    width, height = cut.frame.size
    down, across = blending(cut.rows, height), blending(cut.columns, width)
    return np.asarray(down @ values.reshape(cut.shape).astype(np.float32) @ across.T, np.float32)


class Recorded:
    """Computes the strength of an answer for each mask, and keeps masks and detections for the referee."""

    def __init__(self, cut: PictureCells, model: LoadedModel, answer: BoxAnswer, classes: int) -> None:
        self._cut, self._model, self._answer, self._classes = cut, model, answer, classes
        self.masks: list[NDArray[np.float32]] = []
        self.detections: list[NDArray[np.float64]] = []

    def __call__(self, visible: Visible) -> float:
        look = self._model.look(self._cut.masked(visible, 0))
        assert isinstance(look[0], Boxes)
        self.masks.append(spread(self._cut, visible))
        self.detections.append(vectors(look[0].boxes, look[0].scores, look[0].classes, self._classes))
        return self._answer.strength(look)


def vectors(boxes: Any, scores: Any, classes: Any, count: int) -> NDArray[np.float64]:
    """Return detections in the form of the referee: box, score, classes. Boxes are scaled by 10,000, because the
    referee adds one pixel to each side."""
    found = np.zeros((100, 5 + count))
    kept = np.argsort(-scores)[:100]
    found[: len(kept), :4], found[: len(kept), 4] = boxes[kept] * 10_000, scores[kept]
    found[np.arange(len(kept)), 5 + classes[kept]] = 1.0
    found[len(kept) :, 5] = 1.0  # the cosine of zeros is not a number; a score of 0 has no effect
    return found


def referee(masks: int = MASKS) -> None:
    for file, name in PICTURES:
        if file in (CLASSES, OTHER_CLASSES):
            continue
        with opened(file) as explainer:
            found = explainer.picture(name, read_picture(str(ASSETS / "images" / name)))
            cut, answer = found.cut, found.answer
            assert isinstance(cut, PictureCells)
            assert isinstance(answer, BoxAnswer)
            recorded = Recorded(cut, explainer.model, answer, 90)
            dice, sums = np.random.default_rng(1), CellSums(cut.cells)
            for _ in range(masks // 50):
                visible = dice.random((50, cut.cells)) < found.sampled.share
                sums.add(visible, np.array([recorded(row) for row in visible]))
            reference = np.zeros((1, 95))
            reference[0, :4], reference[0, 4], reference[0, 5 + answer.class_id] = answer.place * 10_000, 1.0, 1.0
            with tempfile.TemporaryDirectory() as folder:
                given, out = Path(folder, "in.npz"), Path(folder, "out.npy")
                np.savez(
                    given, reference=reference, detections=np.array(recorded.detections), masks=np.array(recorded.masks)
                )
                python = ROOT / ".venv-explain" / "bin" / "python"
                subprocess.run([python, ROOT / "scripts" / "explain_referee.py", given, out], check=True)
                theirs = np.load(out)
            ours = spread(cut, sums.weighted_masks())
            print(f"referee: {name} {answer.label}: correlation {correlation(ours, theirs):.4f} on {masks} masks")


def orders() -> None:
    deletions, insertions, passed = [], [], 0
    for file, name in PICTURES:
        with opened(file) as explainer:
            found = explainer.picture(name, read_picture(str(ASSETS / "images" / name)))
            cut = found.cut
            assert isinstance(cut, PictureCells)
            columns, rows = cut.lines()
            area = np.outer(np.diff(rows), np.diff(columns)).ravel()
            area = area / area.sum()
            best = np.argsort(-(found.sampled.contributions / area), kind="stable")
            dice = np.random.default_rng(0)
            chance = [curves(cut, dice.permutation(cut.cells), area) for _ in range(5)]
            ours, theirs = curves(cut, best, area), np.mean(chance, axis=0)
        deletions.append(ours[0])
        insertions.append(ours[1])
        good = ours[0] < theirs[0] and ours[1] > theirs[1]
        passed += good
        print(
            f"orders: {name} {found.answer.label}: deletion {ours[0]:.3f} (random {theirs[0]:.3f}), insertion "
            f"{ours[1]:.3f} ({theirs[1]:.3f}){'' if good else '  <-'}"
        )
    gap = np.mean(insertions) - np.mean(deletions)
    print(f"orders: {passed} of {len(PICTURES)} beat random orders; mean insertion - deletion {gap:.3f}")


def curves(cut: PictureCells, order: NDArray[Any], area: Cells) -> tuple[float, float]:
    """Return the mean strengths of the answer, relative to the whole picture, while cells are hidden one by one and
    while they are shown."""
    whole = cut(np.ones(cut.cells, np.bool_), 0)
    means = []
    for shown in (False, True):
        visible = np.full(cut.cells, not shown)
        values = [cut(visible, 0)]
        for cell in order:
            visible[cell] = shown
            values.append(cut(visible, 0))
        steps = (np.array(values[1:]) + values[:-1]) / 2
        means.append(float(steps @ area[order]) / whole)
    return means[0], means[1]


def pointing() -> None:
    with (ASSETS / "expected" / "ground_truth_boxes.csv").open() as file:
        truths = list(csv.DictReader(file))
    for model in (SSD, YOLO):
        hits = tried = 0
        for truth in truths:
            height, width = read_picture(str(ASSETS / "images" / truth["image"])).shape[:2]
            sides = [float(truth[side]) for side in ("xmin", "ymin", "xmax", "ymax")]
            point = ((sides[0] + sides[2]) / 2 / width, (sides[1] + sides[3]) / 2 / height)
            try:
                found = explained(model, truth["image"], label=truth["label"], point=point)
            except InputError:
                continue
            tried += 1
            hot = heat(found)
            y, x = np.unravel_index(int(hot.argmax()), hot.shape)
            at = (float(x + 0.5) / RASTER * width, float(y + 0.5) / RASTER * height)
            hits += sides[0] <= at[0] <= sides[2] and sides[1] <= at[1] <= sides[3]
        print(f"pointing: {model.stem}: {hits} of {tried} detected objects ({len(truths)} labelled)")


def sanity() -> None:
    cat, dog = (explained(SSD, "cats_and_dogs.jpg", label=label) for label in ("cat", "dog"))
    print(f"sanity: cat and dog in one picture: {correlation(heat(cat), heat(dog)):.3f}")
    person, bus = (explained(SSD, "bus.jpg", label=label) for label in ("person", "bus"))
    print(f"sanity: person and bus in one picture: {correlation(heat(person), heat(bus)):.3f}")
    for name in ("cat.bmp", "fox.jpeg", "burger.jpg"):
        one = explained(CLASSES, name)
        two = explained(OTHER_CLASSES, name, label=one.answer.label)
        print(f"sanity: {name}, MobileNet v2 and v1 0.25: {correlation(heat(one), heat(two)):.3f}")
    with tempfile.TemporaryDirectory() as folder:
        for file, name in ((FACES, "astronaut.png"), (CLASSES, "cat.bmp")):
            found, shuffled = explained(file, name), shuffled_weights(file, Path(folder))
            with opened(shuffled) as explainer:
                cut = found.cut
                assert isinstance(cut, PictureCells)
                other = PictureCells(explainer.model, cut.frame, found.answer, cut.whole, cut.region)
                sampled = Sampler(other, 0, MASKS, lambda *_: None).run()
            evidence = sampled.evidence
            print(
                f"sanity: {name}, shuffled weights: {correlation(heat(found), heat(found, evidence)):.3f}, "
                f"{np.count_nonzero(evidence)} cells with evidence ({sampled.stop})"
            )


def shuffled_weights(file: Path, folder: Path) -> Path:
    """Write the model with the bytes of every large constant shuffled; return its path."""
    from ai_edge_litert import schema_py_generated as schema

    content = bytearray(file.read_bytes())
    model = schema.ModelT.InitFromPackedBuf(bytes(content), 0)
    dice = np.random.default_rng(0)
    said = {each.buffer for each in model.metadata or ()}
    for number, buffer in enumerate(model.buffers):
        if number in said:
            continue  # descriptions and labels are no weights
        data = b"" if buffer.data is None else np.asarray(buffer.data, np.uint8).tobytes()
        size = len(data) or buffer.size
        at = content.find(data) if data else buffer.offset
        if size > 256 and at > 0:
            content[at : at + size] = dice.permutation(np.frombuffer(content[at : at + size], np.uint8)).tobytes()
    path = folder / file.name
    path.write_bytes(content)
    manifest = file.parent / "manifest.yaml"
    if manifest.exists():
        lines = manifest.read_text().splitlines(keepends=True)
        path.with_suffix(".yaml").write_text("".join(line for line in lines if not line.startswith("sha256")))
    return path


def seeds() -> None:
    for file, name in PICTURES:
        one, other = (explained(file, name, seed, 20_000) for seed in (1, 2))
        print(
            f"seeds: {name} {one.answer.label}: stopped {one.sampled.stop} after {one.sampled.runs} and "
            f"{other.sampled.stop} after {other.sampled.runs}; correlation {correlation(heat(one), heat(other)):.3f}"
        )


def budget() -> None:
    for file, name in ((FACES, "astronaut.png"), (SSD, "bus.jpg")):
        picture = str(ASSETS / "images" / name)
        for masks in (MASKS, 200):
            began = time.monotonic()
            words = ["explain", str(file), picture, "--masks", str(masks), "--json"]
            seconds, memory, said = measured(words)
            found = json.loads(said)
            print(f"budget: {file.stem}, {found['masks']} masks: {seconds:.1f} s, {memory >> 10} MB", end="; ")
            print(f"stopped {found['stopped']} after {time.monotonic() - began:.1f} s")
        print(f"budget: {file.stem}, infer: {measured(['infer', str(file), picture])[1] >> 10} MB")


def measured(words: list[str]) -> tuple[float, int, str]:
    """Return the seconds, peak resident memory (KiB) and output of a command."""
    code = (
        "import resource, sys, time; began = time.monotonic(); from edge_infer.cli import main; code = main();"
        "print(time.monotonic() - began, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss, file=sys.stderr);"
        "sys.exit(code)"
    )
    done = subprocess.run([sys.executable, "-c", code, *words], capture_output=True, text=True, check=True)
    seconds, memory = done.stderr.split()[-2:]
    return float(seconds), int(memory), done.stdout


BOX: Final = """\
device: {{id: box, state_dir: state}}
mqtt: {{host: 127.0.0.1, port: 1}}
models: {{objects: {{file: {model}}}, faces: {{file: {faces}}}}}
sources:
  one: {{kind: synthetic, size: 1280x720}}
  two: {{kind: video, file: {clip}, loop: true}}
pipelines:
  objects: {{source: one, model: objects, publish: every, fps: 30}}
  faces: {{source: two, model: faces, publish: every, fps: 30}}
"""
SECONDS: Final = 20.0
TURNS: Final = 3


def box() -> None:
    """Count the frames of two pipelines of a running daemon, alternately with and without explanations."""
    clip = ROOT / "models" / "demo" / "faces.mp4"
    with tempfile.TemporaryDirectory() as folder:
        Path(folder).chmod(0o755)
        config = Path(folder, "config.yaml")
        config.write_text(BOX.format(model=SSD, faces=FACES, clip=clip))
        with subprocess.Popen(
            [sys.executable, "-m", "edge_infer", "run", "-c", config], stderr=subprocess.DEVNULL
        ) as box:
            try:
                while produced(config) < 200:
                    time.sleep(0.5)
                alone, beside, done = 0, 0, 0
                for _ in range(TURNS):
                    before = produced(config)
                    time.sleep(SECONDS)
                    middle = produced(config)
                    done += explaining(config, SECONDS)
                    alone, beside = alone + middle - before, beside + produced(config) - middle
            finally:
                box.terminate()
    print(f"box: {alone} frames alone, {beside} beside {done} explanations: {1 - beside / alone:.1%} lost")


def produced(config: Path) -> int:
    try:
        pipelines = ask(find_socket(config), {"do": "status"}).get("pipelines", {})
    except EdgeInferError:
        return 0
    return sum(each["produced"] for each in pipelines.values())


def explaining(config: Path, seconds: float) -> int:
    """Run explanations for ``seconds``; return the number of finished ones."""
    words, done = [sys.executable, "-m", "edge_infer", "explain", "--source", "two", "-c", str(config)], 0
    stop = time.monotonic() + seconds
    while (left := stop - time.monotonic()) > 0:
        with subprocess.Popen(words, stdout=subprocess.DEVNULL) as process:
            try:
                done += process.wait(left) == 0
            except subprocess.TimeoutExpired:
                process.kill()
    return done


def words() -> None:
    """Test whether the deciding word is explained first: the word whose removal lowers the score most."""
    model = ASSETS / "models" / "nl_classifier_with_regex_tokenizer.tflite"
    with tempfile.TemporaryDirectory() as folder, opened(model) as explainer:
        text = Path(folder, "sentences.txt")
        text.write_text("\n".join(SENTENCES))
        first = 0
        for found, sentence in zip(explainer.file(str(text)), SENTENCES, strict=True):
            split = sentence.split()
            without = [" ".join(split[:place] + split[place + 1 :]) for place in range(len(split))]
            scores = [score_of(explainer.model, each, found.answer.label) for each in without]
            first += split[int(np.argmin(scores))] in found.places[0][0]
    print(f"words: the deciding word is first in {first} of {len(SENTENCES)} sentences")


FIGURES: Final = {
    "planted": planted, "referee": referee, "orders": orders, "pointing": pointing, "sanity": sanity, "seeds": seeds,
    "budget": budget, "box": box, "words": words,
}  # fmt: skip


def main() -> int:
    """Print the chosen figures; return 0."""
    parser = argparse.ArgumentParser(prog="scripts/explain")
    parser.add_argument("figures", nargs="*", metavar="FIGURE", help=f"of {', '.join(FIGURES)}; default: all")
    chosen = parser.parse_args().figures or FIGURES
    if unknown := [each for each in chosen if each not in FIGURES]:
        parser.error(f"there is no figure {unknown[0]}; choose from {', '.join(FIGURES)}")
    if "EDGE_INFER_ASSETS" not in os.environ:
        parser.error("EDGE_INFER_ASSETS is not set: it names the folder of public test models and pictures")
    cv2.setNumThreads(1)
    for name in chosen:
        FIGURES[name]()
    return 0
