"""Plays each file as a source of kind video and compares its pictures with ffmpeg's.

`scripts/codecs` runs this script in an environment with one version of OpenCV and little else. It prints a JSON list of
outcomes.
"""

from __future__ import annotations

import json
import logging
import os
import subprocess
import sys
from pathlib import Path
from typing import Final

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from edge_infer.errors import SourceError
from edge_infer.readers.sources import Picture
from edge_infer.readers.sources.video import VideoOptions, VideoSource

MOST_APART: Final = 12.0
"""Maximum mean difference of two equal pictures, of 255. OpenCV before 4.13 does not apply some colour matrices, which
causes such a difference. Two different pictures differ by 40."""


def outcome(path: str) -> str:
    """Return the outcome of one file: ``right``, ``refused: …`` or ``WRONG: …``, with details."""
    pictures, error = [], ""
    try:
        with VideoSource(VideoOptions(path, realtime=False)) as source:
            while isinstance(picture := source.read(), Picture):
                pictures.append(picture.pixels)
    except SourceError as failure:
        error = str(failure)
    if pictures:
        command = [
            "ffmpeg",
            "-v",
            "error",
            "-i",
            path,
            "-fps_mode",
            "passthrough",
            "-pix_fmt",
            "bgr24",
            "-f",
            "rawvideo",
            "-",
        ]
        raw = np.frombuffer(subprocess.run(command, capture_output=True, check=False).stdout, np.uint8)
        truth = raw.reshape(-1, *pictures[0].shape) if raw.size % pictures[0].size == 0 else raw[:0].reshape(0)
        if not error and abs(len(truth) - len(pictures)) > 1:
            return f"WRONG: {len(pictures)} pictures of {len(truth)}"
        for number, (got, wanted) in enumerate(zip(pictures, truth, strict=False)):
            apart = float(np.abs(got.astype(np.int16) - wanted).mean()) if got.shape == wanted.shape else 255.0
            if apart > MOST_APART:
                return f"WRONG: picture {number} is {apart:.0f} of 255 apart"
    right = f"right: {len(pictures)}"
    refused = f"refused: {error.replace(path, 'it')}"
    return (f"{right}, then {refused}" if pictures else refused) if error else right


def main() -> None:
    """Print only the outcomes of the files."""
    logging.disable(logging.CRITICAL)
    answers = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(os.open(os.devnull, os.O_WRONLY), 2)  # FFmpeg's lines
    os.dup2(2, 1)
    json.dump([outcome(path) for path in sys.argv[1:]], answers)
    answers.close()


if __name__ == "__main__":
    main()
