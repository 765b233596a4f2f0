"""Configurations that are right become plans; what lies outside the file is checked with it."""

from __future__ import annotations

import grp
import hashlib
import json
import logging
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import cast

import pytest

from edge_infer.config.compile import named_files
from edge_infer.config.compile.build import installed_models, not_in_store
from edge_infer.config.compile.compile import compile_config
from edge_infer.config.schema.file import Config
from edge_infer.contract.codec import decode_json, dumps, encode, replace
from edge_infer.ipc.channel import MAX_PLAN_BYTES
from edge_infer.models.request import ModelRequest, Resolution
from edge_infer.models.trials.checked_package import CheckedPackage
from edge_infer.models.trials.known_results import Tried
from edge_infer.models.trials.probe import Probe
from edge_infer.plan.credentials import credential_name
from edge_infer.plan.records import Compiled, InputPlan, NmsPlan, Plan, SourcePlan
from edge_infer.platform.paths import default_device_id, default_state_dir
from edge_infer.readers.sources import SOURCES
from edge_infer.yamlfile.load import read_document, validate

SHIPPED = Path(__file__).parents[2] / "models"
MODEL = SHIPPED / "face-detect" / "1.0.0"

GOOD = """\
device: {id: gate-3, state_dir: state}
mqtt:
  host: broker.lan
  username: edge
  password_file: mqtt.pass
  prefix: site/edge
models:
  faces: {file: models/face-detect/1.0.0/face_full_range_int8.tflite}
  packed: {use: face-detect@1.0.0}
sources:
  door: {kind: v4l2, device: /dev/video0, size: 640x480, fps: 15, rotate: 90, flip: vertical}
  yard: {kind: rtsp, url: "rtsp://cam/stream", password_file: cam.pass}
  user: {kind: rtsp, url: "rtsp://a%20b@cam:8554/stream?x=1", transport: udp}
  page: {kind: http, url: "http://cam/snap.jpg", snapshot: 5s}
  pipe: {kind: exec, command: [cat, 0777, on], size: 64x48, format: nv12}
  clip: {kind: video, file: models/demo/faces.mp4, loop: true}
  folder: {kind: images, path: models/face-detect/1.0.0/golden, every: 500ms}
  shapes: {kind: synthetic, size: 320x240, seed: 7, fps: 5}
pipelines:
  door-faces:
    source: door
    model: faces
    fps: 5
    threshold: 0.6
    labels: [face]
    mask: [[[0, 0], [0.3, 0], [0.3, 1], [0, 1]]]
    publish: {interval: 5s}
    heartbeat: 2m
    max_payload: 2K
    detail: coarse
    threads: 2
    priority: -3
    preprocess: {resize: stretch}
    nms: {iou: 0.4}
  plain: {source: shapes, model: packed}
"""

Make = Callable[[str], Path]


@pytest.fixture
def make(tmp_path: Path) -> Make:
    """Writes a configuration into a folder with the shipped models, credentials and a store with one package."""
    shutil.copytree(SHIPPED, tmp_path / "models")  # models are not opened through links
    for name in ("mqtt.pass", "cam.pass"):
        (tmp_path / name).write_text("hunter2\n")
        (tmp_path / name).chmod(0o600)
    shutil.copytree(MODEL, tmp_path / "state" / "models" / "face-detect" / "1.0.0")

    def written(text: str) -> Path:
        path = tmp_path / "config.yaml"
        path.write_text(text)
        return path

    return written


def plan_of(path: Path) -> Plan:
    compiled = compile_config(path)
    assert compiled.problems == ()
    assert compiled.plan is not None
    return compiled.plan


def sources_of(plan: Plan) -> dict[str, SourcePlan]:
    return {source.name: source for source in plan.sources}


@pytest.mark.parametrize(
    ("section", "pause"),
    [
        ('{kind: http, url: "http://cam/snap.jpg", snapshot: 60s}', 65.0),
        ('{kind: http, url: "http://cam/stream", fps: 0.1}', 15.0),
        ("{kind: v4l2, device: /dev/video0}", 0.0),
        ("{kind: mqtt, topic: yard/wind, columns: [speed]}", 0.0),  # may be silent for ever
        ("{kind: mqtt, topic: yard/wind, columns: [speed], rate: 0.1}", 20.0),
        ("{kind: serial, device: /dev/ttyUSB0, columns: [speed], rate: 0.05}", 40.0),
        ("{kind: csv, file: wind.csv, rate: 0.1}", 20.0),
        ("{kind: csv, file: wind.csv, rate: 0.1, realtime: false}", 20.0),
        ("{kind: system, columns: [cpu], rate: 0.1}", 20.0),
        ("{kind: images, path: pictures, every: 20s, realtime: true}", 20.0),
        ("{kind: images, path: pictures, every: 20s}", 0.0),
    ],
)
def test_how_long_a_source_may_give_nothing(make: Make, tmp_path: Path, section: str, pause: float) -> None:
    (tmp_path / "pictures").mkdir(exist_ok=True)
    (tmp_path / "wind.csv").write_text("1\n")
    (source,) = plan_of(make(f"sources:\n  cam: {section}\n")).sources
    assert source.pause == pytest.approx(pause)


