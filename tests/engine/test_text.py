"""Lines of text in a model's input tensor."""

from __future__ import annotations

import hashlib
from pathlib import Path

import numpy as np
import pytest

from edge_infer.contract.codec import replace
from edge_infer.engine.interpreter import Tensor
from edge_infer.engine.preprocess.text import LONGEST_TEXT, TextPreprocess, row_length
from edge_infer.errors import ModelError
from edge_infer.frames.frame import Line
from edge_infer.plan.records import TextPlan


@pytest.fixture
def plan(tmp_path: Path) -> TextPlan:
    data = b"<PAD> 0\n<START> 1\n<UNKNOWN> 2\nthe 7\n"
    (tmp_path / "v.txt").write_bytes(data)
    return TextPlan("regex", str(tmp_path / "v.txt"), hashlib.sha256(data).hexdigest(), 5)


@pytest.mark.parametrize("dtype", ["int32", "int64", "float32"])
@pytest.mark.parametrize("shape", [(1, 5), (5,)])
def test_a_row_is_written_whole_each_time(plan: TextPlan, shape: tuple[int, ...], dtype: str) -> None:
    preprocess = TextPreprocess(plan, Tensor("ids", 0, shape, dtype))
    tensor = np.full(shape, 99, dtype)
    for text, row in (("the the the the the", [1, 7, 7, 7, 7]), ("no", [1, 2, 0, 0, 0]), ("", [1, 0, 0, 0, 0])):
        preprocess(Line(text, 0.0, 0.0, 1), tensor)
        assert tensor.reshape(-1).tolist() == row
        assert tensor.dtype == dtype
    preprocess(Line("the" + " " * LONGEST_TEXT + "the", 0.0, 0.0, 1), tensor)
    assert tensor.reshape(-1).tolist() == [1, 7, 0, 0, 0]


def test_a_line_goes_in_as_it_comes(plan: TextPlan) -> None:
    preprocess = TextPreprocess(plan, Tensor("ids", 0, (1, 5), "int32"))
    line = Line("the", 1.0, 2.0, 3)
    assert list(preprocess.frames(line)) == [line]
    assert isinstance(preprocess.example(), Line)


@pytest.mark.parametrize(
    ("tensor", "said"),
    [
        (Tensor("ids", 0, (1, 224, 224, 3), "uint8"), r"\[1, 224, 224, 3\] uint8; text needs word ids"),
        (Tensor("ids", 0, (2, 8), "int32"), r"\[2, 8\] int32; text needs word ids"),
        (Tensor("ids", 0, (1, 8), "int8", (0.1,), (0,)), "text needs word ids"),
        (Tensor("ids", 0, (), "int32"), "text needs word ids"),
        (Tensor("ids", 0, (1, 1), "int32"), "is not fixed"),
    ],
)
def test_what_is_no_row_of_ids_is_told(tensor: Tensor, said: str) -> None:
    with pytest.raises(ModelError, match=said):
        row_length(tensor)


def test_another_length_is_told(plan: TextPlan) -> None:
    with pytest.raises(ModelError, match="takes 6 ids, but the manifest sets `length: 5`"):
        TextPreprocess(plan, Tensor("ids", 0, (1, 6), "int32"))
    with pytest.raises(ModelError, match=r"its vocabulary has no \[CLS\]"):
        TextPreprocess(replace(plan, tokenizer="wordpiece"), Tensor("ids", 0, (1, 5), "int32"))
