"""Vocabularies in both forms, and what is no vocabulary."""

from __future__ import annotations

import hashlib
import zipfile
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge_infer.engine.preprocess.vocabulary import LAST_ID, parse_vocabulary, read_vocabulary
from edge_infer.errors import ModelError
from edge_infer.plan.records import TextPlan


def test_one_word_a_line_goes_by_number() -> None:
    assert parse_vocabulary("[PAD]\r\nthe\n\u00a0\n##s\n\n".encode(), "v") == {
        "[PAD]": 0,
        "the": 1,
        "\u00a0": 2,
        "##s": 3,
    }


def test_words_with_their_ids() -> None:
    found = parse_vocabulary("\ufeff<PAD> 0\n<START> 1\nnew york 7\nit\x85s 3\n".encode(), "v")
    assert found == {"<PAD>": 0, "<START>": 1, "new york": 7, "it\x85s": 3}


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (b"", "v contains no words"),
        (b"\n\n", "v contains no words"),
        (b"a\0b\n", "v contains no words"),
        (b"the\nB\xff\n", "v:2: not UTF-8 text"),
        (b"<PAD> 0\nthe\n", "v:2: expected a word and its id, as in the lines above, not 'the'"),
        (b"<PAD> 0\nthe 2147483648\n", "v:2: expected a word and its id"),
        (b"x" * (16 << 20) + b"yz", "larger than a vocabulary can be"),
        (b"a\n" * ((1 << 20) + 1), "words exceed the limit of"),
    ],
)
def test_what_is_no_vocabulary_is_told(data: bytes, said: str) -> None:
    with pytest.raises(ModelError, match=said.replace("(", r"\(")):
        parse_vocabulary(data, "v")


@given(st.binary(max_size=200))
def test_any_bytes_are_a_vocabulary_or_refused(data: bytes) -> None:
    try:
        found = parse_vocabulary(data, "v")
    except ModelError:
        return
    assert found
    assert all(0 <= number <= LAST_ID for number in found.values())


def test_it_is_read_from_a_file_or_from_inside_a_model_and_its_digest_checked(tmp_path: Path) -> None:
    data = b"[PAD]\nthe\n"
    digest = hashlib.sha256(data).hexdigest()
    alone, model = tmp_path / "v.txt", tmp_path / "m.tflite"
    alone.write_bytes(data)
    model.write_bytes(b"TFL3" * 10)
    with zipfile.ZipFile(model, "a") as archive:
        archive.writestr("vocab.txt", data)
    for plan in (
        TextPlan("wordpiece", str(alone), digest, 8),
        TextPlan("wordpiece", str(model), digest, 8, "vocab.txt"),
    ):
        assert read_vocabulary(plan) == {"[PAD]": 0, "the": 1}
    with pytest.raises(ModelError, match=r"v\.txt: its SHA-256 is .*the file has changed"):
        read_vocabulary(TextPlan("wordpiece", str(alone), "0" * 64, 8))
    with pytest.raises(ModelError, match=r"gone\.txt cannot be read: No such file"):
        read_vocabulary(TextPlan("wordpiece", str(tmp_path / "gone.txt"), digest, 8))
    for name, file in (("other.txt", model), ("vocab.txt", alone), ("vocab.txt", tmp_path / "gone.tflite")):
        with pytest.raises(ModelError, match=f"the vocabulary {name} inside .* cannot be read"):
            read_vocabulary(TextPlan("wordpiece", str(file), digest, 8, name))
