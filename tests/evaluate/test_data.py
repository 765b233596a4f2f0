"""Readers of labels: what they read, and what they say about odd files."""

from __future__ import annotations

import json
import tracemalloc
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edge_infer.contract.codec import replace
from edge_infer.errors import ConfigError, InputError
from edge_infer.evaluate.class_names import ClassNames, check_known
from edge_infer.evaluate.data import open_data
from edge_infer.evaluate.data_place import DataPlace
from edge_infer.evaluate.examples import LabelledBoxes, LabelledClass, LabelledData, LabelledValues, NoteCounter, placed
from edge_infer.plan.records import ModelPlan, SignalPlan, TextPlan, ValuePlan
from tests.engine.plans import pipeline

BOXES = pipeline("detection", ("cat", "dog")).model
CLASSES = pipeline("classification", ("cat", "dog")).model


def coco(folder: Path, **changes: Any) -> Path:
    labels = {
        "images": [{"id": 7, "file_name": "b.jpg", "width": 100, "height": 50}, {"id": 2, "file_name": "a.jpg"}],
        "annotations": [
            {"id": 1, "image_id": 7, "category_id": 9, "bbox": [10, 5, 20, 30], "area": 300, "segmentation": [[1, 2]]},
            {"id": 2, "image_id": 2, "category_id": 4, "bbox": [0.5, 0, 2, 2], "iscrowd": 1},
        ],
        "categories": [{"id": 9, "name": "dog"}, {"id": 4, "name": "cat"}],
    } | changes
    path = folder / "labels.json"
    path.write_text(json.dumps(labels))
    return path


def opened(labels: Path, plan: ModelPlan = BOXES, images: Path | None = None) -> LabelledData:
    return open_data(DataPlace.of(labels, images), plan)


def test_a_coco_file(tmp_path: Path) -> None:
    data = opened(coco(tmp_path))
    assert (data.names, len(data)) == (("dog", "cat"), 2)
    first, second = data
    assert (first.name, first.path) == ("a.jpg", str(tmp_path / "a.jpg"))
    for example, box, kind, area, crowd in (
        (first, [0.5, 0, 2.5, 2], 1, 4.0, True),
        (second, [10, 5, 30, 35], 0, 300.0, False),
    ):
        label = example.label
        assert isinstance(label, LabelledBoxes)
        assert label.boxes.tolist() == [box]
        assert (label.classes.tolist(), label.crowd.tolist()) == ([kind], [crowd])
        assert label.areas is not None
        assert label.areas.tolist() == [area]


@pytest.mark.parametrize("place", ["b.jpg", "images/b.jpg", "val2017/b.jpg", "images/val2017/b.jpg"])
def test_pictures_of_a_coco_file_are_found_where_they_usually_are(tmp_path: Path, place: str) -> None:
    (tmp_path / "annotations").mkdir()
    labels = coco(tmp_path).rename(tmp_path / "annotations" / "instances_val2017.json")
    (tmp_path / place).parent.mkdir(parents=True, exist_ok=True)
    (tmp_path / place).write_bytes(b"")
    assert [example.path for example in opened(labels)][1] == str(tmp_path / place)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"annotations": [{"image_id": 7, "category_id": 9}]}, "annotations[0] has no bbox"),
        ({"annotations": [{"image_id": 7, "category_id": 9, "bbox": [1, 2, 3]}]}, "annotations[0].bbox: expected"),
        ({"annotations": [{"image_id": 7, "category_id": 9, "bbox": "here"}]}, "annotations[0].bbox: expected"),
        ({"images": {}}, "labels.images: expected"),
        ({"categories": [{"id": 1}]}, "missing required field `name`"),
        ({"images": []}, "the labels name nothing to evaluate"),
    ],
)
def test_a_wrong_coco_file_is_told_with_the_place(tmp_path: Path, changes: dict[str, Any], said: str) -> None:
    with pytest.raises(InputError, match=r"labels\.json: ") as raised:
        opened(coco(tmp_path, **changes))
    assert said in str(raised.value)


