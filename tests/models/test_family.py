"""Ultralytics says in the file which of its heads it is; the shapes alone do not always."""

from __future__ import annotations

import pytest

from edge_infer.contract.codec import JsonValue
from edge_infer.engine.interpreter import Tensor
from edge_infer.errors import ModelError
from edge_infer.models.packages.manifest import Manifest
from edge_infer.models.request import ModelRequest
from edge_infer.models.resolve.decoder_choice import Signature, choose_family
from edge_infer.models.tflite.metadata import Metadata

PICTURE = (Tensor("images", 0, (1, 64, 64, 3), "float32"),)
HANDS = Signature(PICTURE, (Tensor("head", 1, (1, 4 + 1 + 21 * 3, 84), "float32"),))
"""A pose head of 21 keypoints, which looks like a detector of 64 classes."""


@pytest.mark.parametrize(
    ("task", "keypoints", "decoder", "options"),
    [
        ("pose", 21, "yolov8_pose", {"keypoints": 21}),
        ("pose", 0, "yolov8_pose", {}),
        ("segment", 0, "yolov8_segment", {}),
    ],
)
def test_the_metadata_names_the_head(task: str, keypoints: int, decoder: str, options: dict[str, JsonValue]) -> None:
    metadata = Metadata(ultralytics=True, task=task, keypoints=keypoints)
    family = choose_family(ModelRequest("m", "/m"), Manifest(), metadata, HANDS)
    assert (family.name, family.options) == (decoder, options)
    assert family.why == f"metadata in the file: task {task}"


def test_a_manifest_wins_over_the_metadata() -> None:
    manifest = Manifest.model_validate({"task": "detection"})
    family = choose_family(ModelRequest("m", "/m"), manifest, Metadata(ultralytics=True, task="pose"), HANDS)
    assert family.name == "yolov8"
    with pytest.raises(ModelError, match=r"decoder movenet .* is for pose, but the task is detection"):
        choose_family(ModelRequest("m", "/m", decoder="movenet"), manifest, Metadata(), HANDS)
