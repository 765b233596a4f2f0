"""``security``: what it refuses, at which line, and what it lets through; the same in ``check`` and in a reload."""

from __future__ import annotations

import hashlib
import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from edge_infer.cli import main
from edge_infer.config.compile.compile import compile_config
from edge_infer.config.compile.model_policy import read_policy
from edge_infer.config.schema.file import Security
from edge_infer.contract.codec import replace
from edge_infer.errors import StartError
from edge_infer.models.packages.versions import commit_version, highest_versions
from edge_infer.models.serving_record import remember
from edge_infer.plan.records import Compiled, Plan
from edge_infer.yamlfile.load import parse_document

SHIPPED = Path(__file__).parents[2] / "models" / "face-detect" / "1.0.0"
FILE = "face_full_range_int8.tflite"
DIGEST = hashlib.sha256((SHIPPED / FILE).read_bytes()).hexdigest()
TEXT = """\
device: {id: box, state_dir: state}
security: SECURITY
models:
  faces: MODEL
sources:
  shapes: {kind: synthetic, size: 64x48}
pipelines:
  faces: {source: shapes, model: faces}
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    shutil.copytree(SHIPPED, tmp_path / "models" / "faces")
    shutil.copyfile(SHIPPED / FILE, tmp_path / "models" / "plain.tflite")
    (tmp_path / "models" / "plain.yaml").write_text("labels: [face]\n")
    return tmp_path


def compiled(folder: Path, security: str, model: str = "{file: models/faces}", *, store: bool = False) -> Compiled:
    (folder / "config.yaml").write_text(TEXT.replace("SECURITY", security).replace("MODEL", model))
    return compile_config(folder / "config.yaml", store=store)


def told(folder: Path, security: str, model: str = "{file: models/faces}") -> str:
    """The problems, without the folder's name."""
    return "\n".join(map(str, compiled(folder, security, model).problems)).replace(f"{folder}/", "")


def plan_of(folder: Path) -> Plan:
    plan = compiled(folder, "{}", store=True).plan
    assert plan is not None
    return plan


def test_without_the_section_all_is_as_it_was(folder: Path) -> None:
    for model in ("{file: models/faces}", "{file: models/plain.tflite}"):
        assert compiled(folder, "", model).problems == ()


def test_a_digest_has_to_be_named_by_somebody(folder: Path) -> None:
    security = "{require_digest: true}"
    assert told(folder, security, "{file: models/plain.tflite}") == (
        "config.yaml:4: models.faces: models/plain.tflite: neither the configuration nor the manifest contains its "
        f"digest, and security.require_digest is true; add this to the model in the configuration: sha256: {DIGEST}"
    )
    assert compiled(folder, security, f"{{file: models/plain.tflite, sha256: {DIGEST}}}").problems == ()
    assert compiled(folder, security, "{file: models/faces}").problems == ()  # the manifest names it


def test_another_digest_is_told_before_the_file_is_parsed(folder: Path) -> None:
    (folder / "models" / "plain.tflite").write_bytes(b"no model at all")
    found = told(folder, "{}", f"{{file: models/plain.tflite, sha256: {DIGEST}}}")
    other = hashlib.sha256(b"no model at all").hexdigest()
    assert found == (
        f"config.yaml:4: models.faces.sha256: models/plain.tflite: its SHA-256 is {other}, "
        f"but the configuration lists {DIGEST}"
    )


@pytest.fixture
def release(folder: Path) -> Path:
    """A key pair; the public key is where the configuration trusts it. The private key's path."""
    (folder / "keys").mkdir()
    private = folder / "release.key"
    subprocess.run(["openssl", "genpkey", "-algorithm", "ed25519", "-out", private], check=True)
    subprocess.run(["openssl", "pkey", "-in", private, "-pubout", "-out", folder / "keys" / "release.pem"], check=True)
    return private


def test_only_signed_packages_serve(folder: Path, release: Path) -> None:
    security = "{require_signature: true}"
    assert told(folder, security) == (
        f"config.yaml:4: models.faces.file: models/faces/{FILE}: models/faces/manifest.yaml does not cover the whole "
        "package: it lacks digests: golden/astronaut.png; edge-infer models sign adds digests"
    )
    assert main(["models", "sign", str(folder / "models" / "faces"), "--key", str(release)]) == 0
    assert compiled(folder, security).problems == ()
    manifest = folder / "models" / "faces" / "manifest.yaml"
    manifest.write_text(manifest.read_text().replace("threshold: 0.5", "threshold: 0.4"))
    assert told(folder, security) == (
        f"config.yaml:4: models.faces.file: models/faces/{FILE}: models/faces/{FILE}.sig is not valid: "
        "models/faces/manifest.yaml was changed after it was signed, or no trusted key (release.pem) made the signature"
    )
    (folder / "models" / "plain.yaml").unlink()
    assert told(folder, security, "{file: models/plain.tflite, labels: [face]}") == (
        "config.yaml:4: models.faces.file: models/plain.tflite: it has no manifest, so it cannot be signed, and "
        "security.require_signature is true; add models/plain.yaml and models/plain.tflite.sig"
    )


