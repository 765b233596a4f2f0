"""Poses and segments of real models against public references, and small objects found in tiles."""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge_infer.contract.codec import replace
from edge_infer.engine.model.loaded_model import LoadedModel
from edge_infer.engine.preprocess.tiles import Look, Tiles
from edge_infer.engine.records import Boxes, Regions
from edge_infer.engine.tasks import Findings
from edge_infer.engine.tasks.detection import Detections
from edge_infer.engine.tasks.pose import Poses
from edge_infer.engine.tasks.segmentation import SegmentationFindings
from edge_infer.errors import ModelError
from edge_infer.frames.frame import Frame, Pixels
from edge_infer.frames.geometry import Region, Transform
from edge_infer.frames.picture import read_picture
from edge_infer.models.request import ModelRequest
from edge_infer.models.resolve.resolve import resolve
from edge_infer.plan.records import InputPlan, ModelPlan, PipelinePlan, Resize
from tests.engine.measures import (
    DEEPLAB,
    MOVENET,
    OVERLAPS,
    POSE_ERRORS,
    golden_classes,
    overlaps,
    pose_errors,
    voc_labels,
)

FACES = Path(__file__).parents[2] / "models" / "face-detect" / "1.0.0"


def frame(pixels: Pixels) -> Frame:
    return Frame(pixels, "bgr", 0.0, 0.0, 1)


def fed(model: ModelPlan, **changes: Any) -> ModelPlan:
    assert isinstance(model.input, InputPlan)
    return replace(model, input=replace(model.input, **changes))


def find(model: ModelPlan, pixels: Pixels, threshold: float | None = None) -> Findings:
    plan = PipelinePlan("p", "s", model, model.threshold if threshold is None else threshold)
    with LoadedModel(plan) as loaded:
        return loaded.find(frame(pixels))


@pytest.mark.parametrize(
    ("resize", "most", "mean"),
    [(None, *POSE_ERRORS), ("stretch", 0.04, 0.01), ("crop", 0.06, 0.011), ("letterbox", 0.06, 0.011)],
)
def test_movenet_agrees_with_the_reference(assets: Path, resize: Resize | None, most: float, mean: float) -> None:
    """The reference was made with plain bilinear sampling; scaled in our ways the body is in the same place, too.

    Two cells of the heatmap are 0.02 apart, and a quantized model may choose the neighbour.
    """
    model = resolve(ModelRequest("m", str(assets / "models" / MOVENET)))
    assert (model.decoder.kind, model.labels, model.threshold) == ("movenet", ("person",), 0.3)
    picture = read_picture(str(assets / "images" / "squat.bmp"))
    if resize is None:
        picture = cv2.resize(picture, (192, 192)).astype(np.uint8)
    found = find(fed(model, resize=resize or "stretch"), picture)
    assert isinstance(found, Poses)
    errors = pose_errors(assets, found)
    assert errors.max() <= most
    assert errors.mean() <= mean
    assert found.bodies[0].score > 0.5


@pytest.fixture
def deeplab(assets: Path) -> ModelPlan:
    return resolve(ModelRequest("m", str(assets / "models" / DEEPLAB), labels=voc_labels(assets)))


def test_deeplab_agrees_with_the_golden_picture(assets: Path, deeplab: ModelPlan) -> None:
    picture = read_picture(str(assets / "images" / "segmentation_input_rotation0.jpg"))
    golden = golden_classes(assets)
    with LoadedModel(PipelinePlan("p", "s", deeplab, deeplab.threshold)) as model:
        model.preprocess(frame(picture), model.interpreter.input())
        regions = model.decode(model.interpreter.invoke())
        found = model.find(frame(picture))
    assert isinstance(regions, Regions)
    assert all(share >= least for share, least in zip(overlaps(golden, regions), OVERLAPS, strict=True))
    assert isinstance(found, SegmentationFindings)
    assert [filled.label for filled in found.segments] == ["background", "person", "horse"]
    for filled in found.segments:
        assert filled.share == pytest.approx((golden == filled.class_id).mean(), abs=0.03)


