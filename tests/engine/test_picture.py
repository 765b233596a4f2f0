from __future__ import annotations

import os
import struct
import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest

from edge_infer.errors import InputError
from edge_infer.frames.picture import LARGEST, decode_picture, read_picture


def bitmap(rows: list[list[int]], masks: tuple[int, int, int], *, upside_down: bool = True) -> bytes:
    """A BMP of 16 bits a pixel with colour masks in a header of 56 bytes, as OpenCV does not read it."""
    width, height = len(rows[0]), len(rows)
    ordered = rows[::-1] if upside_down else rows
    lines = [struct.pack(f"<{width}H", *row) + b"\0" * (width * 2 % 4) for row in ordered]
    body = b"".join(lines)
    header = struct.pack("<2sIII", b"BM", 70 + len(body), 0, 70)
    info = struct.pack("<IiiHHIIiiII", 56, width, height if upside_down else -height, 1, 16, 3, len(body), 0, 0, 0, 0)
    return header + info + struct.pack("<4I", *masks, 0) + body


RGB565 = (0xF800, 0x07E0, 0x001F)
RGB555 = (0x7C00, 0x03E0, 0x001F)


@pytest.mark.parametrize("upside_down", [True, False])
def test_bitmaps_of_16_bits(upside_down: bool) -> None:
    data = bitmap([[0xF800, 0x07E0, 0x001F], [0xFFFF, 0x0000, 0x8410]], RGB565, upside_down=upside_down)
    pixels = decode_picture(data)
    assert pixels is not None
    assert pixels.tolist() == [[[0, 0, 255], [0, 255, 0], [255, 0, 0]], [[255] * 3, [0] * 3, [131, 129, 131]]]


def test_other_masks_and_damage() -> None:
    red = decode_picture(bitmap([[0x7C00, 0x7C00]], RGB555))
    assert red is not None
    assert red[0, 0].tolist() == [0, 0, 255]
    whole = bitmap([[0xF800] * 8] * 8, RGB565)
    assert decode_picture(whole[:-1]) is None
    assert decode_picture(whole[:60]) is None
    assert decode_picture(whole.replace(struct.pack("<I", 0xF800), struct.pack("<I", 0), 1)) is None


def test_real_bitmap_of_a_microcontroller(assets: Path) -> None:
    pixels = read_picture(str(assets / "images" / "openmv_faces.bmp"))
    assert pixels.shape == (272, 400, 3)
    assert 60 < pixels.mean() < 160


def test_gray_and_transparent_pictures_become_three_colours(tmp_path: Path) -> None:
    for name, picture in (("gray.png", np.full((4, 6), 9, np.uint8)), ("clear.png", np.full((4, 6, 4), 9, np.uint8))):
        cv2.imwrite(str(tmp_path / name), picture)
        assert read_picture(str(tmp_path / name)).shape == (4, 6, 3)


def test_each_fault_is_told_with_its_path(tmp_path: Path) -> None:
    (tmp_path / "text.jpg").write_text("this is no picture")
    (tmp_path / "empty.jpg").touch()
    cut = cv2.imencode(".png", np.random.default_rng(0).integers(0, 256, (64, 64, 3), np.uint8))[1].tobytes()
    (tmp_path / "cut.png").write_bytes(cut[:40])
    with (tmp_path / "huge.jpg").open("wb") as file:
        file.truncate(LARGEST + 1)
    for name, words in {
        "text.jpg": "not a readable picture",
        "empty.jpg": "the file is empty",
        "cut.png": "not a readable picture",
        "huge.jpg": "larger than 64 MB",
        "gone.jpg": "No such file",
        ".": "this is a folder",
    }.items():
        with pytest.raises(InputError) as caught:
            read_picture(str(tmp_path / name))
        assert str(caught.value).startswith(str(tmp_path / name))
        assert words in str(caught.value)


def test_a_pipe_that_nobody_writes_into_is_no_wait(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "door.png")
    with pytest.raises(InputError, match="is a pipe"):
        read_picture(str(tmp_path / "door.png"))


def test_libraries_print_nothing_about_a_damaged_picture(tmp_path: Path) -> None:
    """They would in each round of a folder that is shown again and again."""
    noise = np.random.default_rng(0).integers(0, 256, (64, 64, 3), np.uint8)
    for ending in (".png", ".jpg", ".tiff", ".webp"):
        whole = cv2.imencode(ending, noise)[1].tobytes()
        for cut in (40, len(whole) // 2):
            (tmp_path / f"{cut}{ending}").write_bytes(whole[:cut])
    code = "import sys; from edge_infer.frames.picture import decode_picture; from pathlib import Path\n"
    code += "for path in Path(sys.argv[1]).iterdir(): decode_picture(path.read_bytes())"
    done = subprocess.run([sys.executable, "-c", code, tmp_path], capture_output=True, text=True, check=True)
    assert (done.stdout, done.stderr) == ("", "")
