"""Encoded boxes without anchors: against the published formulas as loops, and against a real file.

The public COCO SSD holds its anchors for a post-process inside; cut off before it, it is such a file.
"""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import flatbuffers
import numpy as np
import pytest
from ai_edge_litert import schema_py_generated as schema
from hypothesis import given
from numpy.typing import NDArray

from edge_infer.contract.codec import JsonValue
from edge_infer.engine.decoders import Layout
from edge_infer.engine.decoders.ssd import Ssd
from edge_infer.engine.decoders.ssd_anchors import made_anchors, read_anchors
from edge_infer.engine.interpreter import Tensor
from edge_infer.engine.model.loaded_model import LoadedModel
from edge_infer.engine.tasks.detection import Detections
from edge_infer.errors import ModelError
from edge_infer.frames.frame import Frame
from edge_infer.frames.picture import read_picture
from edge_infer.models.request import ModelRequest
from edge_infer.models.resolve.resolve import resolve
from edge_infer.models.trials.probe import probe
from edge_infer.plan.records import PipelinePlan
from tests.engine.decoders.sound import Plain, check_same, check_sound, floats, picture, quantize

COCO = "coco_ssd_mobilenet_v1_1.0_quant_2018_06_29.tflite"
WIDTH, HEIGHT, CLASSES = 96, 64, 3
SAID: dict[str, JsonValue] = {"layers": 3, "min_scale": 0.3, "max_scale": 0.9, "aspect_ratios": [1, 2, 0.5]}
GRIDS = ((4, 6), (2, 3), (1, 2))  # 64 x 96 by 16, halved and rounded up
ANCHORS = 3 * 24 + 4 * (6 + 2)


def published_anchors() -> list[tuple[float, float, float, float]]:
    """Centre y, x, height, width, as ``create_ssd_anchors`` and ``tile_anchors`` make them."""
    scales = [0.3 + (0.9 - 0.3) * layer / 2 for layer in range(3)] + [1.0]
    found = []
    for layer, (rows, columns) in enumerate(GRIDS):
        specs = [(scales[layer], aspect) for aspect in (1.0, 2.0, 0.5)]
        specs.append((math.sqrt(scales[layer] * scales[layer + 1]), 1.0))
        if layer == 0:
            specs = [(0.1, 1.0), (scales[0], 2.0), (scales[0], 0.5)]
        for row in range(rows):
            for column in range(columns):
                for scale, aspect in specs:
                    height, width = scale / math.sqrt(aspect), scale * math.sqrt(aspect) * HEIGHT / WIDTH
                    found.append(((row + 0.5) / rows, (column + 0.5) / columns, height, width))
    return found


def published(boxes: NDArray[Any], scores: NDArray[Any], coding: tuple[float, ...] = (10, 10, 5, 5)) -> Plain:
    """``FasterRcnnBoxCoder`` with its usual scale factors."""
    found = []
    for (cy, cx, ah, aw), move, row in zip(published_anchors(), boxes, scores, strict=True):
        best = max(range(CLASSES), key=row[1:].tolist().__getitem__)
        ty, tx, th, tw = (float(value) / by for value, by in zip(move, coding, strict=True))
        if row[1 + best] < 0.5:
            continue
        y, x, h, w = ty * ah + cy, tx * aw + cx, math.exp(th) * ah, math.exp(tw) * aw
        found.append((best, float(row[1 + best]), (x - w / 2, y - h / 2, x + w / 2, y + h / 2)))
    return found


def layout(**options: JsonValue) -> Layout:
    outputs = (Tensor("a", 0, (1, ANCHORS, 4), "float32"), Tensor("b", 1, (1, ANCHORS, 1 + CLASSES), "float32"))
    return Layout((picture(WIDTH, HEIGHT),), outputs, CLASSES, 0.5, {"scores": "b", "anchors": SAID, **options})


