"""Label files as they are found in the wild."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge_infer.errors import ModelError
from edge_infer.models.packages.labels import check_labels, parse_labels


@pytest.mark.parametrize(
    ("data", "labels"),
    [
        (b"cat\ndog\n", ("cat", "dog")),
        (b"cat\ndog", ("cat", "dog")),
        (b"\xef\xbb\xbfcat\r\ndog\r\n\r\n\n", ("cat", "dog")),
        (b"0  person\n1  bicycle\n", ("person", "bicycle")),
        (b"0 person\n2 car\n", ("person", "1", "car")),
        (b"0: person\n\n1: car\n", ("person", "car")),
        (b"1,car\n0,person\n", ("person", "car")),
        (b"3 door car\nbicycle\n", ("3 door car", "bicycle")),
        ("Tür\n日本\n".encode(), ("Tür", "日本")),
        (b"???\n???\ncat\n", ("???", "???", "cat")),
    ],
)
def test_the_common_forms(data: bytes, labels: tuple[str, ...]) -> None:
    assert parse_labels(data, "labels.txt") == labels


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (b"", "labels.txt contains no labels"),
        (b"\n\n", "labels.txt contains no labels"),
        (b"cat\n\ndog\n", "labels.txt:2: a blank line would shift"),
        (b"cat\n\xff\xfe\n", "labels.txt:2: not UTF-8"),
        (b"cat\nd\x00g\n", "labels.txt:2: .* characters that are not allowed in a label"),
        ("cat\nd\u2028g\n".encode(), "labels.txt:2: .* characters that are not allowed in a label"),
        (b"cat\n" + b"x" * 200 + b"\n", "labels.txt:2: a label of 200 characters is too long"),
        (b"0 cat\n0 dog\n", "class 0 has two labels, 'cat' and 'dog'"),
        (b"0 cat\n999999 dog\n", "class 999999 is above the largest possible one, 19999"),
        (b"a\n" * 30_000, "30000 labels are more than"),
        (b"a" * (1 << 21), "is larger than a label file can be"),
    ],
)
def test_nonsense_is_named_with_its_line(data: bytes, words: str) -> None:
    with pytest.raises(ModelError, match=words) as caught:
        parse_labels(data, "labels.txt")
    assert caught.value.key == "labels"


def test_a_list_of_labels_is_taken_as_it_is() -> None:
    assert check_labels(("0 person", "a"), "labels") == ("0 person", "a")
    with pytest.raises(ModelError, match="label 1 is empty"):
        check_labels(("a", " "), "labels")


def test_public_label_files(assets: Path) -> None:
    coco = parse_labels((assets / "labels" / "coco_labels.txt").read_bytes(), "coco_labels.txt")
    imagenet = parse_labels((assets / "labels" / "imagenet_labels.txt").read_bytes(), "imagenet_labels.txt")
    assert (coco[0], coco[-1]) == ("person", "toothbrush")
    assert (len(imagenet), imagenet[0]) == (1001, "background")


@given(st.binary(max_size=400))
def test_any_bytes_give_labels_or_a_model_error(data: bytes) -> None:
    try:
        labels = parse_labels(data, "labels.txt")
    except ModelError as error:
        labels, words = (), str(error)
    assert labels or words.startswith("labels.txt")
    assert all(label == label.strip() and label.isprintable() for label in labels)