@pytest.mark.parametrize(
    ("section", "warning"),
    [
        ("{kind: video, file: clip.mp4}", "{folder}/clip.mp4 is empty"),
        ("{kind: images, path: pictures}", "{folder}/pictures contains no picture"),
    ],
)
def test_a_file_or_folder_without_a_picture_is_a_warning(
    make: Make, tmp_path: Path, section: str, warning: str
) -> None:
    (tmp_path / "clip.mp4").touch()
    (tmp_path / "pictures").mkdir()
    (tmp_path / "pictures/notes.txt").write_text("nothing to see")
    compiled = compile_config(make(f"sources:\n  cam: {section}\n"))
    assert compiled.problems == ()
    assert warning.format(folder=tmp_path) in [each.text for each in compiled.warnings]


def test_a_pattern_for_all_folders_also_matches_in_the_first_and_in_deeper_ones(make: Make, tmp_path: Path) -> None:
    config = make("sources:\n  cam: {kind: images, path: 'pictures/**/*.png'}\n")
    (tmp_path / "pictures" / "a" / "b").mkdir(parents=True)
    for place in ("pictures", "pictures/a/b"):
        picture = tmp_path / place / "1.png"
        picture.touch()
        assert compile_config(config).problems == ()
        picture.unlink()


def test_the_whole_becomes_a_plan(make: Make, tmp_path: Path) -> None:
    plan = plan_of(make(GOOD))
    assert (plan.device, plan.state_dir) == ("gate-3", str(tmp_path / "state"))
    assert (plan.mqtt.port, plan.mqtt.topic, plan.mqtt.client_id) == (1883, "site/edge/gate-3", "edge-infer-gate-3")
    assert plan.mqtt.password_file == str(tmp_path / "mqtt.pass")
    first, second = plan.pipelines
    assert (first.fps, first.threshold, first.labels, first.max_payload, first.threads) == (5, 0.6, ("face",), 2048, 2)
    assert first.detail == "coarse"
    assert (first.publish, first.interval, first.heartbeat, first.priority) == ("interval", 5.0, 120.0, -3)
    assert first.mask == (((0, 0), (0.3, 0), (0.3, 1), (0, 1)),)
    assert (first.model.input.resize, first.model.nms, first.model.threshold) == ("stretch", NmsPlan(0.4, 100), 0.6)
    assert (second.publish, second.heartbeat, second.threshold, second.top_k) == ("change", 60.0, 0.5, 5)
    assert second.priority == 0
    assert (second.model.input.resize, second.model.title) == ("letterbox", "face-detect@1.0.0")
    assert second.model.path == str(tmp_path / "state/models/face-detect/1.0.0/face_full_range_int8.tflite")


@pytest.mark.parametrize(
    ("source", "preprocess", "scaling"),
    [
        ("shapes", "{}", "fast"),
        ("clip", "{}", "fast"),
        ("folder", "{}", "exact"),
        ("page", "{}", "exact"),
        ("shapes", "{scaling: exact}", "exact"),
        ("folder", "{scaling: fast}", "fast"),
    ],
)
def test_single_pictures_are_scaled_exactly_and_streams_fast(
    make: Make, source: str, preprocess: str, scaling: str
) -> None:
    text = GOOD.replace(
        "{source: shapes, model: packed}", f"{{source: {source}, model: packed, preprocess: {preprocess}}}"
    )
    found = plan_of(make(text)).pipelines[1].model.input
    assert isinstance(found, InputPlan)
    assert found.scaling == scaling


def test_sources_get_the_options_of_their_kind(make: Make, tmp_path: Path) -> None:
    sources = sources_of(plan_of(make(GOOD)))
    door = sources["door"]
    assert (door.fps, door.rotate, door.flip, door.live, door.network) == (15, 90, "vertical", True, False)
    assert door.options == {"device": "/dev/video0", "width": 640, "height": 480, "fps": 15}
    assert sources["yard"].network
    assert sources["yard"].options["password_file"] == str(tmp_path / "cam.pass")
    assert sources["user"].options == {
        "url": "rtsp://cam:8554/stream?x=1",
        "username": "a b",
        "transport": "udp",
    }
    assert sources["page"].options["snapshot"] == 5.0
    assert sources["pipe"].options["command"] == ["cat", "0777", "on"]
    assert not sources["clip"].live
    assert sources["clip"].options["file"] == str(tmp_path / "models/demo/faces.mp4")
    assert sources["folder"].options["every"] == 0.5
    assert sources["shapes"].options["seed"] == 7


def test_a_plan_crosses_a_wall_and_comes_back_the_same(make: Make) -> None:
    compiled = compile_config(make(GOOD))
    assert decode_json(Compiled, dumps(compiled)) == compiled


