"""Files that are no YAML, or too much of it: one clear line, quickly, with either of PyYAML's parsers."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from edge_infer.yamlfile import load
from edge_infer.yamlfile.fields import Label
from edge_infer.yamlfile.load import load_yaml, read_document
from edge_infer.yamlfile.nodes import compose
from edge_infer.yamlfile.section import Section

BOMB = b"a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n" + b"".join(
    b"a%d: &a%d [%s]\n" % (level, level, b", ".join([b"*a%d" % (level - 1)] * 10)) for level in range(1, 30)
)
PARSERS = [yaml.SafeLoader, *([yaml.CSafeLoader] if hasattr(yaml, "CSafeLoader") else [])]

Write = Callable[[bytes], Path]


@pytest.fixture
def write(tmp_path: Path) -> Write:
    def written(data: bytes) -> Path:
        path = tmp_path / "config.yaml"
        path.write_bytes(data)
        return path

    return written


DEEP = "nested deeper than 20 levels; no configuration needs that"
MANY = "more than 50000 values (repeated ones counted); no configuration needs that"
FILES = {
    "empty": (b"", 1, "the file is empty"),
    "comments only": (b"# nothing\n\n", 1, "the file is empty"),
    "cut off": (
        b"mqtt:\n  host: bro",
        2,
        ("the last line has no line end: the file may be cut off (end it with a newline)"),
    ),
    "cut off in a comment": (
        b"mqtt: {}\n# x",
        2,
        "the last line has no line end: the file may be cut off (end it with a newline)",
    ),
    "Latin-1": (b"mqtt:\n  host: caf\xe9\n", 2, "byte 0xe9 is not UTF-8; save the file as UTF-8 text"),
    "UTF-16": ("mqtt: {}\n".encode("utf-16"), 1, "byte 0xff is not UTF-8; save the file as UTF-8 text"),
    "a zero byte": (b"mqtt:\n  host: a\0b\n", 2, "contains a zero byte, so it is not a text file"),
    "a control character": (b"mqtt:\n  host: a\x1bb\n", 2, "a character that a text file does not have"),
    "a model": (b"\x1c\0\0\0TFL3" + bytes(range(256)) * 50, 2, "byte 0x80 is not UTF-8; save the file as UTF-8 text"),
    "a PNG picture": (b"\x89PNG\r\n\x1a\n" + bytes(100), 1, "byte 0x89 is not UTF-8; save the file as UTF-8 text"),
    "huge": (b"mqtt: {}\n" * 200_000, 1, "is larger than 1 MiB; check that this is the right file"),
    "lists in lists": (b"a: " + b"[" * 200_000 + b"\n", 1, DEEP),
    "groups in groups": (b"a: " + b"{a: " * 100_000 + b"\n", 1, DEEP),
    "dashes": (b"- " * 100_000 + b"\n", 1, DEEP),
    "indentation": (b"".join(b" " * level + b"a:\n" for level in range(1000)), 21, DEEP),
    "an alias bomb": (BOMB, 4, MANY),
    "very many values": (b"a: [" + b"1," * 300_000 + b"1]\n", 1, MANY),
}


@pytest.mark.parametrize("parser", PARSERS, ids=lambda parser: str(parser.__name__))
@pytest.mark.parametrize("name", FILES)
def test_files_that_are_none(name: str, parser: Any, write: Write, monkeypatch: pytest.MonkeyPatch) -> None:
    data, line, text = FILES[name]
    monkeypatch.setattr(load, "compose", lambda text: compose(text, parser))
    document = read_document(write(data), os.environ)
    (problem,) = document.problems
    assert (problem.line, problem.text) == (line, text)
    assert document.value is None


def test_files_that_are_not_there(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "folder").mkdir()
    for name, text in (
        ("none", "cannot be read: No such file or directory"),
        ("pipe", "is not a regular file"),
        ("folder", "is not a regular file"),
    ):
        (problem,) = read_document(tmp_path / name).problems
        assert problem.text == text


def test_words_are_read_by_yaml_1_2(write: Write) -> None:
    document = read_document(write(b"a: [on, 12:30, 0777, 'no', yes, 1.50]\n"), {})
    assert document.problems == ()
    assert document.value["a"] == ["on", "12:30", 777, "no", "yes", 1.5]
    assert [getattr(item, "text", item) for item in document.value["a"]] == ["on", "12:30", "0777", "no", "yes", "1.50"]


def test_windows_files_and_byte_order_marks_are_read(write: Write) -> None:
    document = read_document(write(b"\xef\xbb\xbfmqtt:\r\n  host: a\r\n"), {})
    assert document.value == {"mqtt": {"host": "a"}}


def test_anchors_may_repeat_values(write: Write) -> None:
    document = read_document(write(b"a: &x [1, 2]\nb: *x\nc: [*x, *x]\n"), {})
    assert document.value["c"] == [[1, 2], [1, 2]]


def test_without_an_environment_variables_stay_as_they_are(write: Write) -> None:
    assert read_document(write(b"a: ${HOME}\n")).value == {"a": "${HOME}"}


def test_a_plain_variable_may_be_a_number_and_one_in_quotes_is_text(write: Write) -> None:
    document = read_document(write(b"a: ${P}\nb: '${P}'\n"), {"P": "8883"})
    assert document.value["a"] == 8883
    assert document.value["b"] == "8883"


class Note(Section):
    """A section of this test."""

    text: Label
    level: int = 0
    share: float = 0.0
    words: list[str] = []  # noqa: RUF012


def test_any_section_can_be_loaded(write: Write) -> None:
    note, problems = load_yaml(write(b"text: 1.0\nshare: 1\nwords: [a]\n"), Note)
    assert problems == ()
    assert note is not None
    assert (note.text, note.share, note.words) == ("1.0", 1.0, ["a"])
    assert type(note.text) is str


def test_errors_of_plain_types_are_sentences_too(write: Write) -> None:
    note, problems = load_yaml(write(b"text: a\nlevel: x\nshare: '1'\nwords:\n  - a\n  - 5\nmore: 1\n"), Note)
    assert note is None
    assert [(problem.line, problem.path, problem.text) for problem in problems] == [
        (2, "level", 'expected a whole number, not "x"'),
        (3, "share", 'expected a number, not "1" (without quotes)'),
        (6, "words[1]", "expected a text, not 5"),
        (7, "more", "is not known here; known: text, level, share, words"),
    ]


@pytest.mark.parametrize("parser", PARSERS, ids=lambda parser: str(parser.__name__))
@pytest.mark.parametrize("text", [r"\x24{P}", r"$\x7bP}", r"${\x50}", "${\\\n  P}", r"$${P} \u0024{P}"])
def test_a_variable_must_be_written_as_it_is(
    text: str, parser: Any, write: Write, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The supervisor keeps variables that it finds in the file from other processes. It does not read YAML."""
    monkeypatch.setattr(load, "compose", lambda text: compose(text, parser))
    document = read_document(write(f'a: "{text}"\n'.encode()), {"P": "hunter4"})
    assert [problem.text for problem in document.problems] == [
        "the environment variable P is written with escapes (\\); write ${P}"
    ]
    assert "hunter4" not in str(document.value)
    assert read_document(write(rb'a: "${P}\x24$${P}"' + b"\n"), {"P": "x"}).value == {"a": "x$${P}"}