@pytest.mark.parametrize(
    ("setup", "words"),
    [
        ("", "the folder keys does not exist; put the public keys of the trusted releasers there"),
        (
            "mkdir keys",
            "the folder keys contains no key (*.pem); put the public keys of the trusted releasers there",
        ),
        ("mkdir keys; echo x > keys/a.pem", "keys/a.pem contains no public key in PEM format"),
    ],
)
def test_keys_that_are_not_there_are_told_once(folder: Path, setup: str, words: str) -> None:
    subprocess.run(["sh", "-c", setup], cwd=folder, check=True)
    found = told(folder, "{require_signature: true, keys: keys}")
    assert found.splitlines()[0] == f"config.yaml:2: security.keys: {words}"
    assert compiled(folder, "{keys: keys}").problems == ()


def test_a_reading_without_a_plan_still_tells_which_keys_there_are(folder: Path, release: Path) -> None:
    keys, security = folder / "keys", "{require_signature: true}"
    assert main(["models", "sign", str(folder / "models" / "faces"), "--key", str(release)]) == 0
    good = compiled(folder, security)
    assert good.plan is not None
    assert good.signers == good.plan.signers
    assert good.signers is not None
    assert compiled(folder, security, "{file: no.tflite}").signers == good.signers
    assert compiled(folder, "{}").signers is None
    (keys / "release.pem").rename(folder / "removed.pem")
    assert (compiled(folder, security).plan, compiled(folder, security).signers) == (None, ())
    (keys / "release.pem").symlink_to(folder / "away.pem")
    assert compiled(folder, security).signers is None
    shutil.rmtree(keys)
    assert compiled(folder, security).signers is None
    keys.symlink_to(folder / "away")
    assert compiled(folder, security).signers is None


def test_a_folder_of_keys_that_may_not_be_read_is_not_an_empty_one(closed: Path) -> None:
    document = parse_document(closed.parent / "config.yaml", b"security: {}\n")
    reading = read_policy(Security(require_signature=True, keys="closed"), document, str(closed.parent))
    assert [str(each).partition("security.keys: ")[2] for each in reading.problems] == [
        f"{closed} cannot be read: Permission denied"
    ]
    assert reading.keys is None


def versioned(folder: Path, version: str, more: str = "") -> None:
    manifest = folder / "models" / "faces" / "manifest.yaml"
    lines = [line for line in manifest.read_text().splitlines() if not line.startswith(("version:", "licence:"))]
    manifest.write_text("\n".join([f"version: {version}", f"licence: other {more}", *lines, ""]))


def test_an_older_version_is_refused_unless_it_is_allowed_or_serves(folder: Path) -> None:
    plan = plan_of(folder)
    model = plan.models()[0]
    state = folder / "state"
    commit_version(state, replace(model, title="face-detect@1.2.0", version="1.2.0"))
    commit_version(state, replace(model, title="face-detect@1.1.0", version="1.1.0"))
    commit_version(state, replace(model, title="no-version", version=None))
    assert highest_versions(state) == {"face-detect": "1.2.0"}
    assert told(folder, "{}") == (
        f"config.yaml:4: models.faces.file: models/faces/{FILE}: face-detect 1.0.0 is older than 1.2.0, which has "
        "served here; to go back, use edge-infer models rollback or set security.allow_downgrade: true"
    )
    assert compiled(folder, "{allow_downgrade: true}").problems == ()
    remember(plan)  # what is applied is no step back
    assert compiled(folder, "{}").problems == ()
    (state / "applied.json").unlink()
    for version in ("1.2.0", "1.10"):
        versioned(folder, version)
        assert compiled(folder, "{}").problems == ()


def test_what_no_pipeline_uses_is_no_step_back(folder: Path) -> None:
    shutil.copytree(folder / "models" / "faces", folder / "models" / "before")
    manifest = folder / "models" / "before" / "manifest.yaml"
    manifest.write_text("version: 0.9.0\n" + re.sub("(?m)^version:.*\n", "", manifest.read_text()))
    commit_version(folder / "state", replace(plan_of(folder).models()[0], title="face-detect@1.0.0", version="1.0.0"))
    unused = "{file: models/faces}\n  before: {file: models/before}"
    assert compiled(folder, "{}", unused).problems == ()
    assert "face-detect 0.9.0 is older than 1.0.0" in told(folder, "{}", "{file: models/before}")


