"""Plain words are what YAML 1.2 says they are, and what was written is kept."""

from __future__ import annotations

import math

import pytest

from edge_infer.yamlfile.scalars import Expanded, Written, expand, in_quotes, resolve, shown


@pytest.mark.parametrize(
    "word",
    ["on", "off", "yes", "no", "y", "n", "On", "12:30", "1:20:30", "1_000", "0b11", "2026-11-25", "=", "1e", "+"],
)
def test_traps_of_yaml_1_1_stay_text(word: str) -> None:
    assert resolve(word) == word
    assert type(resolve(word)) is str


@pytest.mark.parametrize(
    ("word", "value"),
    [
        ("010", 10),
        ("0o10", 8),
        ("0x1F", 31),
        ("-3", -3),
        ("1.", 1.0),
        (".5", 0.5),
        ("1e3", 1000.0),
        ("-.inf", -math.inf),
    ],
)
def test_numbers(word: str, value: float) -> None:
    found = resolve(word)
    assert found == value
    assert isinstance(found, Written)
    assert found.text == word


def test_null_and_booleans() -> None:
    assert [resolve(word) for word in ("", "~", "null", "true", "False")] == [None, None, None, True, False]


def test_a_number_of_a_million_digits_is_text() -> None:
    assert isinstance(resolve("9" * 1_000_000), str)


def test_variables() -> None:
    environment = {"A": "1", "B_2": "two"}
    assert expand("${A} and ${B_2}", environment) == "1 and two"
    assert expand("$${A} $A ${A}", environment) == "${A} $A 1"


@pytest.mark.parametrize("text", ["${C}", "${A", "${}", "${1}", "${A-b}", "${ A }"])
def test_variables_that_cannot_be_filled_in(text: str) -> None:
    with pytest.raises(ValueError, match=r"\$\{NAME\}|C is not set"):
        expand(text, {"A": "1"})


def test_a_variable_with_a_line_break_is_refused() -> None:
    with pytest.raises(ValueError, match="cannot be printed"):
        expand("${A}", {"A": "x\ny"})


def test_messages_show_what_was_written_and_not_what_a_variable_holds() -> None:
    secret = Expanded("hunter2")
    secret.written = "${PASS}"
    assert shown(secret) == "${PASS}"
    assert shown(resolve("4711", "${PIN}")) == "${PIN}"
    assert shown("x" * 500) == f'"{"x" * 40}…"'


def test_numbers_in_quotes_are_noticed() -> None:
    assert in_quotes("0.5")
    assert not in_quotes("high")
