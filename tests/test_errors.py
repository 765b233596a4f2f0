"""What becomes of a sentence that is too long for a record."""

from __future__ import annotations

from edge_infer.errors import LONGEST_SENTENCE, shortened


def test_of_a_long_sentence_the_beginning_and_the_remedy_stay() -> None:
    fits = "x" * LONGEST_SENTENCE
    assert shortened(fits) == fits
    long = f"config.yaml:3: {'x' * LONGEST_SENTENCE}; say so with decoder: NAME in a manifest"
    short = shortened(long)
    assert len(short) == LONGEST_SENTENCE
    assert short.startswith("config.yaml:3: x")
    assert short.endswith("x; say so with decoder: NAME in a manifest")
    assert " … " in short


def test_what_is_no_text_is_escaped() -> None:
    """As in the name of a file that is not UTF-8: no record may contain it."""
    assert shortened("cannot open \udce4.npy") == "cannot open \\udce4.npy"
