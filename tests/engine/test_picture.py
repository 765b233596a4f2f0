from __future__ import annotations

import json
import os
import struct
import subprocess
import sys
import zlib
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


def chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def animated(rows: int, *, channels: int = 3, first: bool = True, level: int = 50) -> bytes:
    """A PNG of 30x20 pixels with a second frame, and with so many rows of the image that other programs show.

    Without ``first``, this image is no frame of the animation.
    """

    def lines(count: int, value: int) -> bytes:
        return zlib.compress((b"\0" + bytes([value]) * 30 * channels) * count)

    def control(number: int) -> bytes:
        return chunk(b"fcTL", struct.pack(">IIIIIHHBB", number, 30, 20, 0, 0, 1, 10, 0, 0))

    color = {3: 2, 4: 6}[channels]
    header = chunk(b"IHDR", struct.pack(">IIBBBBB", 30, 20, 8, color, 0, 0, 0))
    begin = chunk(b"acTL", struct.pack(">II", 2 if first else 1, 0)) + (control(0) if first else b"")
    later = control(int(first)) + chunk(b"fdAT", struct.pack(">I", int(first) + 1) + lines(20, 90))
    image = chunk(b"IDAT", lines(rows, level))
    return b"\x89PNG\r\n\x1a\n" + header + begin + image + later + chunk(b"IEND", b"")


@pytest.mark.parametrize("channels", [3, 4])
@pytest.mark.parametrize("first", [True, False])
def test_an_animated_png_is_its_image(channels: int, *, first: bool) -> None:
    pixels = decode_picture(animated(20, channels=channels, first=first))
    assert pixels is not None
    assert pixels.shape == (20, 30, 3)
    assert np.unique(pixels).tolist() == [50]


def test_no_picture_contains_memory_that_nobody_wrote(tmp_path: Path) -> None:
    """With MALLOC_PERTURB_ the C library fills new memory, so such a picture differs from run to run."""
    whole = animated(20)
    files = {f"{rows}-{channels}": animated(rows, channels=channels) for rows in (0, 5, 19) for channels in (3, 4)}
    files["no-frame"] = animated(5, first=False)
    for place in range(whole.index(b"IDAT") + 4, whole.index(b"fcTL", whole.index(b"IDAT")) - 8):
        files[f"damaged-{place}"] = whole[:place] + bytes([whole[place] ^ 0x55]) + whole[place + 1 :]
    files |= {f"cut-{length}": whole[:length] for length in range(len(whole) // 2, len(whole), 7)}
    for name, data in files.items():
        (tmp_path / name).write_bytes(data)
    code = "import json, sys; from edge_infer.frames.picture import decode_picture; from pathlib import Path\n"
    code += "found = {path.name: decode_picture(path.read_bytes()) for path in Path(sys.argv[1]).iterdir()}\n"
    code += "print(json.dumps({name: None if some is None else some.tolist() for name, some in found.items()}))"
    runs = []
    for fill in ("1", "200"):
        environment = {**os.environ, "MALLOC_PERTURB_": fill}
        done = subprocess.run([sys.executable, "-c", code, tmp_path], capture_output=True, check=True, env=environment)
        runs.append(json.loads(done.stdout))
    assert [name for name in files if runs[0][name] != runs[1][name]] == []
    assert [name for name, pixels in runs[0].items() if pixels is not None and not name.startswith("damaged")] == []


def test_a_png_of_very_many_chunks_is_refused() -> None:
    whole = animated(20)
    place = whole.index(b"IDAT") - 4
    assert decode_picture(whole[:place] + chunk(b"tEXt", b"a\0b") * 1000 + whole[place:]) is not None
    assert decode_picture(whole[:place] + chunk(b"acTL", b"") * 100_000 + whole[place:]) is None