def random_parts(seed: int) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    random = np.random.default_rng(seed)
    boxes = random.normal(0, 3, (1, ANCHORS, 4)).astype(np.float32)
    return boxes, random.random((1, ANCHORS, 1 + CLASSES)).astype(np.float32)


@pytest.mark.parametrize("seed", range(3))
def test_as_published(seed: int) -> None:
    boxes, scores = random_parts(seed)
    wanted = published(boxes[0], scores[0])
    assert len(wanted) > 50
    decode = Ssd(layout())
    assert decode.classes == CLASSES
    check_same(decode([boxes, scores]), wanted)
    check_same(Ssd(layout(coding=[5, 5, 2, 2.5]))([boxes, scores]), published(boxes[0], scores[0], (5, 5, 2, 2.5)))


def test_logits_and_quantized() -> None:
    boxes, scores = random_parts(7)
    logits = np.log(scores / (1 - scores))
    check_same(Ssd(layout())([boxes, logits]), published(boxes[0], scores[0]))
    one = Tensor("raw_outputs/box_encodings", 0, (1, ANCHORS, 4), "uint8", (0.08,), (120,))
    two = Tensor("raw_outputs/class_predictions", 1, (1, ANCHORS, 1 + CLASSES), "uint8", (1 / 256,), (0,))
    raw = quantize(boxes.astype(np.float64), one), quantize(scores.astype(np.float64), two)
    real = (raw[0].astype(np.float64) - 120) * 0.08, raw[1].astype(np.float64) / 256
    decode = Ssd(Layout((picture(WIDTH, HEIGHT),), (one, two), CLASSES, 0.5, {"anchors": SAID}))
    check_same(decode(raw), published(real[0][0], real[1][0]))


def test_anchors_from_a_file_in_both_forms(tmp_path: Path) -> None:
    boxes, scores = random_parts(8)
    wanted = published(boxes[0], scores[0])
    rows = published_anchors()
    (tmp_path / "rows.csv").write_text("\n".join(", ".join(f"{value:.9g}" for value in row) for row in rows) + "\n")
    columns = np.array(rows).T
    (tmp_path / "priors.txt").write_text("\n".join(" ".join(f"{value:.9g}" for value in row) for row in columns))
    for name in ("rows.csv", "priors.txt"):
        path = str(tmp_path / name)
        check_same(Ssd(layout(anchors=None, anchors_file=path))([boxes, scores]), wanted)


def multiscale(width: int, height: int) -> NDArray[np.float64]:
    """``MultiscaleGridAnchorGenerator`` for levels 3 to 5, two scales an octave, normalized; y, x, height, width."""
    found = []
    for level in range(3, 6):
        stride = 2**level
        rows, columns = math.ceil(height / stride), math.ceil(width / stride)
        offsets = [stride / 2 if side % stride == 0 else 0.0 for side in (height, width)]
        for row in range(rows):
            for column in range(columns):
                for aspect in (1.0, 2.0, 0.5):
                    for scale in (1.0, math.sqrt(2)):
                        size = 4.0 * stride * scale
                        tall, wide = size / math.sqrt(aspect), size * math.sqrt(aspect)
                        y, x = row * stride + offsets[0], column * stride + offsets[1]
                        found.append((y / height, x / width, tall / height, wide / width))
    return np.array(found)


@pytest.mark.parametrize("size", [(96, 64), (72, 40), (320, 320)])
def test_anchors_of_a_feature_pyramid_as_published(size: tuple[int, int]) -> None:
    made = made_anchors({"levels": [3, 5], "anchor_scale": 4}, size)
    np.testing.assert_allclose(made[[1, 0, 3, 2]].T, multiscale(*size), rtol=1e-5, atol=1e-6)


def test_the_counts_of_known_models() -> None:
    usual: JsonValue = {"layers": 6, "min_scale": 0.2, "max_scale": 0.95}
    assert made_anchors(usual, (300, 300)).shape == (4, 1917)
    assert made_anchors(usual, (320, 320)).shape == (4, 2034)
    assert made_anchors({"levels": [3, 7], "anchor_scale": 4}, (640, 640)).shape == (4, 51150)


