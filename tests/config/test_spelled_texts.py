"""The value of an environment variable is in no message about a configuration, and in no error of a source."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest

from edge_infer.config.compile.compile import compile_config
from edge_infer.plan.records import Compiled
from tests.readers.conftest import free_port
from tests.readers.rig import Rig

MODEL = Path(__file__).parents[2] / "models/face-detect/1.0.0/face_full_range_int8.tflite"
TOKEN = "s3cr3tVALUE"


def compiled_text(folder: Path, text: str, token: str = TOKEN) -> Compiled:
    (folder / "config.yaml").write_text(f"{text}\n")
    return compile_config(folder / "config.yaml", environment={"TOK": token})


@pytest.mark.parametrize(
    "text",
    [
        'models: {m: {file: "models/${TOK}"}}',
        "models: {m: {file: model.tflite, labels: '${TOK}'}}",
        "models: {m: {use: '${TOK}@1.0.0'}}",
        "sources: {s: {kind: video, file: '${TOK}.mp4'}}",
        "sources: {s: {kind: video, file: '/nowhere/${TOK}'}}",
        "sources: {s: {kind: images, path: '${TOK}/*.jpg'}}",
        "sources: {s: {kind: synthetic, images: ['${TOK}.png']}}",
        "sources: {s: {kind: exec, command: ['./${TOK}'], size: 64x48}}",
        "sources: {s: {kind: exec, command: ['${TOK}'], size: 64x48}}",
        "sources: {s: {kind: csv, file: '${TOK}', rate: 1}}",
        "sources: {s: {kind: rtsp, url: 'rtsps://h/x', tls: {ca_file: '${TOK}.pem'}}}",
        "security: {require_signature: true, keys: '${TOK}'}",
        "mqtt: {tls: {ca_file: '${TOK}.pem'}}",
        "mqtt: {host: '${TOK}', username: u, password_file: pass}",
        "sources: {s: {kind: mqtt, topic: a, host: '${TOK}', username: u, password_file: pass}}",
        "sources: {s: {kind: http, url: 'http://${TOK}/x', username: u, password_file: pass}}",
    ],
)
def test_no_problem_and_no_warning_shows_it(tmp_path: Path, text: str) -> None:
    shutil.copyfile(MODEL, tmp_path / "model.tflite")
    (tmp_path / "pass").write_text("word")
    (tmp_path / "pass").chmod(0o600)
    found = compiled_text(tmp_path, text)
    said = "\n".join([*map(str, found.problems), *map(str, found.warnings), *(each.reason for each in found.unfit)])
    assert "${TOK}" in said
    assert TOKEN.lower() not in said.lower()


def test_words_of_a_message_stay(tmp_path: Path) -> None:
    (found,) = compiled_text(tmp_path, "sources: {s: {kind: video, file: '${TOK}'}}", "a").problems
    assert found.text == f"{tmp_path}/${{TOK}} does not exist"
    (found,) = compiled_text(tmp_path, "sources: {s: {kind: video, file: '${TOK}'}}", "exist").problems
    assert found.text.startswith(f"{tmp_path}/${{TOK}} does not ")


@pytest.mark.parametrize("value", ["", ".", "/"])
def test_the_folder_of_the_configuration_is_no_value(tmp_path: Path, value: str) -> None:
    text = "mqtt: {username: '${TOK}'}\nsources: {s: {kind: video, file: gone.mp4}}"
    texts = [problem.text for problem in compiled_text(tmp_path, text, value).problems]
    assert f"{tmp_path}/gone.mp4 does not exist" in texts


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("{kind: http, url: 'http://127.0.0.1:PORT/${TOK}/x.jpg', snapshot: 1s}", "http://127.0.0.1:PORT/${TOK}/x.jpg"),
        ("{kind: http, url: 'http://127.0.0.1:PORT/x.jpg?key=${TOK}', snapshot: 1s}", "http://127.0.0.1:PORT/x.jpg"),
        ("{kind: http, url: 'http://127.0.0.1:PORT/${TOK}'}", "http://127.0.0.1:PORT/${TOK} "),
        ("{kind: rtsp, url: 'rtsp://127.0.0.1:PORT/${TOK}'}", "rtsp://127.0.0.1:PORT/${TOK} cannot be opened"),
        ("{kind: rtsp, url: 'rtsps://127.0.0.1:PORT/a/${TOK}?a=${TOK}'}", "rtsps://127.0.0.1:PORT/a/${TOK} cannot be"),
        ("{kind: exec, command: ['./${TOK}'], size: 64x48}", "/${TOK} ended with exit code 3"),
    ],
)
def test_no_error_of_a_source_shows_it(tmp_path: Path, text: str, told: str) -> None:
    (tmp_path / TOKEN).write_text("#!/bin/sh\nexit 3\n")
    (tmp_path / TOKEN).chmod(0o755)
    port = str(free_port())
    plan = compiled_text(tmp_path, f"sources:\n  s: {text.replace('PORT', port)}\n").plan
    assert plan is not None
    with Rig(plan.sources[0], tmp_path) as rig:
        assert told.replace("PORT", port) in (said := rig.trouble().text)
        report = rig.report(lambda each: bool(each.error)).error
    assert TOKEN not in said + report + (tmp_path / "reader.log").read_text()


def test_a_redirect_to_an_address_with_the_value(tmp_path: Path) -> None:
    plan = compiled_text(tmp_path, "sources:\n  s: {kind: http, url: 'http://h/a/${TOK}/x'}\n").plan
    assert plan is not None
    said = plan.sources[0].shown(f"http://h/a/{TOKEN}/x redirects to https://other/b/{TOKEN}/")
    assert said == "http://h/a/${TOK}/x redirects to https://other/b/${TOK}/"
    plan = compiled_text(tmp_path, "sources:\n  s: {kind: http, url: '${TOK}'}\n", f"http://h/a/{TOKEN}").plan
    assert plan is not None
    assert plan.sources[0].shown(f"http://h/a/{TOKEN} redirects to http://h/a/{TOKEN}/") == (
        "${TOK} redirects to ${TOK}/"
    )


@pytest.mark.parametrize("repeated", ["/s/{}", "/user=admin&password={}&channel=1", "/v2_{}/x"])
def test_a_camera_may_repeat_the_value_alone(repeated: str, tmp_path: Path) -> None:
    url = "rtsp://h/user=admin_password=${TOK}_channel=1.sdp"
    plan = compiled_text(tmp_path, f"sources:\n  s: {{kind: rtsp, url: '{url}'}}\n").plan
    assert plan is not None
    said = plan.sources[0].shown(f"it redirects to rtsp://h{repeated.format(TOKEN)}")
    assert said == f"it redirects to rtsp://h{repeated.format('${TOK}')}"


@pytest.mark.parametrize("repeated", ["a%2Fb%2b%3D%3d", "a/b%2B==", "a&#x2F;b&#43;&#61;=", "%61/b+=="])
def test_a_camera_may_repeat_the_value_in_another_spelling(repeated: str, tmp_path: Path) -> None:
    text = "sources:\n  s: {kind: http, url: 'http://h/${TOK}/x'}\n"
    plan = compiled_text(tmp_path, text, "a/b+==").plan
    assert plan is not None
    assert plan.sources[0].shown(f"redirects to http://h/{repeated}/y") == "redirects to http://h/${TOK}/y"


def test_a_folder_may_have_a_name_that_is_no_text(tmp_path: Path) -> None:
    folder = tmp_path / os.fsdecode(b"caf\xe9")
    folder.mkdir()
    text = "sources:\n  s: {kind: http, url: 'http://h/${TOK}/x', bogus: 1}\n"
    (problem,) = compiled_text(folder, text).problems
    assert problem.path == "sources.s.bogus"


def test_a_path_is_no_part_of_another_one(tmp_path: Path) -> None:
    plan = compiled_text(tmp_path, "sources:\n  s: {kind: http, url: 'http://h${TOK}/x'}\n", "/srv/data").plan
    assert plan is not None
    assert plan.sources[0].shown("/srv/database and /srv/data/y") == "/srv/database and ${TOK}/y"