@pytest.mark.parametrize(
    "changes",
    [
        {"images": [{"id": 7, "file_name": "b.jpg", "width": 1e308, "height": 1e308}]},
        {"images": [{"id": 7, "file_name": "b.jpg", "width": -5, "height": -5}]},
        {"annotations": [{"image_id": 7, "category_id": 9, "bbox": [1, 1, 1e308, 1e308]}]},
        {"annotations": [{"image_id": 7, "category_id": 9, "bbox": [1, 1, 1, 1], "area": 1e308}]},
    ],
)
def test_sizes_that_no_picture_has_are_refused(tmp_path: Path, changes: dict[str, Any]) -> None:
    with pytest.raises(InputError, match="not a COCO label file"):
        opened(coco(tmp_path, **changes))


def test_a_size_that_rounds_to_nothing_is_none(tmp_path: Path) -> None:
    images = [{"id": 7, "file_name": "b.jpg", "width": 100, "height": 5e-324}]
    (example,) = opened(coco(tmp_path, images=images))
    assert isinstance(example.label, LabelledBoxes)
    assert example.label.size is None


def test_a_name_that_is_too_long_is_that_of_no_file(tmp_path: Path) -> None:
    (example,) = opened(coco(tmp_path, images=[{"id": 7, "file_name": "b" * 5000}]))
    assert example.path == str(tmp_path / ("b" * 5000))