def test_versions_that_nobody_can_read_are_no_versions(folder: Path) -> None:
    (folder / "state").mkdir()
    (folder / "state" / "versions.json").write_text("{")
    assert told(folder, "{}") == (
        "state/versions.json:1: it is damaged (not JSON: Input data was truncated), "
        "so the versions that have served are unknown; remove the file to start a new record"
    )
    assert compiled(folder, "{allow_downgrade: true}").problems == ()
    with pytest.raises(StartError, match="remove the file to start a new record"):
        highest_versions(folder / "state")


def test_who_may_not_look_into_the_state_directory_is_told_so(closed: Path) -> None:
    document = parse_document(Path("config.yaml"), b"security: {}\n")
    reading = read_policy(Security(), document, str(closed))
    assert (reading.policy.highest, reading.problems, reading.keys) == ({}, [], None)
    assert [str(warning) for warning in reading.warnings] == [
        f"{closed}/versions.json:1: it cannot be read: Permission denied; versions are not compared"
    ]


LINK = "is a link, and links are not followed; name the place itself: "
UP = "contains ..; name files beside {folder} and above by their absolute path, without .."
BAD = {
    "{file: ../outside.tflite}": f"file: ../outside.tflite {UP}",
    "{file: link.tflite}": f"file: link.tflite {LINK}models/plain.tflite",
    "{file: linked/plain.tflite}": f"file: linked {LINK}models",
    "{file: dangling}": "file: dangling is a broken link; name the file itself",
    "{file: loop}": "file: loop is a broken link; name the file itself",
    "{file: pipe}": "file: pipe is a named pipe, not a file",
    "{file: /dev/null}": "file: /dev/null is a device, not a file",
    "{file: keys}": "file: keys is a folder without a manifest.yaml; name a .tflite file or the folder of a package",
    "{file: models/plain.tflite, labels: words}": f"labels: models/plain.tflite: words {LINK}/etc/hostname",
    "{file: models/plain.tflite, labels: ../words}": f"labels: models/plain.tflite: ../words {UP}",
    "{file: large.tflite}": "file: large.tflite has 3221225472 bytes; the limit is 536870912",
    "{file: lying.tflite}": f"file: lying.tflite: its SHA-256 is {DIGEST}, but lying.yaml lists {'0' * 64}",
    "{file: shapes.tflite}": "file: shapes.tflite: 2 labels (manifest) for 1 classes; "
    "if the first label is a background that this model does not have, remove it",
    "{file: beside.tflite}": f"file: beside.yaml {LINK}models/plain.yaml",
    "{file: input.tflite}": "file: input.tflite: its input has 3 colour channels, so gray (manifest) does not fit; "
    "expected rgb or bgr",
}


def test_what_is_no_plain_file_or_lies_is_refused_with_a_reason(folder: Path) -> None:
    targets = {"link.tflite": "models/plain.tflite", "linked": "models", "loop": "loop", "words": "/etc/hostname"}
    for name, target in {**targets, "dangling": "none", "beside.yaml": "models/plain.yaml"}.items():
        (folder / name).symlink_to(target)
    os.mkfifo(folder / "pipe")
    (folder / "keys").mkdir()
    (folder / "large.tflite").touch()
    os.truncate(folder / "large.tflite", 3 << 30)
    shutil.copyfile(SHIPPED / FILE, folder / "beside.tflite")
    lies = {"lying": f"sha256: {'0' * 64}", "shapes": "labels: [face, nose]", "input": "input: {color: gray}"}
    for name, manifest in lies.items():
        shutil.copyfile(SHIPPED / FILE, folder / f"{name}.tflite")
        (folder / f"{name}.yaml").write_text(manifest + "\n")
    models = "".join(f"\n  m{number}: {model}" for number, model in enumerate(BAD))
    found = told(folder, "{}", "{file: models/faces}" + models).splitlines()
    assert found == [
        f"config.yaml:{5 + number}: models.m{number}.{words.replace('{folder}', str(folder))}"
        for number, words in enumerate(BAD.values())
    ]
    assert not (folder / "state").exists()


def test_a_whole_path_is_the_operators_word(folder: Path) -> None:
    assert compiled(folder, "{}", f"{{file: {folder}/models/plain.tflite}}").problems == ()
    (folder / "elsewhere").mkdir()
    shutil.copyfile(folder / "config.yaml", folder / "elsewhere" / "config.yaml")
    assert compile_config(folder / "elsewhere" / "config.yaml").problems == ()
