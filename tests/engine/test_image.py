from __future__ import annotations

from typing import Any

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from edge_infer.contract.codec import replace
from edge_infer.engine.interpreter import Tensor
from edge_infer.engine.preprocess.encoding import encoding
from edge_infer.engine.preprocess.image import ImagePreprocess
from edge_infer.engine.preprocess.scale import scaler
from edge_infer.engine.preprocess.shape import channels_first, image_shape
from edge_infer.errors import ModelError
from edge_infer.frames.frame import Frame, Pixels
from edge_infer.frames.geometry import Region
from edge_infer.plan.records import Color, InputPlan, Resize, Scaling

QUANTIZATIONS: dict[str, tuple[str, float, int]] = {
    "bytes": ("uint8", 1 / 255, 0),
    "minus 128": ("int8", 1 / 255, -128),
    "table int8": ("int8", 0.02, 5),
    "table uint8": ("uint8", 0.02, 5),
    "int16": ("int16", 1 / 32768, 0),
    "int32": ("int32", 0.0, 0),
    "float32": ("float32", 0.0, 0),
    "float16": ("float16", 0.0, 0),
}


def tensor(quantization: str, size: tuple[int, int] = (32, 24), channels: int = 3) -> Tensor:
    dtype, scale, zero = QUANTIZATIONS[quantization]
    shape = (1, size[1], size[0], channels)
    return Tensor("input", 0, shape, dtype, (scale,) if scale else (), (zero,) if scale else ())


def frame(pixels: Pixels, color: Color = "rgb") -> Frame:
    return Frame(pixels, color, 0.0, 0.0, 1)


def random_picture(width: int, height: int, channels: int = 3) -> Pixels:
    shape = (height, width, channels) if channels > 1 else (height, width)
    return np.random.default_rng(5).integers(0, 256, shape, np.uint8)


@pytest.mark.parametrize("quantization", QUANTIZATIONS)
@pytest.mark.parametrize("per_channel", [False, True])
@pytest.mark.parametrize("resize", ["stretch", "letterbox"])
def test_every_type_gets_the_stored_value_of_its_brightness(
    quantization: str, per_channel: bool, resize: Resize
) -> None:
    """A frame of the input's own size needs no scaling, so each value is known exactly."""
    found = tensor(quantization)
    mean = (100.0, 110.0, 120.0) if per_channel else (100.0,)
    plan = InputPlan("rgb", resize, mean, (2.0,)) if per_channel or "bytes" not in quantization else InputPlan()
    picture = random_picture(32, 24)
    into = np.zeros(found.shape, found.dtype)
    transform = ImagePreprocess(plan, found)(frame(picture), into)
    table = encoding(plan, found, 3)
    wanted = np.stack([table[picture[..., channel], channel] for channel in range(3)], axis=2)
    assert (into[0] == wanted).all()
    assert (transform.width, transform.height) == (32, 24)


@pytest.mark.parametrize("quantization", QUANTIZATIONS)
def test_letterbox_bars_are_filled_around_the_picture_each_time(quantization: str) -> None:
    found = tensor(quantization, (40, 40))
    plan = InputPlan("rgb", "letterbox", (10.0,), (3.0,), border=114)
    into = np.zeros(found.shape, found.dtype)
    preprocess = ImagePreprocess(plan, found)
    table = encoding(plan, found, 3)[:, 0]
    for picture in (np.full((20, 40, 3), 200, np.uint8), np.full((80, 40, 3), 30, np.uint8)):
        into[:] = 77
        fit = preprocess(frame(picture), into)
        bars = np.ones((40, 40), bool)
        bars[fit.top : fit.top + fit.height, fit.left : fit.left + fit.width] = False
        assert bars.sum() == 800
        assert (into[0][bars] == table[114]).all()
        assert (into[0][~bars] == table[picture[0, 0, 0]]).all()


