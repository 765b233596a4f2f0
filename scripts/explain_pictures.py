"""Writes docs/pictures/explain*.jpg and .png with the command ``edge-infer explain``.

usage: EDGE_INFER_ASSETS=FOLDER python scripts/explain_pictures.py
"""

from __future__ import annotations

import os
import sys
import tempfile
from pathlib import Path
from typing import Final

from edge_infer.cli import main

ROOT: Final = Path(__file__).resolve().parents[1]
ASSETS: Final = Path(os.environ["EDGE_INFER_ASSETS"])


def write() -> int:
    """Write the pictures; return the highest exit code."""
    faces = ROOT / "models" / "face-detect" / "1.0.0"
    with tempfile.TemporaryDirectory() as folder:
        text = Path(folder, "reviews.txt")
        text.write_text("What a waste of my time.\n")
        models, sound = ASSETS / "models", ASSETS / "audio" / "speech.wav"
        codes = [
            explained("explain.jpg", faces, faces / "golden" / "astronaut.png"),
            explained("explain-sound.jpg", models / "yamnet_audio_classifier_with_metadata.tflite", sound, "0.3"),
            explained("explain-text.png", models / "nl_classifier_with_regex_tokenizer.tflite", text, "0"),
        ]
    return max(codes)


def explained(name: str, model: Path, given: Path, threshold: str = "0.5") -> int:
    path = ROOT / "docs" / "pictures" / name
    code = main(["explain", str(model), str(given), "--threshold", threshold, "-o", str(path)])
    path.chmod(0o644)
    return code


if __name__ == "__main__":
    sys.exit(write())