def test_letterbox_bars_are_no_part_of_a_segmentation(assets: Path, deeplab: ModelPlan) -> None:
    picture = read_picture(str(assets / "images" / "segmentation_input_rotation0.jpg"))
    whole = find(fed(deeplab, resize="letterbox"), picture[40:215])
    assert isinstance(whole, SegmentationFindings)
    assert sum(filled.share for filled in whole.segments) == pytest.approx(1, abs=0.02)
    assert {"person", "horse"} <= {filled.label for filled in whole.segments}


@pytest.fixture(scope="module")
def crowd() -> tuple[Pixels, list[tuple[int, int]]]:
    """Six small faces in a large frame, and where their portraits begin."""
    portrait = cv2.resize(
        read_picture(str(FACES / "golden" / "astronaut.png")), (160, 160), interpolation=cv2.INTER_AREA
    )
    pixels = np.full((1080, 1920, 3), 110, np.uint8)
    places = [(100, 80), (880, 60), (1700, 100), (120, 900), (880, 480), (1700, 850)]
    for left, top in places:
        pixels[top : top + 160, left : left + 160] = portrait
    return pixels, places


def test_small_faces_in_a_large_frame_are_found_in_tiles_only(crowd: tuple[Pixels, list[tuple[int, int]]]) -> None:
    pixels, places = crowd
    model = resolve(ModelRequest("m", str(FACES)))
    assert find(model, pixels) == Detections((), (1920, 1080))
    found = find(fed(model, tiles=(4, 3), overlap=0.15), pixels)
    assert isinstance(found, Detections)
    assert found.source == (1920, 1080)
    assert len(found.objects) == len(places)
    for left, top in places:
        wanted = (left + 45, top + 27, left + 90, top + 72)
        assert any(item.box == pytest.approx(wanted, abs=12) for item in found.objects)


def test_walkers_of_a_real_camera_are_surer_in_tiles(assets: Path) -> None:
    clip = cv2.VideoCapture(str(assets / "video" / "vtest_first160.avi"))
    clip.set(cv2.CAP_PROP_POS_FRAMES, 100)
    pixels = clip.read()[1].astype(np.uint8)
    clip.release()
    model = resolve(ModelRequest("m", str(assets / "models" / "yolov8n_full_integer_quant_224.tflite")))
    sure = []
    for tiles in ((1, 1), (2, 2)):
        found = find(fed(model, tiles=tiles, overlap=0.2), pixels, 0.6)
        assert isinstance(found, Detections)
        sure.append([item.label for item in found.objects].count("person"))
    assert sure[0] == 0
    assert sure[1] >= 4


def test_tiles_of_a_model_that_finds_no_objects_are_refused(deeplab: ModelPlan) -> None:
    with pytest.raises(ModelError, match="tiles are for detection, and this model is for segmentation"):
        LoadedModel(PipelinePlan("p", "s", fed(deeplab, tiles=(2, 2)), 0.01)).__enter__()


@given(
    st.tuples(st.integers(1, 3000), st.integers(1, 3000)),
    st.tuples(st.integers(1, 8), st.integers(1, 8)),
    st.floats(0, 0.5),
)
def test_tiles_cover_the_frame_are_equal_and_overlap(
    size: tuple[int, int], tiles: tuple[int, int], overlap: float
) -> None:
    pixels = np.broadcast_to(np.zeros(1, np.uint8), (size[1], size[0]))
    parts = Tiles(InputPlan(tiles=tiles, overlap=overlap), 0.5)(Frame(pixels, "gray", 0.0, 0.0, 1))
    regions = [part.region for part in parts if part.region is not None]
    assert len(regions) == tiles[0] * tiles[1]
    assert len({region.size for region in regions}) == 1
    for axis in (0, 1):
        spans = sorted({((one.left, one.top)[axis], one.size[axis]) for one in regions})
        assert spans[0][0] == 0
        assert spans[-1][0] + spans[-1][1] == size[axis]
        for (start, length), (following, _) in pairwise(spans):
            assert start + length - following >= overlap * length - 2