def test_secrets_are_nowhere(make: Make, caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]) -> None:
    caplog.set_level(logging.DEBUG)
    path = make(GOOD)
    compiled = compile_config(path)
    config, _ = validate(read_document(path, os.environ), Config)
    seen = [repr(compiled), str(encode(compiled)), repr(config), caplog.text, *capfd.readouterr()]
    assert not any("hunter2" in text for text in seen)


def test_the_least_configuration(make: Make) -> None:
    plan = plan_of(make("mqtt:\n  # host: broker.lan\n"))
    assert (plan.mqtt.host, plan.mqtt.port, plan.mqtt.tls) == ("127.0.0.1", 1883, None)
    assert (plan.device, plan.pipelines) == (default_device_id(), ())
    assert plan.state_dir == str(default_state_dir())


def test_tls_changes_the_default_port(make: Make) -> None:
    plan = plan_of(make("mqtt: {tls: true}\n"))
    assert plan.mqtt.port == 8883
    assert plan.mqtt.tls is not None
    assert plan_of(make("mqtt: {tls: false}\n")).mqtt.tls is None


def test_environment_variables_are_filled_in(make: Make) -> None:
    path = make("mqtt:\n  host: ${BROKER}\n  port: ${PORT}\n")
    compiled = compile_config(path, environment={"BROKER": "b.lan", "PORT": "1234"})
    assert compiled.plan is not None
    assert (compiled.plan.mqtt.host, compiled.plan.mqtt.port) == ("b.lan", 1234)
    wrong = compile_config(path, environment={"BROKER": "b.lan", "PORT": "hunter2"})
    assert [str(problem) for problem in wrong.problems] == [
        f"{path}:3: mqtt.port: expected a whole number between 1 and 65535, not ${{PORT}}"
    ]


@pytest.mark.parametrize(
    ("change", "path", "told"),
    [
        (
            ("labels: [face]", "labels: [fase]"),
            "pipelines.door-faces.labels[0]",
            'the model has no label "fase"; did you mean "face"?',
        ),
        (
            ("threads: 2", "top_k: 3"),
            "pipelines.door-faces.top_k",
            "belongs to models of task classification; face-detect@1.0.0 is one of task detection",
        ),
        (
            ("{resize: stretch}", "{color: gray}"),
            "pipelines.door-faces.preprocess.color",
            "the model's input is rgb: it has colours",
        ),
        (
            ("{resize: stretch}", "{overlap: 0.2}"),
            "pipelines.door-faces.preprocess.overlap",
            "does nothing without tiles; for example tiles: 2x2",
        ),
    ],
)
def test_pipelines_are_checked_against_their_model(change: tuple[str, str], path: str, told: str, make: Make) -> None:
    (problem,) = compile_config(make(GOOD.replace(*change))).problems
    assert (problem.path, problem.text, problem.outside) == (path, told, False)


def test_tiles_are_a_part_of_the_plan(make: Make) -> None:
    for written, tiles, overlap in (
        ("{tiles: 3x2, overlap: 0.25}", (3, 2), 0.25),
        ("{tiles: 2x2}", (2, 2), 0.1),
        ("{resize: crop}", (1, 1), 0.0),
    ):
        plan = plan_of(make(GOOD.replace("{resize: stretch}", written)))
        found = plan.pipelines[0].model.input
        assert isinstance(found, InputPlan)
        assert (found.tiles, found.overlap) == (tiles, overlap)
        assert decode_json(Plan, dumps(plan)) == plan


def test_tiles_are_for_detection_only(make: Make, assets: Path) -> None:
    text = (
        f"models: {{m: {{file: {assets}/models/movenet_single_pose_lightning_ptq.tflite}}}}\n"
        "sources: {s: {kind: synthetic}}\npipelines:\n"
        "  p: {source: s, model: m, preprocess: {tiles: 2x2}, nms: {max: 3}}\n"
    )
    (problem,) = compile_config(make(text)).problems
    assert problem.path == "pipelines.p.preprocess.tiles"
    assert problem.text == "belongs to models of task detection; movenet_single_pose_lightning_ptq is one of task pose"


def test_what_is_missing_lies_outside_the_file(make: Make, tmp_path: Path) -> None:
    path = make(GOOD)
    (tmp_path / "mqtt.pass").unlink()
    (tmp_path / "cam.pass").write_text("\n")
    shutil.rmtree(tmp_path / "state")
    problems = compile_config(path).problems
    store = f"there is no {tmp_path}/state/models/face-detect/1.0.0: the store has no face-detect@1.0.0"
    more = "edge-infer models list shows its packages, models add PATH and models pull NAME add more"
    # the password file is not named: somebody may have written the password itself there
    assert [str(problem) for problem in problems] == [
        f"{path}:5: mqtt.password_file: this file does not exist; relative paths begin at {tmp_path}",
        f"{path}:9: models.packed.use: {store}; {more}",
        f"{path}:12: sources.yard.password_file: this file is empty; expected the password",
    ]
    assert all(problem.outside for problem in problems)


