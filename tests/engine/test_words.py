"""The regex tokenizer, as tflite-support has it."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge_infer.engine.preprocess.tokenizers import DEFAULT_PATTERN, RegexTokenizer, compiled
from edge_infer.errors import ModelError

WORDS = {"<PAD>": 0, "<START>": 1, "<UNKNOWN>": 2, "what": 5, "a": 6, "it's": 9, "caf": 11, "time": 900}


def tokens(text: str, length: int = 12, words: dict[str, int] = WORDS, *, lowercase: bool = False) -> list[int]:
    return RegexTokenizer(words, length, DEFAULT_PATTERN, lowercase=lowercase)(text)


@pytest.mark.parametrize(
    ("text", "ids"),
    [
        ("what a time", [1, 5, 6, 900]),
        ("...what -- a??? time.", [1, 5, 6, 900]),
        ("What", [1, 2]),
        ("it's a time_", [1, 9, 6, 2]),
        ("café", [1, 11]),
        ("a\ufffdtime", [1, 6, 900]),
        ("中文", [1]),
        ("", [1]),
        ("a " * 20, [1] + [6] * 11),
    ],
)
def test_words_are_what_is_between_delimiters(text: str, ids: list[int]) -> None:
    assert tokens(text) == ids


def test_words_of_the_vocabulary_that_mean_something_are_looked_up() -> None:
    assert tokens("what now", words={"what": 4, "[UNK]": 3}) == [4, 3]
    assert tokens("what now", words={"what": 4}) == [4, 0]
    assert tokens("WHAT", lowercase=True) == [1, 5]
    assert RegexTokenizer({"<pad>": 8}, 2, DEFAULT_PATTERN).pad == 8


@pytest.mark.parametrize(
    ("pattern", "said"),
    [
        (r"\p{L}+", r"'\\p{L}+' cannot be used: bad escape"),
        ("[", "cannot be used"),
        ("[a-z]*", "matches the empty text"),
        (r"(\s+)+", "may take unbounded time"),
        (r"(?:a*)*b", "may take unbounded time"),
        (r"(a|a)+!", "may take unbounded time"),
        (r"a?a?a?aaa", "may take unbounded time"),
        (r"\s+!", "may take unbounded time"),
        (r"a{2,}", "may take unbounded time"),
        (r"\s+?", "may take unbounded time"),
        ("a" * 300, "has 300 characters"),
    ],
)
def test_patterns_that_cannot_be_used_are_told(pattern: str, said: str) -> None:
    with pytest.raises(ModelError, match=re.escape(said)):
        compiled(pattern)


@pytest.mark.parametrize(
    ("pattern", "words"),
    [
        (r"[^\w\']+", ["a", "b-", "c"]),
        (r"\s+|[.,]+", ["a", "b-", "c"]),
        (r"[]. ]+", ["a,", "b-", "c"]),
        (r", |\. |[ .,]", ["a", "b-", "c"]),
        (r"- \.|[ ,]+", ["a", "b", "c"]),
    ],
)
def test_other_patterns_of_letters_and_classes_are_taken(pattern: str, words: list[str]) -> None:
    found = compiled(pattern).split("a, b- .c")
    assert [word.strip("-") for word in found if word.strip(" -.")] == [word.strip("-") for word in words]


@given(st.text(max_size=300), st.integers(2, 40), st.booleans())
def test_any_text_gives_ids_of_the_vocabulary_in_a_row(text: str, length: int, lowercase: bool) -> None:
    found = tokens(text, length, lowercase=lowercase)
    assert 1 <= len(found) <= length
    assert set(found) <= set(WORDS.values())
    plain = text.lower() if lowercase else text
    split = [word for word in re.split(r"[^A-Za-z0-9_']+", plain) if word]
    assert found == [1, *(WORDS.get(word, 2) for word in split)][:length]