@pytest.fixture(scope="module")
def cut(assets: Path) -> tuple[bytes, NDArray[np.float32]]:
    """The public file without its post-process, and the anchors that it held, y, x, height, width."""
    data = (assets / "models" / COCO).read_bytes()
    model = schema.ModelT.InitFromObj(schema.Model.GetRootAs(data, 0))
    graph = model.subgraphs[0]
    boxes, scores, anchors = graph.operators.pop().inputs
    graph.tensors[boxes].name, graph.tensors[scores].name = (
        "raw_outputs/box_encodings",
        "raw_outputs/class_predictions",
    )
    graph.outputs, model.signatureDefs, model.metadata = [boxes, scores], [], []
    held = graph.tensors[anchors]
    stored = np.frombuffer(bytes(model.buffers[held.buffer].data), np.uint8).reshape(-1, 4).astype(np.float32)
    builder = flatbuffers.Builder(len(data))
    builder.Finish(model.Pack(builder), b"TFL3")
    real = (stored - held.quantization.zeroPoint[0]) * held.quantization.scale[0]
    return bytes(builder.Output()), real.astype(np.float32)


def test_the_usual_anchors_are_those_that_a_public_file_holds(cut: tuple[bytes, NDArray[np.float32]]) -> None:
    made = made_anchors({"layers": 6, "min_scale": 0.2, "max_scale": 0.95}, (300, 300))
    step = 0.00645306
    assert np.abs(made[[1, 0, 3, 2]].T - cut[1]).max() <= 0.5001 * step  # it holds them quantized


@pytest.mark.parametrize("name", ["bus.jpg", "cats_and_dogs.jpg", "zidane.jpg"])
def test_a_public_file_without_its_post_process_finds_the_same(
    assets: Path, tmp_path: Path, cut: tuple[bytes, NDArray[np.float32]], name: str
) -> None:
    path = tmp_path / "raw.tflite"
    path.write_bytes(cut[0])
    (tmp_path / "priors.txt").write_text("\n".join(" ".join(map(str, row)) for row in cut[1].T.tolist()))
    whole = objects(resolve(ModelRequest("whole", str(assets / "models" / COCO))), assets / "images" / name)
    assert whole
    labels = "labels: [" + ", ".join(f"'{number}'" for number in range(90)) + "]\n"
    for anchors in ("anchors_file: priors.txt", "anchors: {layers: 6, min_scale: 0.2, max_scale: 0.95}"):
        path.with_suffix(".yaml").write_text(f"decoder: {{kind: ssd, {anchors}}}\nnms: {{iou: 0.6}}\n{labels}")
        raw = objects(probe(ModelRequest("raw", str(path)), tmp_path / "blobs"), assets / "images" / name)
        assert len(raw) == len(whole)
        for (score, box), (other, wanted) in zip(raw, whole, strict=True):
            assert score == pytest.approx(other, abs=0.01)
            assert np.abs(np.array(box) - wanted).max() < 8  # of 500 and more pixels: anchors of whole steps


def objects(plan: Any, path: Path) -> list[tuple[float, Any]]:
    """Scores and boxes of what is found, by box."""
    with LoadedModel(PipelinePlan("p", "s", plan, 0.5)) as model:
        found = model.find(Frame(read_picture(str(path)), "bgr", 0.0, 0.0, 1))
    assert isinstance(found, Detections)
    return sorted(((each.score, each.box) for each in found.objects), key=lambda each: each[1][0])