@pytest.mark.parametrize("from_color", ["rgb", "bgr", "gray"])
@pytest.mark.parametrize("to_color", ["rgb", "bgr", "gray"])
def test_colour_order_is_that_of_the_model(from_color: Color, to_color: Color) -> None:
    found = tensor("minus 128", channels=1 if to_color == "gray" else 3)
    red = np.zeros((24, 32, 3), np.uint8)
    red[..., 0] = 250
    sent = {"rgb": red, "bgr": red[..., ::-1].copy(), "gray": np.full((24, 32), 75, np.uint8)}[from_color]
    into = np.zeros(found.shape, np.int8)
    ImagePreprocess(InputPlan(to_color), found)(frame(sent, from_color), into)
    seen = (into[0, 5, 5].astype(int) + 128).tolist()
    if from_color == "gray":
        assert seen == [75] * len(seen)
    else:
        assert seen == {"rgb": [250, 0, 0], "bgr": [0, 0, 250], "gray": [75]}[to_color]


def test_camera_that_changes_its_size_and_colour_is_followed() -> None:
    found = tensor("bytes", (16, 16))
    preprocess = ImagePreprocess(InputPlan(), found)
    into = np.zeros(found.shape, np.uint8)
    for width, height, color, channels in (
        (64, 48, "bgr", 3),
        (48, 64, "bgr", 3),
        (48, 64, "gray", 1),
        (8, 8, "rgb", 3),
    ):
        picture = np.full((height, width, channels) if channels == 3 else (height, width), 90, np.uint8)
        transform = preprocess(frame(picture, color), into)
        assert transform.source == (width, height)
        assert (into == 90).all()


def test_frame_is_left_as_it_is_and_may_be_a_view() -> None:
    found = tensor("minus 128", (16, 16))
    into = np.zeros(found.shape, np.int8)
    picture = random_picture(16, 16)
    kept = picture.copy()
    preprocess = ImagePreprocess(InputPlan(), found)
    preprocess(frame(picture), into)
    assert (picture == kept).all()
    preprocess(frame(random_picture(64, 64)[::2, 8:40]), into)
    preprocess(frame(np.flip(picture, axis=1)), into)
    assert (into[0].astype(int) + 128 == kept[:, ::-1]).all()


@pytest.mark.parametrize(
    ("shape", "words"),
    [
        ((1, 640), "a picture needs [1, height, width, 1 or 3]"),
        ((1, 1, 1, 3), "left height and width open"),
        ((3, 224, 224), "a picture needs"),
        ((4, 224, 224, 3), "takes 4 pictures at once"),
        ((1, 24, 3, 1), None),
        ((1, 10, 10, 4), "a picture needs"),
    ],
)
def test_only_images_are_taken(shape: tuple[int, ...], words: str | None) -> None:
    found = Tensor("input", 0, shape, "uint8")
    if words is None:
        assert image_shape(found) == shape[1:]
        assert not channels_first(found)
        return
    with pytest.raises(ModelError) as caught:
        ImagePreprocess(InputPlan(), found)
    assert words in str(caught.value)


def test_channels_first_hold_the_same_picture() -> None:
    for quantization in QUANTIZATIONS:
        for channels in (1, 3):
            last = tensor(quantization, (40, 24), channels)
            first = replace(last, shape=(1, channels, 24, 40))
            assert channels_first(first)
            assert image_shape(first) == (24, 40, channels)
            plan = InputPlan("rgb", "letterbox", (100.0,), (2.0,), border=7)
            wanted, into = np.zeros(last.shape, last.dtype), np.zeros(first.shape, first.dtype)
            picture = frame(random_picture(90, 200))
            assert ImagePreprocess(plan, last)(picture, wanted) == ImagePreprocess(plan, first)(picture, into)
            assert (into[0].transpose(1, 2, 0) == wanted[0]).all()


def test_crop_shows_what_is_around_the_middle() -> None:
    found = tensor("bytes", (20, 20))
    picture = np.zeros((100, 300, 3), np.uint8)
    picture[:, 100:200] = 90
    into = np.zeros(found.shape, np.uint8)
    transform = ImagePreprocess(InputPlan(resize="crop"), found)(frame(picture), into)
    assert (into == 90).all()
    assert transform.region == Region(100, 0, 100, 100)


