"""What becomes of outputs that are a picture: the page on privacy says how it is."""

from __future__ import annotations

from pathlib import Path

import pytest

from edge_infer.config.schema.pipelines import Pipeline
from edge_infer.engine.decoders.regression import MOST
from edge_infer.errors import ModelError
from edge_infer.models.request import ModelRequest
from edge_infer.models.trials.probe import probe
from tests.moody import picture_model

PAGE = " ".join((Path(__file__).parents[2] / "docs" / "privacy.md").read_text().split())
MANIFEST = (
    "name: grey\nversion: 1.0.0\nfile: grey.tflite\ntask: regression\ninput: {resize: stretch, mean: 0, std: 255}\n"
)


def outcome(folder: Path, points: int) -> int:
    """How many numbers of a picture of so many points a model may publish."""
    (folder / "grey.tflite").write_bytes(picture_model(points))
    (folder / "manifest.yaml").write_text(MANIFEST)
    return len(probe(ModelRequest("grey", str(folder))).values)


def test_a_regression_publishes_what_it_gives_up_to_a_number(tmp_path: Path) -> None:
    assert f"at most {MOST} numbers" in PAGE
    assert f"a picture of {MOST} points" in PAGE
    assert outcome(tmp_path, MOST) == MOST
    with pytest.raises(ModelError, match=f"a regression gives 1 to {MOST} numbers, not {MOST + 1}"):
        outcome(tmp_path, MOST + 1)


def test_the_page_knows_how_many_scores_a_classifier_may_publish() -> None:
    most = Pipeline.model_json_schema()["properties"]["top_k"]["maximum"]
    assert f"up to {most} labels (`top_k`)" in " ".join(PAGE.split())


def test_the_page_names_no_switch_that_is_none() -> None:
    assert "allow_dense" not in Pipeline.model_fields
    assert "allow_dense" not in PAGE
