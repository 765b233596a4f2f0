"""Signed packages: what a releaser signs is what a device accepts, and nothing else."""

from __future__ import annotations

import base64
import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from edge_infer.cli import main
from edge_infer.contract.codec import replace
from edge_infer.errors import ConfigError, ModelError
from edge_infer.models.packages.package import canonical, find_package
from edge_infer.models.packages.signature import check_policy, private_key, trusted_key
from edge_infer.models.packages.versions import commit_version, highest_versions, older
from edge_infer.models.request import Policy
from edge_infer.yamlfile.load import parse_document
from tests.engine.plans import pipeline

SHIPPED = Path(__file__).parents[2] / "models" / "face-detect" / "1.0.0"
MODEL = "face_full_range_int8.tflite"


@pytest.fixture
def package(tmp_path: Path) -> Path:
    """The shipped package with its labels in a file."""
    folder = tmp_path / "package"
    shutil.copytree(SHIPPED, folder)
    manifest = folder / "manifest.yaml"
    manifest.write_text(manifest.read_text().replace("labels: [face]", "labels: labels.txt"))
    (folder / "labels.txt").write_text("face\n")
    return folder


def make_key(folder: Path, name: str) -> tuple[Path, Path]:
    """A private key, and its public key in a folder of its own, as the documentation has them made."""
    private, public = folder / f"{name}.key", folder / name / f"{name}.pem"
    public.parent.mkdir()
    subprocess.run(["openssl", "genpkey", "-algorithm", "ed25519", "-out", private], check=True)
    subprocess.run(["openssl", "pkey", "-in", private, "-pubout", "-out", public], check=True)
    return private, public


@pytest.fixture
def keys(tmp_path: Path) -> tuple[Path, Path]:
    return make_key(tmp_path, "release")


def judge(folder: Path, key: Path) -> None:
    """What a device with ``require_signature`` does."""
    check_policy(Policy(require_signature=True, keys=(trusted_key(key),)), find_package(folder), "0" * 64, asked=None)