def test_a_region_is_all_that_goes_in() -> None:
    found = tensor("bytes", (20, 10))
    picture = np.zeros((100, 300, 3), np.uint8)
    picture[40:60, 30:50], picture[70:90, 200:220] = 90, 180
    preprocess, into = ImagePreprocess(InputPlan(resize="letterbox", border=7), found), np.zeros(found.shape, np.uint8)
    for region, brightness in ((Region(30, 40, 20, 20), 90), (Region(200, 70, 20, 20), 180)):
        transform = preprocess(replace(frame(picture), region=region), into)
        assert (into[0, :, 5:15] == brightness).all()
        assert (into[0, :, :5] == 7).all()
        assert transform.to_source([[0.25, 0.0, 0.75, 1.0]]).tolist() == [
            [region.left, region.top, region.left + 20, region.top + 20]
        ]


def test_gray_of_a_colour_model_is_refused() -> None:
    with pytest.raises(ModelError, match="expected rgb or bgr"):
        ImagePreprocess(InputPlan("gray"), tensor("bytes"))


def triangle(pixels: Pixels, width: int, height: int) -> NDArray[Any]:
    """The antialiased bilinear filter itself, slowly: the reference that the quick one has to come close to."""

    def weights(source: int, target: int) -> NDArray[Any]:
        ratio = max(source / target, 1.0)
        centers = (np.arange(target) + 0.5) * source / target
        distance = np.abs(np.arange(source) + 0.5 - centers[:, np.newaxis]) / ratio
        found = np.clip(1.0 - distance, 0.0, None)
        return found / found.sum(axis=1, keepdims=True)

    tall = np.tensordot(weights(pixels.shape[0], height), pixels.astype(np.float64), (1, 0))
    return np.moveaxis(np.tensordot(weights(pixels.shape[1], width), tall, (1, 1)), 0, 1)


@pytest.mark.long
@pytest.mark.parametrize("size", [(640, 480), (1280, 720), (300, 900), (160, 120), (100, 90), (64, 48), (2600, 2600)])
def test_scaling_is_close_to_the_antialiased_filter(size: tuple[int, int]) -> None:
    """Noise with detail at every scale; plain sampling is several times as far off on large frames."""
    random = np.random.default_rng(1)
    picture = np.zeros((size[1], size[0], 3), np.float64)
    for scale in (1, 2, 4, 8, 16):
        coarse = random.uniform(0, 50, (size[1] // scale + 1, size[0] // scale + 1, 3))
        picture += cv2.resize(coarse, size, interpolation=cv2.INTER_NEAREST)
    pixels = picture.astype(np.uint8)
    into = np.empty((96, 96, 3), np.uint8)
    scaler("fast", size, (96, 96), 3)(pixels, into)
    wanted = triangle(pixels, 96, 96)
    error = np.sqrt(np.square(into - wanted).mean())
    plain = np.sqrt(np.square(cv2.resize(pixels, (96, 96)) - wanted).mean())
    assert error < 6
    assert error <= plain + 0.5


@pytest.mark.parametrize("quantization", QUANTIZATIONS)
@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("color", ["bgr", "gray"])
@pytest.mark.parametrize("scaling", ["exact", "fast"])
def test_scaled_into_a_part_of_the_tensor_every_type_holds_the_same_picture(
    quantization: str, channels: int, color: Color, scaling: Scaling
) -> None:
    """Places that are no whole rows of the tensor, where OpenCV could silently write elsewhere."""
    picture = frame(random_picture(90, 200, 1 if color == "gray" else 3), color)
    size = (40, 40)
    plain = np.zeros((1, 40, 40, channels), np.uint8)
    bytes_plan = InputPlan("rgb", "letterbox", border=7, scaling=scaling)
    fit = ImagePreprocess(bytes_plan, tensor("bytes", size, channels))(picture, plain)
    assert (fit.left, fit.width) == (11, 18)
    found = tensor(quantization, size, channels)
    plan = replace(bytes_plan, mean=tuple(range(90, 90 + channels)), std=(3.0,))
    into = np.zeros(found.shape, found.dtype)
    ImagePreprocess(plan, found)(picture, into)
    table = encoding(plan, found, channels)
    for channel in range(channels):
        assert (into[0, ..., channel] == table[plain[0, ..., channel], channel]).all()
    assert plain[0, :, 11:29].std() > 5
