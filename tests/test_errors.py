"""What becomes of a sentence that is too long for a record."""

from __future__ import annotations

import re

import pytest

from edge_infer.errors import LONGEST_SENTENCE, quoted, shortened


def test_of_a_long_sentence_the_beginning_and_the_remedy_stay() -> None:
    fits = "x" * LONGEST_SENTENCE
    assert shortened(fits) == fits
    long = f"config.yaml:3: {'x' * LONGEST_SENTENCE}; say so with decoder: NAME in a manifest"
    short = shortened(long)
    assert len(short) == LONGEST_SENTENCE
    assert short.startswith("config.yaml:3: x")
    assert short.endswith("x; say so with decoder: NAME in a manifest")
    assert " … " in short


@pytest.mark.parametrize("before", [0, 100, 250, 256, 257, 258, 400])
@pytest.mark.parametrize("chosen", [1, 2, 100, 300, 700])
@pytest.mark.parametrize("after", [0, 100, 238, 239, 240, 241, 400])
def test_what_was_quoted_stays_quoted(before: int, chosen: int, after: int) -> None:
    short = shortened(f"{'b' * before}{quoted('x' * chosen)}{'a' * after}")
    assert len(short) <= LONGEST_SENTENCE
    assert "x" not in re.sub("«[^»]*(?:»|$)", "", short)
    several = shortened("; ".join(f"{'b' * before}{quoted('x' * chosen)}{'a' * after}" for _ in range(3)))
    assert "x" not in re.sub("«[^»]*(?:»|$)", "", several)


def test_what_is_no_text_is_escaped() -> None:
    """As in the name of a file that is not UTF-8: no record may contain it."""
    assert shortened("cannot open \udce4.npy") == "cannot open \\udce4.npy"
