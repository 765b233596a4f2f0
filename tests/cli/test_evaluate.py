"""``edge-infer evaluate`` on real and on written models."""

from __future__ import annotations

import csv
import json
import os
import pty
import re
import shutil
import signal
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from edge_infer import load
from edge_infer.frames.picture import decode_picture
from tests.broker import eventually
from tests.default_acl import mode, share_new_files
from tests.evaluate.referee import evaluated
from tests.evaluate.written import write_model, write_rows
from tests.running import MODEL, ROOT

SSD = "coco_ssd_mobilenet_v1_1.0_quant_2018_06_29.tflite"
FACES = ROOT / "models" / "face-detect" / "1.0.0"
ASTRONAUT = FACES / "golden" / "astronaut.png"


def command(*words: object) -> list[str]:
    return [sys.executable, "-m", "edge_infer", *map(str, words)]


def evaluate(*words: object, code: int = 0) -> subprocess.CompletedProcess[str]:
    done = subprocess.run(command("evaluate", *words), capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == code, done.stderr
    return done


def figures(*words: object, code: int = 0) -> dict[str, Any]:
    return dict(json.loads(evaluate(*words, "--json", code=code).stdout))


@pytest.fixture
def public_boxes(assets: Path, tmp_path: Path) -> Path:
    """The boxes of the public pictures, labelled by hand, as a COCO file beside the pictures."""
    with (assets / "expected" / "ground_truth_boxes.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    pictures = sorted({row["image"] for row in rows})
    labels = sorted({row["label"] for row in rows})
    boxes = [[float(row[side]) for side in ("xmin", "ymin", "xmax", "ymax")] for row in rows]
    found = {
        "images": [{"id": number, "file_name": name} for number, name in enumerate(pictures)],
        "categories": [{"id": number, "name": name} for number, name in enumerate(labels)],
        "annotations": [
            {
                "id": number + 1, "image_id": pictures.index(row["image"]), "category_id": labels.index(row["label"]),
                "bbox": [left, top, right - left, bottom - top], "area": (right - left) * (bottom - top), "iscrowd": 0,
            }
            for number, (row, (left, top, right, bottom)) in enumerate(zip(rows, boxes, strict=True))
        ],
    }  # fmt: skip
    path = tmp_path / "boxes.json"
    path.write_text(json.dumps(found))
    for name in pictures:
        shutil.copy(assets / "images" / name, tmp_path / name)
    return path


@pytest.mark.parametrize("name", [SSD, "yolov8n_full_integer_quant_224.tflite"])
def test_the_public_boxes_as_pycocotools_judges_them(
    assets: Path, public_boxes: Path, tmp_path: Path, name: str
) -> None:
    kept = tmp_path / "kept"
    found = figures(assets / "models" / name, public_boxes, "--resume", kept)
    labels = json.loads(public_boxes.read_text())
    numbers = {each["name"]: each["id"] for each in labels["categories"]}
    with load(assets / "models" / name) as model:
        classes = model.plan.labels
    items = [
        {
            "image_id": outcome["number"], "category_id": numbers[classes[kind]], "score": score,
            "bbox": [left, top, right - left, bottom - top],
        }
        for outcome in map(json.loads, kept.read_text().splitlines()[1:])
        for kind, score, left, top, right, bottom in outcome["looked"][0]["items"]
        if classes[kind] in numbers
    ]  # fmt: skip
    assert len(items) > 15
    expected = evaluated(labels, items)
    for figure in ("map50_95", "map50", "map75"):
        assert found[figure] == pytest.approx(expected[figure], abs=0.001)
    assert found["map50"] > 0.4
    sizes = {each["size"]: each["map50_95"] for each in found["sizes"]}
    assert sizes["large"] == pytest.approx(expected["large"], abs=0.001)
    assert (found["task"], found["examples"], found["unread"]) == ("detection", 4, 0)


def spelling_features(path: Path) -> np.ndarray[Any, Any]:
    """The plane that the spelling models take, as their makers compute it: 64 mel bands of 128 frames."""
    import wave

    with wave.open(str(path), "rb") as file:
        samples = np.frombuffer(file.readframes(16_000), "<i2").astype(np.float64) / 32768
    padded = np.pad(np.pad(samples, (0, 16_000 - len(samples))), 256, mode="reflect")
    frames = np.lib.stride_tricks.sliding_window_view(padded, 512)[::125][:128]
    window = 0.5 - 0.5 * np.cos(2 * np.pi * np.arange(512) / 512)
    power = np.abs(np.fft.rfft(frames * window)) ** 2
    edges = np.linspace(*(_slaney(np.array([20.0, 8000.0]))), 66)
    hertz = np.where(edges < 15, edges * 200 / 3, 1000 * np.exp((edges - 15) * np.log(6.4) / 27))
    bins = np.arange(257) * 8000 / 256
    rising = (bins[:, None] - hertz[:-2]) / (hertz[1:-1] - hertz[:-2])
    falling = (hertz[2:] - bins[:, None]) / (hertz[2:] - hertz[1:-1])
    mels = np.maximum(0, np.minimum(rising, falling)) * (2 / (hertz[2:] - hertz[:-2]))
    plane = np.log(power @ mels + 1e-6).T
    return ((plane - plane.mean()) / max(plane.std(ddof=1), 0.001)).astype(np.float32)


def _slaney(hertz: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    return np.where(hertz < 1000, hertz * 3 / 200, 15 + np.log(np.maximum(hertz, 1e-9) / 1000) / (np.log(6.4) / 27))


@pytest.fixture
def spelling(assets: Path, tmp_path: Path) -> tuple[Path, Path, Path]:
    """The older and the newer model with their manifests, and the features of the recordings, a folder a class."""
    folder = assets / "spelling"
    for clip in sorted(folder.glob("clips/*/*.wav")):
        place = tmp_path / "clips" / clip.parent.name
        place.mkdir(parents=True)
        np.save(place / f"{clip.stem}.npy", spelling_features(clip))
    models = []
    for name in ("spelling_cnn_mel_int8_2026-06-25", "spelling_cnn_mel_int8"):
        meta = json.loads((folder / f"{name}_meta.json").read_text())
        labels = next(value for value in meta.values() if isinstance(value, list) and len(value) == 51)
        shutil.copy(folder / f"{name}.tflite", tmp_path)
        (tmp_path / f"{name}.yaml").write_text(
            f"task: classification\ndecoder: {{kind: classification, activation: softmax}}\n"
            f"labels: {json.dumps(labels)}\ninput: {{features: raw, channels: 128}}\n"
        )
        models.append(tmp_path / f"{name}.tflite")
    return models[0], models[1], tmp_path / "clips"


def test_two_real_models_cannot_be_told_from_36_recordings(assets: Path, spelling: tuple[Path, Path, Path]) -> None:
    older, newer, clips = spelling
    found = figures(older, clips, "--against", newer)
    expected = json.loads((assets / "spelling" / "expected.json").read_text())
    for place, model in enumerate((older, newer)):
        right = sum(row[model.name]["predicted"] == row["file"].split("/")[1] for row in expected)
        assert found["models"][place]["accuracy"] == pytest.approx(right / 36, abs=0.03)
    assert found["comparison"]["verdict"] == "unclear"
    assert "cannot be told from 36 recordings" in found["comparison"]["sentence"]


def test_a_model_that_is_worse_by_a_known_amount(tmp_path: Path) -> None:
    good, bad = write_model(tmp_path / "good"), write_model(tmp_path / "bad", 0.4, "1.1.0")
    apart = write_rows(tmp_path / "rows.csv", 1000)
    wrong = int(((apart > 0) & (apart < 0.4)).sum())
    found = figures(good, tmp_path / "rows.csv", "--against", bad)
    assert [model["accuracy"] for model in found["models"]] == [1.0, pytest.approx(1 - wrong / 1000)]
    compared = found["comparison"]
    assert compared["verdict"] == "worse"
    assert compared["differences"]["accuracy"]["value"] == pytest.approx(-wrong / 1000)
    low, high = compared["differences"]["accuracy"]["interval"]
    assert low < -wrong / 1000 < high < 0
    assert compared["sentence"].startswith("rows@1.1.0 is worse than rows@1.0.0 on 1000 rows: accuracy ")
    assert found["models"][1]["confusion"][-1] == {"true": "a", "found": "b", "count": wrong}


def test_two_models_side_by_side(tmp_path: Path) -> None:
    good, bad = write_model(tmp_path / "good"), write_model(tmp_path / "bad", 0.4, "1.1.0")
    apart = write_rows(tmp_path / "rows.csv", 300)
    wrong = int(((apart > 0) & (apart < 0.4)).sum()) / 300
    out = tmp_path / "out.html"
    told = evaluate(good, tmp_path / "rows.csv", "--against", bad, "--report", out).stdout
    assert re.search(rf"accuracy +1\.000 +{1 - wrong:.3f} +-{wrong:.3f} +-0\.\d+ to -0\.\d+\n", told)
    assert told.splitlines()[-1].startswith("rows@1.1.0 is worse than rows@1.0.0 on 300 rows: ")
    page = out.read_text()
    assert f"<td>accuracy</td><td>1.000</td><td>{1 - wrong:.3f}</td><td>-{wrong:.3f}</td>" in page
    assert '<p class="verdict">rows@1.1.0 is worse' in page


def test_the_verdict_is_the_last_line_whatever_there_is_to_note(tmp_path: Path) -> None:
    good, bad = write_model(tmp_path / "good"), write_model(tmp_path / "bad", 0.4, "1.1.0")
    write_rows(tmp_path / "rows.csv", 300)
    with (tmp_path / "rows.csv").open("a") as file:
        file.write("1,2,unheard\n")
    *told, verdict = evaluate(good, tmp_path / "rows.csv", "--against", bad).stdout.splitlines()
    assert verdict.startswith("rows@1.1.0 is worse than rows@1.0.0 on 300 rows: ")
    assert "note: classes of the labels that rows@1.0.0 does not know, skipped: 1 (unheard)" in told


def test_the_best_five_are_no_figure_of_a_model_with_fewer_classes(assets: Path, tmp_path: Path) -> None:
    model = write_model(tmp_path / "good")
    write_rows(tmp_path / "rows.csv", 20)
    out = tmp_path / "out.html"
    for words in ((), ("--against", model)):
        assert "best 5" not in evaluate(model, tmp_path / "rows.csv", *words, "--report", out).stdout
        assert "best 5" not in out.read_text()
    assert figures(model, tmp_path / "rows.csv")["top5"] == 1.0
    (tmp_path / "cat").mkdir()
    shutil.copy(assets / "images" / "cat.bmp", tmp_path / "cat")
    labels = tmp_path / "labels.txt"
    labels.write_text("airplane\nautomobile\nbird\ncat\ndeer\ndog\nfrog\nhorse\nship\ntruck\n")
    ten = assets / "models" / "pretrainedResnet_quant.tflite"
    told = evaluate(ten, tmp_path, "--labels", labels, "--images", tmp_path / "cat", "--report", out).stdout
    assert "true class among the best 5  " in told
    assert "true class among the best 5" in out.read_text()


def test_a_table_for_people(tmp_path: Path) -> None:
    model = write_model(tmp_path / "bad", 0.4)
    apart = write_rows(tmp_path / "rows.csv", 200)
    wrong = int(((apart > 0) & (apart < 0.4)).sum())
    told = evaluate(model, tmp_path / "rows.csv", "--precision", "0.99", "--recall", "0.5").stdout
    assert told.startswith("rows@1.0.0: 200 rows, threshold 0.5\n")
    assert re.search(rf"accuracy +{1 - wrong / 200:.3f}   \(95 %: 0\.\d+ to 0\.\d+\)", told)
    assert re.search(rf"a +b +{wrong}\n", told)
    assert re.search(r"precision 0\.99 +0\.\d{3} +(1\.000|0\.99\d)", told)
    assert re.search(r"recall 0\.5 of b +0\.\d{3}", told)
    assert "calibration: expected error 0." in told


def shipped_labels(folder: Path, **changes: Any) -> Path:
    """The shipped picture with its face labelled, and one without a face."""
    shutil.copy(ASTRONAUT, folder / "astronaut.png")
    cv2.imwrite(str(folder / "grey.png"), np.full((200, 300, 3), 128, np.uint8))
    labels = {
        "images": [{"id": 1, "file_name": "astronaut.png"}, {"id": 2, "file_name": "grey.png"}],
        "annotations": [{"image_id": 1, "category_id": 1, "bbox": [54, 34, 54, 54]}],
        "categories": [{"id": 1, "name": "face"}],
    } | changes
    path = folder / "faces.json"
    path.write_text(json.dumps(labels))
    return path


def test_yolo_files_give_the_same_figures_as_a_coco_file(tmp_path: Path) -> None:
    for folder in ("images", "labels"):
        (tmp_path / folder).mkdir()
    labels = shipped_labels(tmp_path / "images")
    side = 192
    (tmp_path / "labels" / "astronaut.txt").write_text(
        f"0 {(54 + 27) / side} {(34 + 27) / side} {54 / side} {54 / side}\n"
    )
    one, other = figures(FACES, labels), figures(FACES, tmp_path)
    assert one["map50"] == one["recall"] == one["precision"] == 1.0
    for key in ("map50_95", "map50", "confusion", "classes", "sizes", "examples"):
        assert one[key] == other[key]


def test_a_picture_that_yolo_files_label_and_that_is_missing_is_told(tmp_path: Path) -> None:
    shutil.copy(ASTRONAUT, tmp_path)
    for name in ("astronaut.txt", "gone.txt"):
        (tmp_path / name).write_text("0 0.42 0.32 0.28 0.28\n")
    found = figures(FACES, tmp_path, code=1)
    assert (found["examples"], found["unread"], found["map50"]) == (1, 1, 1.0)
    told = f"inputs that cannot be read, skipped: 1 (gone.txt: there is no picture of this name in {tmp_path})"
    assert told in found["notes"]


def test_odd_labels_and_pictures_are_told_and_the_others_count(tmp_path: Path) -> None:
    odd = [
        {"image_id": 1, "category_id": 1, "bbox": [54, 34, 54, 54]},
        {"image_id": 2, "category_id": 1, "bbox": [900, 900, 10, 10]},
        {"image_id": 2, "category_id": 2, "bbox": [1, 1, 10, 10]},
    ]
    pictures = [{"id": 1, "file_name": "astronaut.png"}, {"id": 2, "file_name": "grey.png"}]
    more = [{"id": 3, "file_name": "gone.png"}, {"id": 4, "file_name": "../secret.png"}]
    names = [{"id": 1, "name": "face"}, {"id": 2, "name": "elephant"}]
    labels = shipped_labels(tmp_path, images=pictures + more, annotations=odd, categories=names)
    found = figures(FACES, labels, code=1)
    assert (found["examples"], found["unread"], found["map50"]) == (2, 2, 1.0)
    told = "\n".join(found["notes"])
    assert "classes of the labels that face-detect@1.0.0 does not know, skipped: 1 (elephant)" in told
    assert "inputs that cannot be read, skipped: 2 (" in told
    assert "labelled boxes that are empty or outside of their picture, skipped: 1 (grey.png)" in told


@pytest.mark.parametrize(
    ("changes", "words", "code", "said"),
    [
        ({"categories": [{"id": 1, "name": "elephant"}]}, (), 1, "knows none of its classes; it has elephant"),
        ({"images": []}, (), 1, "the labels name nothing to evaluate"),
        ({"images": [{"id": 1, "file_name": "gone.png"}]}, (), 1, "could be evaluated: inputs that cannot be read"),
        ({}, ("--rename", "cat=face"), 1, "the labels have no class cat, only face"),
        ({}, ("--rename", "cat"), 2, "cat is not THEIRS=OURS"),
        ({}, ("--precision", "90"), 2, "90 is not a share above 0 and at most 1"),
        ({}, ("--images", "/nowhere"), 2, "--images /nowhere: no such folder"),
        ({}, ("--report", "/proc/nowhere/a.html"), 2, "--report /proc/nowhere/a.html: cannot be created"),
    ],
)  # fmt: skip
def test_what_cannot_be_evaluated_is_told(
    tmp_path: Path, changes: dict[str, Any], words: tuple[str, ...], code: int, said: str
) -> None:
    done = evaluate(FACES, shipped_labels(tmp_path, **changes), *words, code=code)
    assert done.stdout == ""
    assert said in done.stderr
    assert "Traceback" not in done.stderr


def test_classes_of_the_data_can_be_renamed(tmp_path: Path) -> None:
    labels = shipped_labels(tmp_path, categories=[{"id": 1, "name": "visage"}])
    assert figures(FACES, labels, "--rename", "visage=face")["classes"][0]["label"] == "visage"


OUTCOMES = ("map50_95", "map50", "map75", "precision", "recall", "classes", "sizes", "confusion", "intervals", "notes")


def test_several_classes_of_a_coco_file_can_be_one_of_the_model(assets: Path, public_boxes: Path) -> None:
    labels = json.loads(public_boxes.read_text())
    numbers = {each["name"]: each["id"] for each in labels["categories"]}
    merged = [
        each | {"category_id": numbers["cat"] if each["category_id"] == numbers["dog"] else each["category_id"]}
        for each in labels["annotations"]
    ]
    kept = [each for each in labels["categories"] if each["name"] != "dog"]
    beforehand, backwards = (public_boxes.with_name(f"{name}.json") for name in ("beforehand", "backwards"))
    beforehand.write_text(json.dumps(labels | {"annotations": merged, "categories": kept}))
    backwards.write_text(json.dumps(labels | {"categories": labels["categories"][::-1]}))
    expected = figures(assets / "models" / SSD, beforehand)
    assert next(each["count"] for each in expected["classes"] if each["label"] == "cat") > 2
    for path in (public_boxes, backwards):
        found = figures(assets / "models" / SSD, path, "--rename", "dog=cat")
        for key in OUTCOMES:
            assert _in_any_order(found[key]) == _in_any_order(expected[key])


def _in_any_order(value: Any) -> Any:
    if isinstance(value, list):
        return sorted((_in_any_order(each) for each in value), key=repr)
    return pytest.approx(value, abs=1e-9) if isinstance(value, float) else value


def test_several_folders_can_be_one_class_of_the_model(tmp_path: Path) -> None:
    model = write_model(tmp_path / "model")
    for kind, row in (
        ("A", (3.0, 1.0)),
        ("a", (2.0, 0.5)),
        ("first", (4.0, 1.0)),
        ("b", (1.0, 3.0)),
        ("c", (1.0, 2.0)),
    ):
        (tmp_path / "data" / kind).mkdir(parents=True)
        np.save(tmp_path / "data" / kind / "one.npy", np.array([row], np.float32))
    found = figures(model, tmp_path / "data", "--rename", "first=a")
    assert (found["accuracy"], found["top5"], found["examples"]) == (1.0, 1.0, 4)
    assert {each["label"]: each["count"] for each in found["classes"]} == {"a": 3, "b": 1}
    assert found["notes"] == ["classes of the labels that rows@1.0.0 does not know, skipped: 1 (c)"]


@pytest.mark.parametrize("words", [("B", "b"), ("b", "B")])
def test_rows_and_texts_with_labels_in_two_cases(assets: Path, tmp_path: Path, words: tuple[str, str]) -> None:
    rows = tmp_path / "rows.csv"
    rows.write_text(f"first,second,label\n1,3,{words[0]}\n1,2,{words[1]}\n3,1,{words[1]}\n3,1,a\n")
    found = figures(write_model(tmp_path / "model"), rows)
    assert (found["accuracy"], found["balanced_accuracy"], found["examples"], found["notes"]) == (
        0.75,
        pytest.approx(5 / 6),
        4,
        [],
    )
    assert {each["label"]: each["count"] for each in found["classes"]} == {"a": 1, "b": 3}
    one, other = ("NEGATIVE", "negative") if words[0] == "B" else ("negative", "NEGATIVE")
    texts = tmp_path / "texts.csv"
    texts.write_text(f"text,label\nWhat a waste of my time.,{one}\nWhat a waste of my time.,{other}\n")
    found = figures(assets / "models" / "nl_classifier_with_regex_tokenizer.tflite", texts)
    assert (found["accuracy"], found["examples"], found["notes"]) == (1.0, 2, [])


class _Tags(HTMLParser):
    def __init__(self, text: str) -> None:
        super().__init__()
        self.found: list[tuple[str, dict[str, str | None]]] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found.append((tag, dict(attrs)))


def test_the_report_is_one_file_with_pictures_of_the_worst_mistakes(tmp_path: Path) -> None:
    name = "<script>alert(1)</script>"
    boxes = [{"image_id": 1, "category_id": 1, "bbox": [130, 130, 50, 50]}]
    labels = shipped_labels(tmp_path, annotations=boxes, categories=[{"id": 1, "name": name}])
    out = tmp_path / "report.html"
    found = figures(FACES, labels, "--rename", f"{name}=face", "--report", out)
    assert found["worst"]["missed"][0]["true_box"] == [130, 130, 180, 180]
    assert found["worst"]["false_alarms"][0]["score"] > 0.9
    text = out.read_text()
    tags = _Tags(text).found
    assert {tag for tag, _ in tags}.isdisjoint({"script", "link", "iframe", "object", "form"})
    sources = [attributes["src"] for tag, attributes in tags if tag == "img"]
    assert len(sources) == 2
    import base64

    for source in sources:
        assert source is not None
        assert source.startswith("data:image/jpeg;base64,")
        picture = decode_picture(base64.b64decode(source.partition(",")[2]))
        assert picture is not None
        assert picture.std() > 20
    assert [attributes for tag, attributes in tags if "Content-Security-Policy" in attributes.values()]
    assert not re.search(r"(?:src|href|url\()\s*=?\s*[\"']?(?:https?:|//|/)", text)


def test_the_report_is_written_even_if_nobody_reads_the_figures(tmp_path: Path) -> None:
    labels, out = shipped_labels(tmp_path), tmp_path / "report.html"
    reading, writing = os.pipe()
    os.close(reading)
    with os.fdopen(writing, "wb") as closed:
        words = command("evaluate", FACES, labels, "--report", out, "--golden", tmp_path / "out")
        done = subprocess.run(words, stdout=closed, stderr=subprocess.PIPE, timeout=300, check=False)
    assert (done.returncode, b"2 golden inputs written" in done.stderr) == (0, True), done.stderr
    assert out.read_text().endswith("</html>\n")


def test_no_report_shows_a_picture_outside_of_the_data(tmp_path: Path) -> None:
    data = tmp_path / "data"
    data.mkdir()
    shutil.copy(ASTRONAUT, tmp_path / "secret.png")
    (data / "link.png").symlink_to(tmp_path / "secret.png")
    pictures = [{"id": 1, "file_name": "link.png"}, {"id": 2, "file_name": "grey.png"}]
    found = figures(FACES, shipped_labels(data, images=pictures), code=1)
    assert (found["examples"], found["unread"]) == (1, 1)
    assert "Permission denied" in "\n".join(found["notes"])


def test_an_evaluation_goes_on_where_it_was_interrupted(tmp_path: Path) -> None:
    many = 600
    labels = shipped_labels(tmp_path, images=[{"id": number, "file_name": "astronaut.png"} for number in range(many)])
    kept = tmp_path / "kept"
    process = subprocess.Popen(
        command("evaluate", FACES, labels, "--resume", kept),
        stderr=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        text=True,
    )
    try:
        eventually(lambda: kept.exists() and kept.stat().st_size > 40_000, 60)
        process.send_signal(signal.SIGINT)
        errors = process.communicate(timeout=60)[1]
    finally:
        process.kill()
    assert process.returncode == 130
    assert f"edge-infer: interrupted; to resume from {kept}, run the same command" in errors
    lines = kept.read_bytes().splitlines(keepends=True)
    assert 10 < len(lines) <= many
    first = json.loads(lines[1])
    first["looked"][0]["items"] = []  # an outcome of the earlier run is taken as it is
    kept.write_bytes(b"".join([lines[0], json.dumps(first).encode() + b"\n", *lines[2:], lines[-1][:20]]))
    found = figures(FACES, labels, "--resume", kept)
    assert found["examples"] == many
    assert found["confusion"][0] == {"true": "nothing", "found": "face", "count": many - 2}  # 1 is labelled, 0 changed
    assert len(kept.read_bytes().splitlines()) == many + 1
    assert figures(FACES, labels, "--resume", kept)["map50"] == found["map50"]


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ('{"question": "another"}\n', "it belongs to another model, other labels or other options; name a new file"),
        ("nonsense\n", "not a file of evaluate"),
    ],
)
def test_a_file_of_another_evaluation_is_refused(tmp_path: Path, content: str, said: str) -> None:
    kept = tmp_path / "kept"
    kept.write_text(content)
    kept.chmod(0o666)
    done = evaluate(FACES, shipped_labels(tmp_path), "--resume", kept, code=1)
    assert f"--resume {kept}: {said}" in done.stderr
    assert kept.read_text() == content


def test_a_progress_bar_on_a_terminal_alone(tmp_path: Path) -> None:
    labels = shipped_labels(tmp_path)
    assert evaluate(FACES, labels).stderr == ""
    ours, theirs = pty.openpty()
    process = subprocess.Popen(command("evaluate", FACES, labels), stderr=theirs, stdout=subprocess.DEVNULL)
    os.close(theirs)
    shown = b""
    try:
        while part := _read(ours):
            shown += part
        assert process.wait(60) == 0
    finally:
        process.kill()
        os.close(ours)
    assert re.search(rb"\[#{24}\] 2 of 2, \d+\.\d a second, until \d\d:\d\d", shown)
    assert shown.endswith(b"\r\x1b[K")


def _read(terminal: int) -> bytes:
    try:
        return os.read(terminal, 4096)
    except OSError:  # the other side is closed
        return b""


def test_golden_inputs_are_private_even_in_a_folder_that_shares_new_files(tmp_path: Path) -> None:
    labels, out = shipped_labels(tmp_path), tmp_path / "out"
    share_new_files(tmp_path)
    evaluate(FACES, labels, "--golden", out)
    assert mode(out / "golden") == 0o700
    assert {mode(path) for path in (out / "golden.yaml", *(out / "golden").iterdir())} == {0o600}


def test_labelled_examples_become_golden_inputs_of_a_package(tmp_path: Path) -> None:
    labels, out = shipped_labels(tmp_path), tmp_path / "out"
    done = evaluate(FACES, labels, "--golden", out)
    assert "2 golden inputs written; add the lines of" in done.stderr
    entries = (out / "golden.yaml").read_text()
    assert 'label: "face", box: [0.2812, 0.1771, 0.5625, 0.4583]' in entries
    package = tmp_path / "package"
    shutil.copytree(out / "golden", package / "golden")
    subprocess.run(["chmod", "-R", "a+rX", package / "golden"], check=True)
    shutil.copy(MODEL, package)
    manifest = (FACES / "manifest.yaml").read_text()
    (package / "manifest.yaml").write_text(manifest[: manifest.index("golden:")] + entries)
    config = tmp_path / "config.yaml"
    config.write_text(f"device: {{state_dir: {tmp_path}/state}}\n")
    added = subprocess.run(command("models", "add", package, "-c", config), capture_output=True, text=True, check=False)
    assert (added.returncode, added.stdout) == (0, "face-detect@1.0.0\n"), added.stderr
    stored = tmp_path / "state" / "models" / "face-detect" / "1.0.0" / "golden"
    assert {path.name for path in stored.iterdir()} == {"astronaut.png", "grey.png"}


def test_golden_inputs_of_a_model_with_more_classes_than_the_labels_pass_its_trial(
    assets: Path, tmp_path: Path
) -> None:
    """It finds a dog, a sandwich and persons in the pictures without a label."""
    names = ("cat.bmp", "fox.jpeg", "burger.jpg", "zidane.jpg")
    for name in names:
        shutil.copy(assets / "images" / name, tmp_path / name)
    height, width = cv2.imread(str(tmp_path / "cat.bmp")).shape[:2]
    box = [0.091 * width, 0.131 * height, 0.617 * width, 0.846 * height]
    labels = tmp_path / "cats.json"
    labels.write_text(json.dumps({
        "images": [{"id": number, "file_name": name} for number, name in enumerate(names)],
        "categories": [{"id": 0, "name": "cat"}],
        "annotations": [{"id": 1, "image_id": 0, "category_id": 0, "bbox": box, "area": 1, "iscrowd": 0}],
    }))  # fmt: skip
    package = tmp_path / "package"
    package.mkdir()
    shutil.copy(assets / "models" / SSD, package / "m.tflite")
    manifest = "name: cats\nversion: 1.0.0\nfile: m.tflite\n"
    (package / "manifest.yaml").write_text(manifest)
    done = evaluate(package, labels, "--golden", tmp_path / "out")
    assert "1 golden input written" in done.stderr
    shutil.copytree(tmp_path / "out" / "golden", package / "golden")
    subprocess.run(["chmod", "-R", "a+rX", package / "golden"], check=True)
    (package / "manifest.yaml").write_text(manifest + (tmp_path / "out" / "golden.yaml").read_text())
    config = tmp_path / "config.yaml"
    config.write_text(f"device: {{state_dir: {tmp_path}/state}}\n")
    added = subprocess.run(command("models", "add", package, "-c", config), capture_output=True, text=True, check=False)
    assert (added.returncode, added.stdout) == (0, "cats@1.0.0\n"), added.stderr


def test_sounds_in_a_folder_a_class(assets: Path, tmp_path: Path) -> None:
    for kind, names in (("Speech", ("speech.wav",)), ("Cat", ("meow_16k.wav",))):
        (tmp_path / kind).mkdir()
        for name in names:
            shutil.copy(assets / "audio" / name, tmp_path / kind / name)
    found = figures(assets / "models" / "yamnet_audio_classifier_with_metadata.tflite", tmp_path, "--threshold", "0.3")
    assert (found["accuracy"], found["examples"]) == (1.0, 2)


def test_pictures_in_a_folder_a_class(assets: Path, tmp_path: Path) -> None:
    for kind, names in (("cat", ("cat.bmp", "cats_and_dogs.jpg")), ("truck", ("bus.jpg",))):
        (tmp_path / kind).mkdir()
        for name in names:
            shutil.copy(assets / "images" / name, tmp_path / kind / name)
    labels = tmp_path / "labels.txt"
    labels.write_text("airplane\nautomobile\nbird\ncat\ndeer\ndog\nfrog\nhorse\nship\ntruck\n")
    model = assets / "models" / "pretrainedResnet_quant.tflite"
    found = figures(model, tmp_path, "--labels", labels, "--report", tmp_path / "out.html")
    assert found["examples"] == 3
    assert sum(each["count"] for each in found["confusion"] if each["true"] == "cat") == 2
    assert 0 < found["latency"]["median"] <= found["latency"]["p95"]


def test_texts_of_a_table(assets: Path, tmp_path: Path) -> None:
    path = tmp_path / "reviews.csv"
    path.write_text(
        'text,label\n"What a waste of my time.",Negative\n"The best film of the year, wonderful acting.",Positive\n'
        ",Positive\n"
    )
    found = figures(assets / "models" / "nl_classifier_with_regex_tokenizer.tflite", path)
    assert (found["accuracy"], found["examples"]) == (1.0, 2)
    assert found["notes"] == ["rows without a text, skipped: 1 (reviews.csv:4)"]


def test_values_of_a_regression(assets: Path, tmp_path: Path) -> None:
    model = tmp_path / "sine.tflite"
    shutil.copy(assets / "models" / "hello_world_int8.tflite", model)
    model.with_suffix(".yaml").write_text(
        "task: regression\ninput: {features: raw}\nvalues: [{name: sine, min: -2, max: 2}]\n"
    )
    path = tmp_path / "rows.csv"
    rows = [f"{x:.4f},{np.sin(x):.6f}" for x in np.linspace(0, 6.2, 50)]
    path.write_text("\n".join(["x,sine", *rows, ""]))
    found = figures(model, path)
    assert 0.005 < found["mae"] < 0.05
    assert found["mae"] < found["rmse"] < 0.12
    assert found["implausible"] == 0


def test_an_anomaly_detector(assets: Path, tmp_path: Path) -> None:
    """Windows of a real machine, and the same numbers in another order."""
    model = tmp_path / "machine.tflite"
    shutil.copy(assets / "models" / "ad01_int8.tflite", model)
    model.with_suffix(".yaml").write_text("task: anomaly\nthreshold: 20\ninput: {features: raw, channels: 640}\n")
    frames = np.fromfile(assets / "sensor" / "normal_id_01_00000000_hist_librosa.bin", np.float32).reshape(200, 128)
    random = np.random.default_rng(0)
    path = tmp_path / "rows.csv"
    with path.open("w") as file:
        file.write(",".join(["label", *(f"v{place}" for place in range(640))]) + "\n")
        for start in range(0, 196, 4):
            window = frames[start : start + 5].reshape(-1)
            for label, row in (("normal", window), ("broken", random.permutation(window))):
                file.write(",".join([label, *(f"{value:.4f}" for value in row.tolist())]) + "\n")
    found = figures(model, path, "--recall", "0.95")
    assert found["auc"] > 0.95
    assert found["examples"] == 98
    assert found["intervals"]["auc"][0] <= found["auc"] <= found["intervals"]["auc"][1]
    wished = found["thresholds"][-1]
    assert (wished["for"], wished["recall"] >= 0.95, wished["precision"] > 0.9) == ("recall", True, True)

    renamed = tmp_path / "renamed.csv"
    renamed.write_text(path.read_text().replace("normal,", "fine,"))
    assert figures(model, renamed, "--rename", "fine=normal")["auc"] == found["auc"]


def test_names_of_files_that_are_no_text(assets: Path, tmp_path: Path) -> None:
    (tmp_path / "cat").mkdir()
    for name in (b"caf\xe9.bmp", b"gone\xe9.bmp"):
        target = Path(os.fsdecode(os.fsencode(tmp_path / "cat") + b"/" + name))
        target.write_bytes((assets / "images" / "cat.bmp").read_bytes() if name.startswith(b"caf") else b"nothing")
    labels = tmp_path / "labels.txt"
    labels.write_text("airplane\nautomobile\nbird\ncat\ndeer\ndog\nfrog\nhorse\nship\ntruck\n")
    model, out = assets / "models" / "pretrainedResnet_quant.tflite", tmp_path / "out.html"
    words = ("--labels", labels, "--threshold", "1", "--report", out, "--resume", tmp_path / "kept")
    found = figures(model, tmp_path, *words, code=1)
    assert (found["examples"], found["unread"]) == (1, 1)
    assert "caf\ufffd.bmp: labelled cat" in out.read_text()
    assert figures(model, tmp_path, *words, code=1)["worst"] == found["worst"]


def test_a_model_whose_task_has_no_labels_is_refused(assets: Path, tmp_path: Path) -> None:
    labels = shipped_labels(tmp_path)
    done = evaluate(assets / "models" / "movenet_single_pose_lightning_ptq.tflite", labels, code=2)
    assert "evaluate supports detection, classification, anomaly, regression, and this model is for pose" in done.stderr
