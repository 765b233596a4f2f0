"""``edge-infer infer`` on text files: one object a line."""

from __future__ import annotations

from pathlib import Path

from tests.cli.test_infer import infer

MODEL = "nl_classifier_with_regex_tokenizer.tflite"


def test_every_line_that_is_not_blank_is_an_input(assets: Path, tmp_path: Path) -> None:
    text = tmp_path / "reviews.txt"
    text.write_bytes("\ufeffWhat a waste of my time.\r\n\n  \t\nB\xf6se Gr\xfc\xdfe\n".encode() + b"W\xff\xferoken")
    code, found, _ = infer(assets / "models" / MODEL, text, "--threshold", "0")
    assert code == 0
    assert [item["input"] for item in found] == [f"{text}:{number}" for number in (1, 4, 5)]
    assert [item["seq"] for item in found] == [1, 2, 3]
    assert found[0]["classes"][0] == {"label": "Negative", "score": 0.813}


def test_what_is_no_text_is_told_and_the_others_are_done(assets: Path, tmp_path: Path) -> None:
    blank, text = tmp_path / "blank.txt", tmp_path / "good.txt"
    blank.write_text("\n \n")
    text.write_text("Strongly recommend it!")
    picture = assets / "images" / "astronaut.png"
    code, found, errors = infer(assets / "models" / MODEL, blank, picture, tmp_path / "gone.txt", tmp_path, text)
    assert code == 1
    assert [item["input"] for item in found] == [f"{text}:1"]
    for said in (
        f"edge-infer: {blank}: it contains no text; write one input a line",
        f"edge-infer: {picture}:",
        f"edge-infer: {tmp_path / 'gone.txt'}: No such file or directory",
        f"edge-infer: {tmp_path}: Is a directory",
    ):
        assert said in errors


def test_text_is_not_drawn(assets: Path, tmp_path: Path) -> None:
    code, found, errors = infer(assets / "models" / MODEL, tmp_path / "x.txt", "--annotate", tmp_path / "drawn")
    assert (code, found) == (2, [])
    refusal = "--annotate draws into pictures, but nl_classifier_with_regex_tokenizer takes text; remove this option"
    assert refusal in errors