def test_a_missing_file_that_is_a_credential_of_the_service_is_told(
    make: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path, drop_ins = make(GOOD), tmp_path / "edge-infer.service.d"
    (tmp_path / "mqtt.pass").unlink()
    drop_ins.mkdir()
    monkeypatch.setattr(named_files, "_DROP_INS", drop_ins)
    monkeypatch.delenv("CREDENTIALS_DIRECTORY", raising=False)

    def told() -> str:
        (problem,) = compile_config(path).problems
        assert problem.path == "mqtt.password_file"
        return problem.text

    missing = f"this file does not exist; relative paths begin at {tmp_path}"
    hint = (
        "; it seems to be a credential, which only the service and the commands in its place get (check, doctor): this "
        "command needs the plain file there while it runs"
    )
    (drop_ins / "box.conf").write_text("[Service]\nLoadCredential=other-01234567:/etc/edge-infer/other.pass\n")
    assert told() == missing
    for name in ("mqtt.pass", credential_name(str(tmp_path / "mqtt.pass"))):
        (drop_ins / "box.conf").write_text(f"[Service]\nLoadCredentialEncrypted={name}:/etc/credstore.encrypted/x\n")
        assert told() == missing + hint
    monkeypatch.setenv("CREDENTIALS_DIRECTORY", str(tmp_path / "credentials"))
    assert told() == missing, "the service itself"
    monkeypatch.delenv("CREDENTIALS_DIRECTORY")
    path.write_text(GOOD.replace("mqtt.pass", "/run/credentials/edge-infer.service/mqtt.pass"))
    assert told() == missing + hint


def test_a_missing_package_that_the_program_has_is_named_with_its_place(tmp_path: Path) -> None:
    package = tmp_path / "share" / "models" / "face-detect" / "1.0.0"
    package.mkdir(parents=True)
    bundled = (str(tmp_path / "share" / "models"),)
    assert "models pull NAME add more" in not_in_store("/state/models/x", "face-detect@1.0.0", bundled)
    (package / "manifest.yaml").write_text("")
    assert not_in_store("/state/models/x", "face-detect@1.0.0", bundled) == (
        "there is no /state/models/x: the store has no face-detect@1.0.0; the program has this package, to add it: "
        f"sudo edge-infer models add {package}"
    )
    assert "models pull NAME add more" in not_in_store("/state/models/x", "face-detect@2.0.0", bundled)


def test_faults_of_a_manifest_are_told_with_their_lines(make: Make, tmp_path: Path) -> None:
    manifest = tmp_path / "state/models/face-detect/1.0.0/manifest.yaml"
    manifest.write_text(manifest.read_text().replace("threshold: 0.5", "treshold: 0.5").replace("rgb", "red"))
    problems = compile_config(make(GOOD)).problems
    assert [(problem.path, problem.text) for problem in problems] == [
        ("models.packed.use", f'{manifest}:8: input.color: expected one of rgb, bgr, gray, not "red"'),
        ("models.packed.use", f'{manifest}:9: treshold: is not known here; did you mean "threshold"?'),
    ]


def test_a_secret_for_everybody_is_a_warning(make: Make, tmp_path: Path) -> None:
    path = make(GOOD)
    (tmp_path / "mqtt.pass").chmod(0o644)
    compiled = compile_config(path)
    assert compiled.plan is not None
    (warning,) = (each for each in compiled.warnings if each.path == "mqtt.password_file")
    assert str(warning) == (
        f"{path}:5: mqtt.password_file: every user of this machine can read this file; "
        f"chgrp {grp.getgrgid(os.getegid()).gr_name} {tmp_path}/mqtt.pass && chmod 640 {tmp_path}/mqtt.pass"
    )


def test_a_blank_in_a_password_and_an_old_copy_of_systemd_are_warnings(
    make: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = make(GOOD)
    secret, copies = tmp_path / "mqtt.pass", tmp_path / "credentials"

    def warning() -> str:
        (found,) = (each.text for each in compile_config(path).warnings if each.path == "mqtt.password_file")
        return found

    secret.write_text("hunter2 \n")
    assert warning() == "the password in this file begins or ends with a space, which is part of the password"
    secret.write_text("hunter2\n")
    copies.mkdir()
    shutil.copy(secret, copies)
    os.utime(copies / "mqtt.pass", (0, 0))
    monkeypatch.setenv("CREDENTIALS_DIRECTORY", str(copies))
    assert warning().startswith("the service uses an older copy of this file (LoadCredential)")
    assert warning().endswith("to update the copy, run: systemctl restart edge-infer")


def test_a_model_of_the_installed_program_keeps_its_path_through_upgrades(tmp_path: Path) -> None:
    """``/opt/edge-infer/share`` and ``current`` are links of the installer."""
    versions = tmp_path / "versions"
    for name in ("one", "two"):
        (versions / name / "share/models").mkdir(parents=True)
        (tmp_path / "current").unlink(missing_ok=True)
        (tmp_path / "current").symlink_to(f"versions/{name}")
        if name == "one":
            (tmp_path / "share").symlink_to("current/share")
        assert installed_models(versions / name) == (str(tmp_path / "share/models"),)
    assert installed_models(versions / "one") == (), "another version than the one that runs"
    assert installed_models(tmp_path) == ()


def test_what_nobody_uses_is_a_warning(make: Make) -> None:
    compiled = compile_config(make(GOOD.replace("models:", "models:\n  idle: {use: face-detect@1.0.0}", 1)))
    assert compiled.plan is not None
    told = {warning.path: warning.text for warning in compiled.warnings}
    assert told["models.idle"] == "no pipeline uses this model"
    unused = "no pipeline uses this source; the daemon opens it anyway"
    assert [path.removeprefix("sources.") for path, text in told.items() if text == unused] == [
        *("yard", "user", "page", "pipe", "clip", "folder")
    ]
    assert {path for path in told if told[path] != unused} == {"models.idle", "mqtt"}


def test_classes_that_go_by_number_are_a_warning(make: Make, assets: Path) -> None:
    text = (
        f"models: {{m: {{file: {assets}/models/vww_96_int8.tflite}}}}\n"
        "sources: {s: {kind: synthetic}}\npipelines: {p: {source: s, model: m}}\nmqtt: {host: localhost}\n"
    )
    (warning,) = compile_config(make(text)).warnings
    assert (warning.path, warning.text) == ("models.m", "its classes have no names, so results use numbers; add labels")
    assert compile_config(make(text.replace(".tflite}", ".tflite, labels: [empty, person]}"))).warnings == ()


@pytest.mark.parametrize(("pipelines", "fit"), [(100, True), (130, False)])
def test_labels_that_are_too_large_for_a_plan_name_their_model(
    make: Make, assets: Path, tmp_path: Path, pipelines: int, *, fit: bool
) -> None:
    (tmp_path / "long.txt").write_text("".join(f"{number:x<128}\n" for number in range(1001)))
    text = (
        f"models: {{m: {{file: {assets}/models/mobilenet_v1_0.25_128_quant.tflite, labels: {tmp_path}/long.txt}}}}\n"
        "sources: {s: {kind: synthetic}}\npipelines:\n"
    ) + "".join(f"  p{number}: {{source: s, model: m}}\n" for number in range(pipelines))
    compiled = compile_config(make(text))
    assert (compiled.plan is not None) == fit, compiled.problems
    if fit:
        assert len(dumps(compiled)) < MAX_PLAN_BYTES
    else:
        (problem,) = compiled.problems
        assert (problem.path, problem.line) == ("models.m", 1)
        assert "the limit is 15728640; most are those of this model: name fewer or shorter labels" in problem.text


def test_certificates_are_opened(make: Make, tmp_path: Path) -> None:
    for name in ("a", "b"):
        subprocess.run(
            [
                *("openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-subj", f"/CN={name}", "-days", "1"),
                *("-keyout", f"{tmp_path}/{name}.key", "-out", f"{tmp_path}/{name}.pem"),
            ],
            check=True,
            capture_output=True,
        )
    (tmp_path / "text").write_text("no certificate\n")

    def told(tls: str) -> list[str]:
        return [problem.path for problem in compile_config(make(f"mqtt: {{tls: {{{tls}}}}}\n")).problems]

    assert told("ca_file: a.pem, cert_file: a.pem, key_file: a.key") == []
    assert told("ca_file: text") == ["mqtt.tls.ca_file"]
    assert told("cert_file: a.pem, key_file: b.key") == ["mqtt.tls.key_file"]
    assert told("cert_file: a.pem") == ["mqtt.tls.cert_file"]
    assert told("ca_file: none, cert_file: none.pem, key_file: a.key") == ["mqtt.tls.ca_file", "mqtt.tls.cert_file"]


def test_check_writes_nothing_and_the_daemon_keeps_copies(make: Make, tmp_path: Path) -> None:
    path = make(GOOD)
    before = sorted(tmp_path.rglob("*"))
    plan_of(path)
    assert sorted(tmp_path.rglob("*")) == before
    kept = compile_config(path, store=True).plan
    assert kept is not None
    for model in kept.models():
        assert Path(model.path) == tmp_path / "state" / "blobs" / f"{model.sha256}.tflite"
        assert Path(model.path).is_file()


def test_no_copy_is_made_of_a_model_that_no_pipeline_has(make: Make, tmp_path: Path) -> None:
    path = make(GOOD.replace("model: packed}", "model: faces}").replace("  packed:", "  spare:"))
    spare = tmp_path / "state" / "models" / "face-detect" / "1.0.0" / "face_full_range_int8.tflite"
    spare.write_bytes(spare.read_bytes() + bytes(16))
    manifest = spare.with_name("manifest.yaml")
    digest = hashlib.sha256(spare.read_bytes()).hexdigest()
    manifest.write_text(re.sub("^sha256:.*$", f"sha256: {digest}", manifest.read_text(), flags=re.MULTILINE))
    compiled = compile_config(path, store=True)
    assert compiled.problems == ()
    assert {each.name for each in (tmp_path / "state" / "blobs").iterdir()} == {
        f"{hashlib.sha256((MODEL / spare.name).read_bytes()).hexdigest()}.tflite"
    }


def test_reading_a_file_that_is_broken_loads_no_numpy(make: Make) -> None:
    """It takes a third of the time that the reading takes until then."""
    code = (
        "import sys; from pathlib import Path; from edge_infer.config.compile.compile import compile_config\n"
        "assert compile_config(Path(sys.argv[1])).problems; print('numpy' in sys.modules, 'yaml' in sys.modules)"
    )
    command = [sys.executable, "-c", code, str(make("mqtt: {prot: 1}\n"))]
    assert subprocess.run(command, capture_output=True, text=True, check=True).stdout == "False True\n"


def test_the_child_prints_one_object(make: Make, tmp_path: Path) -> None:
    def child(path: Path) -> tuple[int, Compiled]:
        command = [sys.executable, "-m", "edge_infer.config", str(path)]
        done = subprocess.run(command, capture_output=True, check=False, timeout=120)
        return done.returncode, decode_json(Compiled, done.stdout)

    code, compiled = child(make(GOOD))
    assert (code, compiled) == (0, compile_config(tmp_path / "config.yaml"))
    code, compiled = child(make("mqtt: {prot: 1}\n"))
    assert (code, compiled.plan, len(compiled.problems)) == (2, None, 1)
    code, compiled = child(tmp_path / "none.yaml")
    assert (code, compiled.plan, len(compiled.problems)) == (2, None, 1)


PLUGIN = """\
from dataclasses import dataclass


@dataclass(frozen=True)
class Options:
    channel: int
    mode: str = "fast"


class Thermal:
    gives = "image"
    noisy = True
    live = True
    network = False
    lossless = False
    Options = Options

    def __init__(self, options):
        self.options = options
"""


@pytest.mark.parametrize("built_in", [False, True], ids=["of another package", "one file and one entry of the table"])
def test_a_new_kind(make: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, *, built_in: bool) -> None:
    site = tmp_path / "site"
    info = site / "thermal-1.0.dist-info"
    info.mkdir(parents=True)
    (site / "thermal_camera.py").write_text(PLUGIN)
    if built_in:
        monkeypatch.setitem(cast("dict[str, str]", SOURCES), "thermal", "thermal_camera:Thermal")
    else:
        (info / "METADATA").write_text("Metadata-Version: 2.1\nName: thermal\nVersion: 1.0\n")
        (info / "entry_points.txt").write_text("[edge_infer.sources]\nthermal = thermal_camera:Thermal\n")
    monkeypatch.syspath_prepend(str(site))
    monkeypatch.setenv("PYTHONPATH", str(site))  # its code runs in a child
    (source,) = plan_of(make("sources:\n  t: {kind: thermal, channel: 2, fps: 3, rotate: 180}\n")).sources
    assert (source.options, source.fps, source.rotate, source.live) == ({"channel": 2}, 3, 180, True)
    assert source.target == "thermal_camera:Thermal"
    assert "thermal_camera" not in sys.modules
    path = make("sources:\n  a: {kind: thermal, chanel: 2}\n  b: {kind: thermal, channel: x}\n")
    assert [str(problem) for problem in compile_config(path).problems] == [
        f'{path}:2: sources.a.chanel: is not known here; did you mean "channel"?',
        f"{path}:2: sources.a.channel: is missing",
        f"{path}:3: sources.b.channel: expected `int`, got `str`",
    ]


@pytest.mark.parametrize(
    ("environment", "uid", "expected"),
    [
        ({"STATE_DIRECTORY": "/run/x:/run/y"}, 0, "/run/x"),
        ({"XDG_STATE_HOME": "/home/a/.state"}, 0, "/var/lib/edge-infer"),
        ({"XDG_STATE_HOME": "/home/a/.state"}, 1000, "/home/a/.state/edge-infer"),
        ({"HOME": "/home/a"}, 1000, "/home/a/.local/state/edge-infer"),
    ],
)
def test_the_default_state_directory(environment: dict[str, str], uid: int, expected: str) -> None:
    assert str(default_state_dir(environment, uid)) == expected


@pytest.mark.parametrize(
    ("host", "name"), [("gate-3.lan", "gate-3"), ("a b", "a-b"), ("-x", "x"), ("ü", "edge"), ("q" * 99, "q" * 64)]
)
def test_the_default_device_id(host: str, name: str) -> None:
    assert default_device_id(host) == name


def test_the_digest_is_of_the_bytes_whatever_they_are(make: Make) -> None:
    path = make("mqtt: {prot: 1}\n")
    digest = subprocess.run(["sha256sum", str(path)], capture_output=True, text=True, check=True).stdout.split()[0]
    assert compile_config(path).digest == digest
    assert json.loads(dumps(compile_config(path)))["digest"] == digest


def test_there_are_no_more_readers_than_a_supervisor_can_watch(tmp_path: Path) -> None:
    file, cameras = tmp_path / "config.yaml", [f"  c{n}: {{kind: v4l2, device: /dev/video{n}}}\n" for n in range(65)]
    begin = f"device: {{state_dir: {tmp_path}}}\nmqtt: {{host: broker.lan}}\nmodels: {{}}\npipelines: {{}}\nsources:\n"
    file.write_text(begin + "".join(cameras))
    found = [str(problem) for problem in compile_config(file).problems]
    text = (
        "sources: 65 of them need a process each (cameras, streams, devices), which is too many for one device; at most"
    )
    assert found == [f"{file}:5: {text} 64"]
    file.write_text(begin + "".join(cameras[1:]))
    assert compile_config(file).problems == ()


class Noting(Probe):
    """Notes which models are tried."""

    def __init__(self) -> None:
        super().__init__()
        self.tried: list[str] = []

    def _tried(self, request: ModelRequest, checked: CheckedPackage, store: Path | None, seconds: float) -> Resolution:
        self.tried.append(request.name)
        return super()._tried(request, checked, store, seconds)


def test_for_a_broken_file_no_model_is_tried_that_serves_as_it_is(make: Make, tmp_path: Path) -> None:
    def tried(text: str, *, store: bool = True) -> list[str]:
        with Noting() as child:
            assert compile_config(make(text), store=store, probe=child).plan is None
            return child.tried

    assert compile_config(make(GOOD), store=True).plan is not None
    broken = f"{GOOD}nonsense: 1\n"
    assert tried(broken) == []
    assert tried(broken, store=False) == ["faces", "packed"]  # who asks whether a file is right hears everything
    assert tried(broken.replace("int8.tflite}", "int8.tflite, labels: [visage]}")) == ["faces"]
    model = tmp_path / "models/face-detect/1.0.0/face_full_range_int8.tflite"
    model.write_bytes(model.read_bytes() + b"\0")
    assert tried(broken) == []  # its digest is another than the manifest's, which is seen before anybody tries it
    assert any("its SHA-256 is" in str(each) for each in compile_config(make(broken), store=True).problems)


def test_a_model_is_tried_again_once_anything_about_it_is_another(make: Make, tmp_path: Path) -> None:
    def tried(text: str, *, store: bool = True) -> list[str]:
        with Noting() as child:
            assert compile_config(make(text), store=store, probe=child).plan is not None
            return child.tried

    assert tried(GOOD) == ["faces", "packed"]
    assert tried(GOOD) == []
    assert tried(GOOD, store=False) == ["faces", "packed"]
    manifest = tmp_path / "models/face-detect/1.0.0/manifest.yaml"
    manifest.write_text(manifest.read_text() + "# another word\n")
    assert tried(GOOD) == ["faces"]
    for copy in (tmp_path / "state/blobs").glob("*.tflite"):
        copy.unlink()
    assert tried(GOOD) == ["faces"]  # no pipeline has the other one, so that there is no copy of it
    (tmp_path / "state/trials/tried.json").write_text("{")
    assert tried(GOOD) == ["faces", "packed"]


def test_what_a_pipeline_overrules_in_a_model_does_not_outlast_it(make: Make) -> None:
    text = GOOD.replace("model: packed}", "model: packed, threshold: 0.93}")
    overruled, plain = (compile_config(make(each), store=True).plan for each in (text, GOOD))
    assert overruled is not None
    assert plain is not None
    thresholds = [(each.threshold, each.model.threshold) for each in (overruled.pipelines[1], plain.pipelines[1])]
    assert thresholds[0] == (0.93, 0.93)
    assert 0.93 not in thresholds[1]


@pytest.mark.parametrize("named", ["mqtt.pass", "config.yaml"])
@pytest.mark.parametrize("linked", [False, True])
def test_a_model_names_no_secret_and_no_configuration_as_its_file(
    make: Make, tmp_path: Path, linked: bool, named: str
) -> None:
    """Its first line would be a label, and published."""
    path = make(GOOD.replace("models:\n", "models:\n  thief: {file: thief.tflite}\n"))
    shutil.copyfile(MODEL / "face_full_range_int8.tflite", tmp_path / "thief.tflite")
    if linked:
        os.link(tmp_path / named, tmp_path / "names.txt")
    (tmp_path / "thief.yaml").write_text(f"labels: {'names.txt' if linked else named}\n")
    found = [str(problem) for problem in compile_config(path).problems]
    assert len(found) == 1
    assert "is the configuration or one of its secrets, not a file of a model" in found[0]


@pytest.mark.parametrize("named", ["mqtt.pass", "config.yaml"])
@pytest.mark.parametrize("linked", [False, True])
def test_no_labels_of_the_configuration_are_a_secret(make: Make, tmp_path: Path, linked: bool, named: str) -> None:
    if linked:
        (tmp_path / "names.txt").symlink_to(tmp_path / named)
    labels = "names.txt" if linked else named
    path = make(GOOD.replace("models:\n", f"models:\n  thief: {{file: thief.tflite, labels: {labels}}}\n"))
    shutil.copyfile(MODEL / "face_full_range_int8.tflite", tmp_path / "thief.tflite")
    (found,) = compile_config(path).problems
    assert found.path == "models.thief.labels"
    assert found.text.endswith(
        "is the configuration or one of its secrets, not a file of a model; name another file as labels"
    )


@pytest.mark.parametrize("named", ["device.key", "device.crt", "mqtt.pass"])
@pytest.mark.parametrize("link", [None, os.link, os.symlink])
def test_a_model_names_no_original_of_a_credential(
    make: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, named: str, link: Callable[[Path, Path], None] | None
) -> None:
    """The service reads the copies of systemd, and the files themselves are still in the configuration's folder."""
    command = ["openssl", "req", "-x509", "-nodes", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256"]
    names = ["-subj", "/CN=box", "-keyout", tmp_path / "device.key", "-out", tmp_path / "device.crt"]
    subprocess.run([*command, *names], check=True, capture_output=True)
    tls = "tls: {cert_file: device.crt, key_file: device.key}"
    text = GOOD.replace("models:\n", "models:\n  thief: {file: thief.tflite}\n")
    path = make(text.replace("password_file: mqtt.pass", f"password_file: mqtt.pass\n  {tls}"))
    copies = tmp_path / "credentials"
    copies.mkdir()
    for name in ("device.key", "device.crt", "mqtt.pass"):
        shutil.copy(tmp_path / name, copies / credential_name(str(tmp_path / name)))
    monkeypatch.setenv("CREDENTIALS_DIRECTORY", str(copies))
    shutil.copyfile(MODEL / "face_full_range_int8.tflite", tmp_path / "thief.tflite")
    if link:
        link(tmp_path / named, tmp_path / "names.txt")
    (tmp_path / "thief.yaml").write_text(f"labels: {'names.txt' if link else named}\n")
    (found,) = compile_config(path).problems
    assert "is the configuration or one of its secrets, not a file of a model" in found.text


def test_an_answer_that_somebody_has_planted_is_not_believed(make: Make, tmp_path: Path) -> None:
    def labels() -> tuple[str, ...]:
        plan = compile_config(make(GOOD), store=True).plan
        assert plan is not None
        return plan.pipelines[0].model.labels

    assert labels() == ("face",)
    path = tmp_path / "state/trials/tried.json"
    tried = decode_json(Tried, path.read_bytes())
    path.write_bytes(dumps(Tried(tuple(replace(each, labels=("the-password",)) for each in tried.plans))))
    assert labels() == ("face",)
    assert b"the-password" not in path.read_bytes()


PLAIN = "the password and all results go to broker.lan unencrypted: set mqtt.tls, or keep the broker in its own network"


@pytest.mark.parametrize(
    ("mqtt", "expected"),
    [
        ("host: broker.lan, username: u, password_file: mqtt.pass", PLAIN),
        ("host: broker.lan", PLAIN.replace("the password and all", "all")),
        ("host: broker.lan, username: u, password_file: mqtt.pass, tls: true", None),
        *(
            (f"host: {host}, username: u, password_file: mqtt.pass", None)
            for host in ("localhost", "127.0.0.2", "'::1'")
        ),
    ],
)
def test_what_crosses_a_network_unencrypted_is_a_warning(make: Make, tmp_path: Path, mqtt: str, expected: str) -> None:
    path = make(f"mqtt: {{{mqtt}}}\nsources: {{s: {{kind: synthetic}}}}\n")
    (tmp_path / "mqtt.pass").touch(0o600)
    (tmp_path / "mqtt.pass").write_text("word")
    told = {warning.path: warning.text for warning in compile_config(path).warnings}
    assert told.get("mqtt") == expected


def test_a_password_of_a_camera_that_goes_unencrypted_is_a_warning(make: Make, tmp_path: Path) -> None:
    secret = "username: u, password_file: mqtt.pass"
    path = make(
        "sources:\n"
        f"  plain: {{kind: rtsp, url: 'rtsp://cam.lan/a', {secret}}}\n"
        f"  encrypted: {{kind: http, url: 'https://cam.lan/a', {secret}}}\n"
        "  free: {kind: http, url: 'http://cam.lan/a'}\n"
        f"  sensor: {{kind: mqtt, host: broker.lan, topic: a, {secret}}}\n"
        f"  here: {{kind: rtsp, url: 'rtsp://127.0.0.1/a', {secret}}}\n"
    )
    (tmp_path / "mqtt.pass").touch(0o600)
    (tmp_path / "mqtt.pass").write_text("word")
    compiled = compile_config(path)
    assert compiled.problems == ()
    told = {each.path: each.text for each in compiled.warnings if "unencrypted" in each.text}
    assert told == {
        "sources.plain": "the password goes to cam.lan unencrypted: use its encrypted address, or keep it in its own network",  # noqa: E501
        "sources.sensor": "the password goes to broker.lan unencrypted: set tls, or keep it in its own network",
    }