@pytest.mark.parametrize("content", [b"", b"{", b"\xff\xfe", b"[1, 2]", b'{"images": [' + b"[" * 100_000])
def test_what_is_no_coco_file_is_refused(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "labels.json"
    path.write_bytes(content)
    with pytest.raises(InputError, match=r"labels\.json: "):
        opened(path)


def test_annotations_of_nothing_and_equal_names_are_noted(tmp_path: Path) -> None:
    odd = [
        {"image_id": 99, "category_id": 9, "bbox": [1, 1, 1, 1]},
        {"image_id": 7, "category_id": 1, "bbox": [1, 1, 1, 1]},
    ]
    names = [{"id": 9, "name": "dog"}, {"id": 4, "name": "dog"}]
    data = opened(coco(tmp_path, annotations=odd, categories=names))
    assert data.names == ("dog",)
    assert data.notes.sentences() == [
        "categories that share a name, counted as one: 1 (dog)",
        "annotations without a picture of the file, skipped: 1 (annotations[0])",
        "annotations without a category of the file, skipped: 1 (annotations[1])",
    ]


@pytest.mark.parametrize("name", ["../secret.jpg", "/etc/passwd", "a/../../secret.jpg", "", "a\0b"])
def test_no_name_of_a_picture_leads_out_of_its_folder(tmp_path: Path, name: str) -> None:
    (tmp_path / "data").mkdir()
    (tmp_path / "secret.jpg").write_bytes(b"secret")
    labels = coco(tmp_path / "data", images=[{"id": 7, "file_name": name}])
    assert [example.path for example in opened(labels)] == [""]


@pytest.mark.long
def test_labels_of_a_hundred_thousand_pictures_take_little_memory(tmp_path: Path) -> None:
    many = 100_000
    path = tmp_path / "labels.json"
    with path.open("w") as file:
        file.write('{"categories": [{"id": 1, "name": "dog"}], "images": [')
        file.write(",".join(f'{{"id": {number}, "file_name": "{number:012}.jpg"}}' for number in range(many)))
        file.write('], "annotations": [')
        polygon = ",".join(["123.45"] * 40)
        one = f'{{"image_id": %d, "category_id": 1, "bbox": [1, 2, 3, 4], "area": 6.0, "segmentation": [[{polygon}]]}}'
        file.write(",".join(one % number for number in range(many)))
        file.write("]}")
    tracemalloc.start()
    data = opened(path)
    kept, most = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert len(data) == many
    assert path.stat().st_size > 35_000_000
    assert kept < 35_000_000
    assert most < 70_000_000


def test_boxes_outside_of_their_picture_are_noted_and_empty_ones_left_out() -> None:
    table = np.array(
        [(-10, 5, 30, 35), (90, 40, 90, 45), (200, 0, 220, 20), (0, 0, 100.5, 50), (5, 5, np.nan, 9)], np.float64
    )
    notes = NoteCounter()
    label = LabelledBoxes(table, np.arange(5), np.zeros(5, np.bool_), np.array([1200.0, 0, 400, 5025, 3]))
    found = placed(label, (100, 50), "a.jpg", notes)
    assert found.boxes.tolist() == [[-10, 5, 30, 35], [0, 0, 100.5, 50]]
    assert (found.classes.tolist(), found.areas.tolist()) == ([0, 3], [1200.0, 5025.0])
    assert notes.sentences() == [
        "labelled boxes that are empty or outside of their picture, skipped: 3 (a.jpg)",
        "labelled boxes that reach beyond their picture: 1 (a.jpg)",
    ]


def test_boxes_are_scaled_to_a_picture_of_another_size() -> None:
    notes = NoteCounter()
    box = np.array([[10, 20, 30, 40]], np.float64)
    label = LabelledBoxes(box, np.zeros(1, np.int64), np.zeros(1, np.bool_), np.array([400.0]), size=(200, 100))
    found = placed(label, (100, 50), "a.jpg", notes)
    assert (found.boxes.tolist(), found.areas.tolist()) == ([[5, 10, 15, 20]], [100.0])
    assert notes.sentences() == ["pictures of another size than their labels state, boxes scaled: 1 (a.jpg)"]


@pytest.fixture
def yolo(tmp_path: Path) -> Path:
    for folder in ("images/val", "labels/val"):
        (tmp_path / folder).mkdir(parents=True)
    for name in ("a.jpg", "b.PNG", "c.jpg"):
        (tmp_path / "images" / "val" / name).write_bytes(b"")
    (tmp_path / "labels" / "val" / "a.txt").write_text("1 0.5 0.5 0.2 0.4\n0 0.1 0.1 0.3 0.1 0.2 0.4\n")
    (tmp_path / "labels" / "val" / "b.txt").write_text("7 0.5 0.5 0.1 0.1\nnonsense\n0 0.5 0.5 nan 1\n\n0 .5 .5 .1\n")
    return tmp_path


@pytest.mark.parametrize("named", ["", "labels", "labels/val"])
def test_a_folder_of_yolo_files(yolo: Path, named: str) -> None:
    (yolo / "data.yaml").write_text("names:\n  0: hound\n  1: cat\nval: images/val\n")
    data = opened(yolo / named)
    assert (data.names, len(data)) == (("hound", "cat"), 3)
    first, second, third = data
    label = first.label
    assert isinstance(label, LabelledBoxes)
    assert label.fractions
    assert np.allclose(label.boxes, [(0.4, 0.3, 0.6, 0.7), (0.1, 0.1, 0.3, 0.4)])
    assert label.classes.tolist() == [1, 0]
    assert [len(each.label.boxes) for each in (second, third) if isinstance(each.label, LabelledBoxes)] == [0, 0]
    assert data.notes.sentences() == ["lines of labels that cannot be read, skipped: 4 (b.txt:1, b.txt:2, b.txt:3, …)"]


def test_the_names_of_yolo_classes(yolo: Path) -> None:
    assert opened(yolo).names == ("cat", "dog")  # the model's
    (yolo / "labels" / "classes.txt").write_text("horse\ncow\n")
    assert opened(yolo).names == ("horse", "cow")
    (yolo / "labels" / "val" / "data.yaml").write_text("names: [a, b\n")
    with pytest.raises(InputError, match=r"data\.yaml:\d: "):
        opened(yolo / "labels" / "val")


@pytest.mark.parametrize("beside", [False, True])
def test_labels_without_a_picture_are_examples_that_cannot_be_read(yolo: Path, *, beside: bool) -> None:
    folder = yolo / ("images" if beside else "labels")
    for name, text in (
        ("val/a.txt", "0 .5 .5 .1 .1\n"),
        ("val/gone.txt", "no\n1 .5 .5 .2 .4\n"),
        ("val/none.txt", "\n"),
    ):
        (folder / name).write_text(text)
    for name in ("val/README.txt", "val/train.txt"):
        (folder / name).write_text("images/val/a.jpg 640 480\n")
    (folder / "classes.txt").write_text("1\n2\n")
    data = opened(folder)
    missing = f"there is no picture of this name in {yolo / 'images'}"
    assert len(data) == 5
    assert [(each.number, each.name, each.unread) for each in data] == [
        (0, "val/a.jpg", ""), (1, "val/b.PNG", ""), (2, "val/c.jpg", ""),
        (3, "val/gone.txt", missing), (4, "val/none.txt", missing),
    ]  # fmt: skip


def test_pictures_without_labels_are_refused(yolo: Path) -> None:
    for path in (yolo / "labels" / "val").iterdir():
        path.unlink()
    with pytest.raises(InputError, match=r"has a text file of labels there, such as .*a\.txt"):
        opened(yolo)


@pytest.fixture
def folders(tmp_path: Path) -> Path:
    for name in ("cat/1.jpg", "cat/deep/2.png", "dog/3.JPG", "dog/notes.txt", "dog/.hidden.jpg", "sounds/a.wav"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(b"")
    return tmp_path


def test_a_folder_a_class(folders: Path) -> None:
    data = opened(folders, CLASSES)
    assert data.names == ("cat", "dog")
    assert [(each.name, each.label) for each in data] == [
        ("cat/1.jpg", LabelledClass(0)), ("cat/deep/2.png", LabelledClass(0)), ("dog/3.JPG", LabelledClass(1)),
    ]  # fmt: skip
    assert data.notes.sentences() == ["folders without any file that the model takes: 1 (sounds)"]
    sound = replace(CLASSES, input=SignalPlan("waveform", rate=16000.0))
    assert [each.name for each in opened(folders, sound)] == ["sounds/a.wav"]


def test_a_folder_without_classes_is_refused(tmp_path: Path) -> None:
    (tmp_path / "a.jpg").write_bytes(b"")
    with pytest.raises(InputError, match="no folder in it contains files of a class"):
        opened(tmp_path, CLASSES)


def table(folder: Path, text: str) -> Path:
    path = folder / "rows.csv"
    path.write_text(text)
    return path


def test_a_table_of_files(tmp_path: Path) -> None:
    data = opened(table(tmp_path, "file,label,speaker\na.jpg,dog,x\nsub/b.jpg,cat,y\n../c.jpg,cat,y\n"), CLASSES)
    assert data.names == ("cat", "dog")
    assert [(each.path, each.label) for each in data] == [
        (str(tmp_path / "a.jpg"), LabelledClass(1)),
        (str(tmp_path / "sub/b.jpg"), LabelledClass(0)),
        ("", LabelledClass(0)),
    ]


def test_a_table_of_texts(tmp_path: Path) -> None:
    plan = replace(CLASSES, input=TextPlan("regex", "/v", "0", 8))
    data = opened(table(tmp_path, 'label,text\ndog,"good, good dog"\ndog,\ncat," "\ncat,purr\n'), plan)
    assert [(each.text, each.name) for each in data] == [("good, good dog", "rows.csv:2"), ("purr", "rows.csv:5")]
    assert data.notes.sentences() == ["rows without a text, skipped: 2 (rows.csv:3, rows.csv:4)"]


@pytest.mark.parametrize("between", [",", ";", "\t"])
def test_cells_are_separated_as_in_the_header(tmp_path: Path, between: str) -> None:
    text = "x,label,y\n1,dog,2.5\n".replace(",", between)
    (example,) = opened(table(tmp_path, text), replace(CLASSES, input=SignalPlan("raw")))
    assert example.row == (1.0, 2.5)


def test_a_table_of_numbers(tmp_path: Path) -> None:
    plan = replace(CLASSES, input=SignalPlan("raw"))
    data = opened(table(tmp_path, "x,label,y\n1,dog,2.5\nno,cat,3\n4,,5\n1e3,cat,inf\n7,cat,8\n"), plan)
    assert [(each.row, each.name) for each in data] == [((1.0, 2.5), "rows.csv:2"), ((7.0, 8.0), "rows.csv:6")]
    assert data.notes.sentences() == [
        "rows with values that are not numbers, skipped: 2 (rows.csv:3, rows.csv:5)",
        "rows without a readable label, skipped: 1 (rows.csv:4)",
    ]


def test_a_table_of_values(tmp_path: Path) -> None:
    plan = replace(pipeline("regression").model, input=SignalPlan("raw"), values=(ValuePlan("level"),))
    for column in ("level", "label"):
        data = opened(table(tmp_path, f"x,{column}\n1,0.5\n"), plan)
        assert [(each.row, each.label) for each in data] == [((1.0,), LabelledValues((("level", 0.5),)))]
    with pytest.raises(InputError, match=r"rows\.csv:1: there is no column level"):
        opened(table(tmp_path, "x,depth\n1,0.5\n"), plan)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", r"rows\.csv:1: the first line has to name every column"),
        ("file,file\n", r"rows\.csv:1: the first line has to name every column"),
        ("file,kind\na,b\n", r"rows\.csv:1: there is no column label; the columns are file, kind"),
        ("file,label\na,b\na\n", r"rows\.csv:3: 1 cells, but 2 columns"),
        ("file,label\n", "the labels name nothing to evaluate"),
    ],
)
def test_a_wrong_table_is_told_with_the_line(tmp_path: Path, text: str, said: str) -> None:
    with pytest.raises(InputError, match=said):
        opened(table(tmp_path, text), CLASSES)