Place = tuple[float, float, float, float]
JOINED = (100, 100)
LEFT, RIGHT = Region(0, 0, 60, 100), Region(40, 0, 60, 100)


def look(region: Region, *objects: tuple[Place, float, int]) -> Look:
    """What was found in a tile; boxes are in pixels of the frame."""
    transform = Transform.fit(JOINED, (64, 64), "stretch", region)
    boxes = transform.to_input([box for box, _, _ in objects]).astype(np.float32)
    return Boxes(
        boxes,
        np.array([score for _, score, _ in objects], np.float32),
        np.array([kind for *_, kind in objects], np.int32),
    ), transform


@pytest.fixture
def joined() -> Callable[..., list[list[int]]]:
    """The boxes that remain of two tiles, in pixels."""

    def join(left: Look, right: Look) -> list[list[int]]:
        found, transform = Tiles(InputPlan(tiles=(2, 1), overlap=0.33), 0.5).joined([left, right])
        assert not found.merged
        assert transform.source == JOINED
        return sorted(np.rint(transform.to_source(found.boxes)).astype(int).tolist())

    return join


def test_a_part_that_its_tile_cut_goes_if_another_shows_the_whole(joined: Callable[..., list[list[int]]]) -> None:
    whole, part, elsewhere = (45.0, 10.0, 80.0, 50.0), (45.0, 12.0, 60.0, 48.0), (10.0, 60.0, 30.0, 90.0)
    left, right = look(LEFT, (part, 0.9, 0), (elsewhere, 0.7, 0)), look(RIGHT, (whole, 0.6, 0))
    assert joined(left, right) == [[10, 60, 30, 90], [45, 10, 80, 50]]


@pytest.mark.parametrize(
    ("part", "whole", "reason"),
    [
        (((45.0, 12.0, 60.0, 48.0), 0.9, 1), ((45.0, 10.0, 80.0, 50.0), 0.6, 0), "another class"),
        (((45.0, 12.0, 57.0, 48.0), 0.9, 0), ((45.0, 10.0, 80.0, 50.0), 0.6, 0), "not at the edge of its tile"),
        (((20.0, 12.0, 60.0, 48.0), 0.9, 0), ((45.0, 10.0, 80.0, 50.0), 0.6, 0), "most of it is elsewhere"),
    ],
)
def test_two_objects_stay_two(
    part: tuple[Place, float, int], whole: tuple[Place, float, int], reason: str, joined: Callable[..., list[list[int]]]
) -> None:
    assert len(joined(look(LEFT, part), look(RIGHT, whole))) == 2, reason


def test_what_is_below_the_threshold_hides_nothing(joined: Callable[..., list[list[int]]]) -> None:
    part, whole = ((45.0, 12.0, 60.0, 48.0), 0.9, 0), ((45.0, 10.0, 80.0, 50.0), 0.4, 0)
    assert joined(look(LEFT, part), look(RIGHT, whole)) == [[45, 12, 60, 48]]


def test_empty_tiles_and_shares(joined: Callable[..., list[list[int]]]) -> None:
    assert joined(look(LEFT), look(RIGHT)) == []
    left, right = look(LEFT, ((1.0, 1.0, 9.0, 9.0), 0.6, 0)), look(RIGHT, ((70.0, 1.0, 90.0, 9.0), 0.9, 0))
    shared = [
        (replace(boxes, shares=np.array([share], np.float32), nonfinite=2), place)
        for (boxes, place), share in ((left, 0.25), (right, 0.75))
    ]
    found, _ = Tiles(InputPlan(tiles=(2, 1)), 0.5).joined(shared)
    assert found.shares is not None
    assert found.shares.tolist() == [0.75, 0.25]
    assert found.nonfinite == 4
