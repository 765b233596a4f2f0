"""How large a picture may be."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np

from edge_infer.readers.environment import most_pixels

GIB = 1 << 30


def test_the_frames_of_a_picture_take_at_most_a_quarter_of_the_memory() -> None:
    assert most_pixels(GIB) * 3 * 5 <= GIB // 4
    assert most_pixels(GIB) >= 16_000_000
    assert most_pixels(GIB // 2) < 9_000_000
    assert most_pixels(None) == 1 << 24
    assert most_pixels(64 * GIB) == 1 << 26


def test_a_picture_beyond_the_limit_is_refused_before_it_takes_memory(tmp_path: Path) -> None:
    """Of under 100 kB; it took a reader to 1 GB."""
    path = tmp_path / "large.png"
    cv2.imwrite(str(path), np.zeros((8000, 8000, 3), np.uint8), [cv2.IMWRITE_PNG_COMPRESSION, 9])
    code = (
        "import os, sys, resource\n"
        "from edge_infer.readers import environment\n"
        "environment.usable_memory = lambda: 1 << 30\n"
        "environment.prepare(os.environ)\n"
        "from edge_infer.frames.picture import read_picture\n"
        "from edge_infer.errors import InputError\n"
        "before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss\n"
        "try:\n"
        "    read_picture(sys.argv[1])\n"
        "except InputError as error:\n"
        "    print(error)\n"
        "print((resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) >> 10)\n"
    )
    done = subprocess.run([sys.executable, "-c", code, str(path)], capture_output=True, text=True, check=True)
    text, grown = done.stdout.splitlines()
    assert text.endswith("or far too large")
    assert int(grown) < 64  # MB; the picture has 192