@pytest.mark.parametrize(
    ("plan", "said"),
    [(CLASSES, "a folder for each class"), (pipeline("anomaly").model, "the folders normal and anomalous")],
)
def test_labels_that_do_not_suit_the_task_are_refused(tmp_path: Path, plan: ModelPlan, said: str) -> None:
    with pytest.raises(InputError, match=said):
        opened(coco(tmp_path), plan)


def test_labels_that_are_not_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ConfigError, match=r"there is no .*gone"):
        DataPlace.of(tmp_path / "gone", None)
    with pytest.raises(ConfigError, match=r"--images .*: no such folder"):
        DataPlace.of(tmp_path, tmp_path / "gone")
    monkeypatch.setenv("HOME", str(tmp_path))
    with pytest.raises(ConfigError, match=r"name the folder with the files of labels\.json: --images FOLDER"):
        DataPlace.of(coco(tmp_path), None)


def test_names_of_classes_are_alike_but_for_case_and_spaces() -> None:
    names = ClassNames(["Cell Phone", "auto", "zebra"], ["cell-phone", "car", "tree", "Cell_phone"], {"auto": "car"})
    assert (names.of_model, names.unknown) == ((0, 1, -1, 0), ["zebra"])
    assert [names.number(class_id) for class_id in (1, 2, 99, -1)] == [1, -1, -1, -1]
    exact = ClassNames(["on", "On"], ["On", "on"], {})
    assert (exact.of_model, exact.of_data, exact.names) == ((1, 0), (0, 1), ("on", "On"))


