"""Word pieces against ids of another implementation, and against a plain one of the same rules."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge_infer.engine.preprocess.tokenizers import WordPieces, is_lowercase
from edge_infer.errors import ModelError

PIECES = """
[PAD] [UNK] [CLS] [SEP] un ##aff ##able want ##want ##ed wa runn ##ing the cafe café Café C ##afe 中 文 , ! ? ' - s a
##a ##b ab abc ##cd é e ##é ##e [ ] cls $ ##$ x I ##I i “ ” \u0301 ##\u0301 CLS
""".split()  # noqa: SIM905 - a line of fifty quoted words cannot be read
VOCABULARY = {piece: number for number, piece in enumerate(PIECES)}
# What BertWordPieceTokenizer of the package tokenizers 0.23.3 gives, without and with capitals. On 40,000 random texts
# of letters, ideographs, accents, marks, spaces of all kinds and control characters both gave the same ids throughout.
GOLDEN = [
    ("UNwantéd,running", [2, 4, 8, 9, 21, 11, 12, 3], [2, 1, 21, 11, 12, 3]),
    ("unaffable", [2, 4, 5, 6, 3], [2, 4, 5, 6, 3]),
    ("  the\tcafé !\u00a0", [2, 13, 14, 22, 3], [2, 13, 15, 22, 3]),
    ("中文the中", [2, 19, 20, 13, 19, 3], [2, 19, 20, 13, 19, 3]),
    ("abcd abcdb", [2, 1, 1, 3], [2, 1, 1, 3]),
    ("ab$a x\u200bx x\x00x\ufffdx", [2, 30, 40, 27, 1, 1, 3], [2, 30, 40, 27, 1, 1, 3]),
    ("İI", [2, 1, 3], [2, 1, 3]),
    ("“Café”", [2, 46, 14, 47, 3], [2, 46, 16, 47, 3]),
    ("Cafe\u0301 s'x-x?", [2, 14, 26, 24, 42, 25, 42, 23, 3], [2, 17, 18, 49, 26, 24, 42, 25, 42, 23, 3]),
    ("\u0301", [2, 3], [2, 48, 3]),
    ("", [2, 3], [2, 3]),
    ("qqq the", [2, 1, 13, 3], [2, 1, 13, 3]),
]


@pytest.mark.parametrize(("text", "small", "kept"), GOLDEN)
def test_ids_of_another_implementation(text: str, small: list[int], kept: list[int]) -> None:
    assert WordPieces(VOCABULARY, 64, lowercase=True)(text) == small
    assert WordPieces(VOCABULARY, 64, lowercase=False)(text) == kept


def test_marks_in_a_text_do_not_become_the_words_that_frame_it() -> None:
    assert WordPieces(VOCABULARY, 64, lowercase=True)("[CLS]") == [2, 37, 39, 38, 3]


def test_a_row_ends_with_its_end_and_a_long_word_is_unknown() -> None:
    pieces = WordPieces(VOCABULARY, 5, lowercase=False)
    assert pieces("the the the the the") == [2, 13, 13, 13, 3]
    assert pieces("a" * 200) == [2, 27, 28, 28, 3]
    assert pieces("a" * 201) == [2, 1, 3]


@given(st.text(st.sampled_from("abcdesx é,!中"), max_size=60))
def test_the_longest_piece_wins_everywhere(text: str) -> None:
    words = "".join(f" {letter} " if letter in ",!中" else letter for letter in text).split()
    wanted = [number for word in words for number in longest(word, "")]
    assert WordPieces(VOCABULARY, 200, lowercase=False)(text) == [2, *wanted, 3]


def longest(word: str, prefix: str) -> list[int]:
    """The rule in other words: of all pieces that the rest begins with, the longest, and so on; else unknown."""
    if not word:
        return []
    fitting = [piece for piece in PIECES if piece.startswith(prefix) and word.startswith(piece[len(prefix) :] or "\0")]
    fitting = [piece for piece in fitting if prefix or not piece.startswith("##")]
    if not fitting:
        return [1]
    best = max(fitting, key=len)
    rest = longest(word[len(best) - len(prefix) :], "##")
    return [1] if 1 in rest else [VOCABULARY[best], *rest]


@given(st.text(max_size=200), st.integers(2, 30), st.booleans())
def test_any_text_gives_ids_of_the_vocabulary_in_a_row(text: str, length: int, lowercase: bool) -> None:
    found = WordPieces(VOCABULARY, length, lowercase=lowercase)(text)
    assert 2 <= len(found) <= length
    assert (found[0], found[-1]) == (2, 3)
    assert set(found) <= set(VOCABULARY.values())


def test_a_vocabulary_tells_whether_capitals_are_kept() -> None:
    assert is_lowercase({"[CLS]": 0, "the": 1})
    assert not is_lowercase({"[CLS]": 0, "The": 1})


def test_what_are_no_word_pieces_is_told() -> None:
    with pytest.raises(ModelError, match=r"has no \[SEP\], \[UNK\]; is it a vocabulary of word pieces"):
        WordPieces({"[CLS]": 0}, 8, lowercase=True)
    with pytest.raises(ModelError, match="takes 1 ids"):
        WordPieces(VOCABULARY, 1, lowercase=True)