def test_recognised_by_name_and_told_what_is_missing() -> None:
    names = ("raw_outputs/box_encodings", "raw_outputs/class_predictions")
    outputs = (Tensor(names[0], 0, (1, ANCHORS, 4), "float32"), Tensor(names[1], 1, (1, ANCHORS, 4), "float32"))
    assert Ssd.recognise((picture(WIDTH, HEIGHT),), outputs)
    assert Ssd.recognise((picture(WIDTH, HEIGHT),), layout().outputs) is None
    with pytest.raises(
        ModelError, match=r"decoder: \{kind: ssd, anchors: \{layers: 6, .* or name a file with a list of them"
    ):
        Ssd(Layout((picture(WIDTH, HEIGHT),), outputs, 3, 0.5))
    assert Ssd(Layout((picture(WIDTH, HEIGHT),), outputs, 3, 0.5, {"anchors": SAID})).classes == 3


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"anchors": {"layers": 6}}, rf"it encodes {ANCHORS} boxes, .* `decoder: anchors` in the manifest gives \d+"),
        ({"anchors": {"layer": 6}}, "the unknown parameter 'layer'; known with layers: aspect_ratios, interpolated"),
        (
            {"anchors": {"levels": [3, 7], "layers": 6}},
            "the unknown parameter 'layers'; known with levels: anchor_scale",
        ),
        ({"anchors": {"levels": [7, 3]}}, r"expected the first and the last of 1 to 12, such as \[3, 7\]"),
        ({"anchors": {"layers": 3, "scales": [0.1]}}, "a number for each of 3 layers"),
        ({"anchors": {"min_scale": "small"}}, "anchors: min_scale` is 'small'; expected a number from 0 to 10"),
        ({"anchors": {"aspect_ratios": 2}}, "expected a list of numbers"),
        ({"anchors": {"reduce_lowest": 1}}, "expected true or false"),
        ({"anchors": "many"}, r"expected \{layers: 6"),
        ({"anchors_file": "x"}, "one of the two keys"),
        ({"coding": [10, 10]}, "the four divisors of y, x, height and width"),
        ({"scores": "a"}, "expected b, the only one of its shape"),
    ],
)
def test_wrong_manifests_are_told_what_is_right(options: dict[str, JsonValue], words: str) -> None:
    said = {"width": 5, **options}
    said.pop("width")
    outputs = (Tensor("a", 0, (1, ANCHORS, 4), "float32"), Tensor("b", 1, (1, ANCHORS, 5), "float32"))
    with pytest.raises(ModelError, match=words):
        Ssd(Layout((picture(WIDTH, HEIGHT),), outputs, 4, 0.5, {"anchors": SAID, **said}))


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "expected lines `y x height width`"),
        ("0.1 0.2 0.3\n0.1 0.2 0.3\n", "expected lines `y x height width`"),
        ("0.1 0.2 0.3 0.4\n0.1 0.2\n", "not a table of numbers"),
        ("0.1 0.2 0.3 nan\n", "expected lines"),
        ("0.1 0.2 0.3 0\n", "an anchor has no height or no width"),
        ("0.1 0.2 0.3 wide\n", "not a table of numbers"),
    ],
)
def test_files_that_are_no_anchors(tmp_path: Path, text: str, words: str) -> None:
    (tmp_path / "anchors.txt").write_text(text)
    with pytest.raises(ModelError, match=words):
        read_anchors(str(tmp_path / "anchors.txt"))
    with pytest.raises(ModelError, match=r"gone\.txt cannot be read: No such file"):
        read_anchors(str(tmp_path / "gone.txt"))


def test_what_is_not_finite_is_counted_and_left_out() -> None:
    boxes, scores = np.zeros((1, ANCHORS, 4), np.float32), np.zeros((1, ANCHORS, 1 + CLASSES), np.float32)
    scores[0, 3, 1], scores[0, 5, 2], boxes[0, 5, 2] = np.nan, 0.75, 1e6
    found = Ssd(layout(activation="none"))([boxes, scores])
    assert (len(found.scores), found.nonfinite) == (0, 2)


@given(floats(1, ANCHORS, 4), floats(1, ANCHORS, 1 + CLASSES))
def test_anything_gives_sound_boxes(boxes: NDArray[np.float32], scores: NDArray[np.float32]) -> None:
    check_sound(Ssd(layout())([boxes, scores]), CLASSES)