def test_several_classes_of_the_data_are_one_of_the_model() -> None:
    renamed = {"dog": "cat", "puppy": "cat", "unicorn": "horse", "pony": "horse"}
    for data in (["dog", "cat", "puppy"], ["cat", "puppy", "dog"]):
        names = ClassNames(["tree", *data, "unicorn", "pony"], ["car", "cat", "tree"], renamed)
        assert (names.of_data, names.of_model) == ((0, 1, 1, 1, 2, 3), (-1, 1, 0))
        assert names.names == ("tree", "cat", "unicorn", "pony")
        assert (names.known, names.unknown) == ({0, 1, 2, 3}, ["unicorn", "pony"])
    for data in (["YES", "yes"], ["yes", "YES"]):
        names = ClassNames(data, ["yes", "no"], {})
        assert (names.of_data, names.of_model, names.names, names.unknown) == ((0, 0), (0, -1), ("yes",), [])
    swapped = ClassNames(["cat", "dog"], ["cat", "dog"], {"cat": "dog", "dog": "cat"})
    assert (swapped.of_data, swapped.of_model) == ((0, 1), (1, 0))


def test_data_of_other_classes_are_refused_with_a_way_out() -> None:
    names = ClassNames(["persons", "cars"], ["person", "car"], {})
    with pytest.raises(
        InputError, match=r"it has persons, cars, the model person, car; map names with --rename persons=person"
    ):
        check_known(names, ["person", "car"], "labels.json")