def test_a_signed_package_is_accepted_by_those_who_trust_the_key(
    package: Path, keys: tuple[Path, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    private, public = keys
    before = (package / "manifest.yaml").read_text()
    assert main(["models", "sign", str(package), "--key", str(private)]) == 0
    assert f"face-detect@1.0.0 is signed: {package / MODEL}.sig" in capsys.readouterr().err
    after = (package / "manifest.yaml").read_text()
    assert after.startswith(before)
    assert set(find_package(package).manifest.digests) == {"labels.txt", "golden/astronaut.png"}
    judge(package, public)
    assert main(["models", "verify", str(package), "--keys", str(public.parent)]) == 0
    assert main(["models", "sign", str(package), "--key", str(private)]) == 0  # again: nothing to add
    assert (package / "manifest.yaml").read_text() == after
    _, other = make_key(tmp_path, "other")
    capsys.readouterr()
    assert main(["models", "verify", str(package), "--keys", str(other)]) == 1
    assert "no trusted key (other.pem) made the signature" in capsys.readouterr().err


def test_without_a_configuration_none_is_the_reason(
    package: Path, keys: tuple[Path, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    private, public = keys
    assert main(["models", "sign", str(package), "--key", str(private)]) == 0
    (package / f"{MODEL}.sig").unlink()
    capsys.readouterr()
    assert main(["models", "verify", str(package), "--keys", str(public)]) == 1
    assert capsys.readouterr().err == f"edge-infer: it is not signed: there is no {package / MODEL}.sig\n"
    alone = tmp_path / MODEL
    shutil.copyfile(package / MODEL, alone)
    assert main(["models", "verify", str(alone), "--keys", str(public)]) == 1
    add = f"add {alone.with_suffix('.yaml')} and {alone}.sig"
    assert capsys.readouterr().err == f"edge-infer: it has no manifest, so it cannot be signed; {add}\n"


def test_openssl_makes_the_same_signature(package: Path, keys: tuple[Path, Path], tmp_path: Path) -> None:
    """For keys that lie elsewhere: --print is what is signed, and the form is everybody's."""
    private, public = keys
    command = [sys.executable, "-m", "edge_infer", "models", "sign", str(package), "--print"]
    written = subprocess.run(command, capture_output=True, check=True).stdout
    assert written == canonical(json.loads(written)) == find_package(package).written
    (tmp_path / "bytes").write_bytes(written)
    sign = ["openssl", "pkeyutl", "-sign", "-rawin", "-inkey", private, "-in", tmp_path / "bytes"]
    made = subprocess.run(sign, capture_output=True, check=True).stdout
    (package / f"{MODEL}.sig").write_bytes(base64.encodebytes(made))
    judge(package, public)


@pytest.mark.parametrize(
    ("damage", "words"),
    [
        (
            lambda p: (p / f"{MODEL}.sig").unlink(),
            r"it is not signed, and security.require_signature is true: there is no",
        ),
        (
            lambda p: (p / f"{MODEL}.sig").write_text("AAAA\n"),
            r"\.sig is not a signature; expected the base64 of 64 bytes",
        ),
        (lambda p: (p / f"{MODEL}.sig").write_text("no!\n"), r"\.sig is not a signature"),
        (lambda p: (p / f"{MODEL}.sig").write_text("A" * 86 + "==\n"), r"is not valid: .* changed after it was signed"),
        (lambda p: edit(p, "threshold: 0.5", "threshold: 0.1"), r"is not valid: .* changed after it was signed"),
        (lambda p: edit(p, "version: 1.0.0", "version: 9.0.0"), r"is not valid"),
        (lambda p: edit(p, "version: 1.0.0\n", ""), r"does not cover the whole package: it lacks version;"),
        (lambda p: edit(p, "digests:", "# digests:").joinpath("x"), "manifest.yaml:"),
        (lambda p: (p / "manifest.yaml").unlink(), "is a folder without a manifest.yaml"),
    ],
)
def test_whatever_is_changed_after_the_signature_shows(
    package: Path, keys: tuple[Path, Path], damage: object, words: str
) -> None:
    private, public = keys
    assert main(["models", "sign", str(package), "--key", str(private)]) == 0
    assert callable(damage)
    damage(package)
    with pytest.raises(ModelError, match=words):
        judge(package, public)


def edit(package: Path, old: str, new: str) -> Path:
    manifest = package / "manifest.yaml"
    assert old in manifest.read_text()
    manifest.write_text(manifest.read_text().replace(old, new))
    return package


def test_layout_and_comments_do_not_matter(package: Path, keys: tuple[Path, Path]) -> None:
    private, public = keys
    assert main(["models", "sign", str(package), "--key", str(private)]) == 0
    edit(package, "threshold: 0.5", "threshold:   0.5   # as it was")
    judge(package, public)


@pytest.mark.parametrize("name", ["labels.txt", "golden/astronaut.png", MODEL])
def test_a_file_that_is_not_the_signed_one_is_found(
    package: Path, keys: tuple[Path, Path], name: str, capsys: pytest.CaptureFixture[str]
) -> None:
    private, public = keys
    assert main(["models", "sign", str(package), "--key", str(private)]) == 0
    with (package / name).open("ab") as file:
        file.write(b"more\n")
    assert main(["models", "verify", str(package), "--keys", str(public)]) == 1
    assert f"{name}: its SHA-256 is" in capsys.readouterr().err
    assert main(["models", "sign", str(package), "--key", str(private)]) == 3  # nobody signs what does not fit


def test_what_only_the_releaser_knows_is_asked_for(
    package: Path, keys: tuple[Path, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    private, public = keys
    edit(package, "version: 1.0.0\n", "")
    assert main(["models", "sign", str(package), "--key", str(private)]) == 2
    assert "a release needs version; add them there" in capsys.readouterr().err
    assert main(["models", "sign", str(SHIPPED / MODEL), "--key", str(public)]) == 2
    assert "contains no private key in PEM format; openssl genpkey" in capsys.readouterr().err
    shutil.copyfile(SHIPPED / MODEL, tmp_path / "m.tflite")
    assert main(["models", "sign", str(tmp_path / "m.tflite"), "--key", str(private)]) == 2
    assert "m.tflite has none; edge-infer inspect --manifest writes a draft of" in capsys.readouterr().err
    (tmp_path / "m.yaml").write_text("{name: m, version: 1}\n")
    assert main(["models", "sign", str(tmp_path / "m.tflite"), "--key", str(private)]) == 2
    said = capsys.readouterr().err
    first, *lines = [line.removeprefix("edge-infer:").strip() for line in said.splitlines()]
    assert first.endswith("cannot add them at its end; add them by hand:")
    assert [line.partition(": ")[0] for line in lines] == ["file", "sha256"]
    assert (tmp_path / "m.yaml").read_text() == "{name: m, version: 1}\n"


def test_keys_that_are_none_are_named(keys: tuple[Path, Path], tmp_path: Path) -> None:
    private, _ = keys
    with pytest.raises(ConfigError, match="is a private key, which stays with the releaser"):
        trusted_key(private)
    rsa, locked = tmp_path / "rsa.key", tmp_path / "locked.key"
    subprocess.run(["openssl", "genpkey", "-algorithm", "rsa", "-out", rsa], check=True, capture_output=True)
    subprocess.run(["openssl", "pkey", "-in", private, "-aes256", "-passout", "pass:x", "-out", locked], check=True)
    subprocess.run(["openssl", "pkey", "-in", rsa, "-pubout", "-out", tmp_path / "rsa.pem"], check=True)
    with pytest.raises(ConfigError, match="not of the kind Ed25519"):
        private_key(rsa)
    with pytest.raises(ConfigError, match="not of the kind Ed25519"):
        trusted_key(tmp_path / "rsa.pem")
    with pytest.raises(ConfigError, match="is encrypted; decrypt it"):
        private_key(locked)
    (tmp_path / "text.pem").write_text("hello\n")
    with pytest.raises(ConfigError, match="contains no public key in PEM format"):
        trusted_key(tmp_path / "text.pem")


def test_without_the_extra_the_error_names_it(keys: tuple[Path, Path], tmp_path: Path) -> None:
    (tmp_path / "site" / "cryptography").mkdir(parents=True)
    (tmp_path / "site" / "cryptography" / "__init__.py").write_text("raise ImportError('none')")
    done = subprocess.run(
        [sys.executable, "-m", "edge_infer", "models", "sign", str(SHIPPED), "--key", str(keys[0])],
        env={"PYTHONPATH": f"{tmp_path / 'site'}:{Path(__file__).parents[2]}", "PATH": "/usr/bin:/bin"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 3
    assert f"{sys.prefix}/bin/pip install 'edge-infer[signatures]'" in done.stderr


def test_the_canonical_form() -> None:
    assert (
        canonical({"b": [1.0, 2, True, None], "a": {"ü": "\n"}}) == '{"a":{"ü":"\\n"},"b":[1.0,2,true,null]}'.encode()
    )


def bytes_of(word: str) -> bytes:
    """What is signed of a manifest with this word in it."""
    return canonical(parse_document(Path("manifest.yaml"), f"labels: [{word}]\n".encode()).value)


@pytest.mark.parametrize(
    ("word", "json_has"),
    [
        ("1.1", "1.1"),
        ("7", "7"),
        ("-0.5", "-0.5"),
        ("10.0", "10.0"),
        (".inf", "Infinity"),
        ("-.inf", "-Infinity"),
        (".nan", "NaN"),
        ("True", "true"),
        ("~", "null"),
        ("'007'", '"007"'),
        ("a", '"a"'),
    ],
)
def test_what_is_spelled_as_usual_is_signed_as_json_has_it(word: str, json_has: str) -> None:
    """Signatures that were made when numbers were signed by their value hold."""
    assert bytes_of(word) == f'{{"labels":[{json_has}]}}'.encode()


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("1.1", "1.1000"),
        ("1.1", "1.10"),
        ("7", "007"),
        ("7", "+7"),
        ("16", "0x10"),
        ("8", "0o10"),
        ("10.0", "1e1"),
        ("0.5", ".5"),
        ("1.0", "1."),
        (".inf", ".Inf"),
        (".inf", "1e999"),
        ("1.1000", "'1.1000'"),
        ("0", "-0"),
    ],
)
def test_another_spelling_of_a_number_is_another_text(one: str, other: str) -> None:
    """A label `007` is not the label `7`, and version 1.1000 is newer than 1.9, which 1.1 is not."""
    assert bytes_of(one) != bytes_of(other)


def test_a_signed_version_cannot_be_spelled_into_a_newer_one(
    package: Path, keys: tuple[Path, Path], capsys: pytest.CaptureFixture[str]
) -> None:
    private, public = keys
    manifest = package / "manifest.yaml"
    manifest.write_text(manifest.read_text().replace("version: 1.0.0", "version: 1.1"))
    assert main(["models", "sign", str(package), "--key", str(private)]) == 0
    signed = find_package(package)
    assert signed.manifest.version == "1.1"
    judge(package, public)
    manifest.write_text(manifest.read_text().replace("version: 1.1", "version: 1.1000"))
    assert older("1.9", find_package(package).manifest.version or "")
    assert find_package(package).manifest_digest != signed.manifest_digest
    with pytest.raises(ModelError, match="was changed after it was signed"):
        judge(package, public)
    capsys.readouterr()
    assert main(["models", "verify", str(package), "--keys", str(public.parent)]) == 1


@pytest.mark.parametrize(
    "versions",
    [
        [
            "0.9",
            "1.0.0-1",
            "1.0.0-alpha",
            "1.0.0-alpha.1",
            "1.0.0-alpha.beta",
            "1.0.0-rc.1",
            "1.0.0",
            "1.0.1",
            "1.2",
            "1.10",
            "2",
        ],
        [
            "1.0.0-0",
            "1.0.0-2",
            "1.0.0-10",
            "1.0.0--",
            "1.0.0-1a",
            "1.0.0-Alpha",
            "1.0.0-alpha",
            "1.0.0-alpha.1",
            "1.0.0-alpha.1.0",
            "1.0.0-alpha-1",
            "1.0.0-alpha1",
            "1.0.0-beta.2",
            "1.0.0-beta.11",
            "1.0.0-rc10",
            "1.0.0-rc9",
            "1.0.0+1",
        ],
        ["1.0rc1", "v1.0", "1.0.1"],
        ["1.0rc9", "1.0rc10", "1.0"],
        ["2025-11-25", "2026-01-02"],
        ["a", "b"],
    ],
)
def test_which_version_is_older(versions: list[str]) -> None:
    for place, one in enumerate(versions):
        for other in versions[place + 1 :]:
            assert older(one, other)
            assert not older(other, one)


def test_a_key_that_is_missing_is_said_to_be(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"no\.key cannot be read: No such file"):
        private_key(tmp_path / "no.key")


def test_a_commit_never_lowers_the_highest_version(tmp_path: Path) -> None:
    plan = pipeline().model
    for version, highest in (
        ("1.0.0-alpha.1", "1.0.0-alpha.1"),
        ("1.0.0-alpha.beta", "1.0.0-alpha.beta"),
        ("1.0.0-alpha.1", "1.0.0-alpha.beta"),
        ("1.0.0-1", "1.0.0-alpha.beta"),
        ("1.0.0", "1.0.0"),
        ("1.0.0-rc.1", "1.0.0"),
    ):
        commit_version(tmp_path, replace(plan, title=f"pets@{version}", version=version))
        assert highest_versions(tmp_path) == {"pets": highest}


def test_the_highest_versions_count_beside_a_key_of_a_newer_program(tmp_path: Path) -> None:
    (tmp_path / "versions.json").write_text('{"highest": {"pets": "2.0.0"}, "newer": 1}')
    assert highest_versions(tmp_path) == {"pets": "2.0.0"}


@pytest.mark.parametrize(
    ("one", "other"),
    [("1", "1.0.0"), ("v1.2", "1.2"), ("1.0+abc", "1.0+def"), ("1.0RC1", "1.0.0-rc.1"), ("1.0-a+1", "1.0-a")],
)
def test_versions_that_are_the_same(one: str, other: str) -> None:
    assert not older(one, other)
    assert not older(other, one)
