"""The command that judges as a stopped service would, from what systemd prints of its unit (here: systemd 257)."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from edge_infer.cli.as_service import (
    command_from,
    credentials_from,
    failing_from,
    run_as_service,
    user_from,
    variables_from,
    variables_of_unit,
)
from edge_infer.platform import paths

CONFIG = Path("/etc/edge-infer/config.yaml")
PROGRAM = f"{sys.prefix}/bin/edge-infer"
SHOWN = {
    "LoadState": ["loaded"],
    "ExecStart": [
        f"{{ path={PROGRAM} ; argv[]={PROGRAM} run -c {CONFIG} ; ignore_errors=no ; start_time=[n/a] ; pid=0 }}"
    ],
    "User": ["edge-inferd"],
    "DynamicUser": ["yes"],
    "SupplementaryGroups": [""],
    "CapabilityBoundingSet": [""],
    "LoadCredential": ["[unprintable]"],
    "SetCredential": ["[unprintable]"],
    "ImportCredential": ['"camera.*" "*.pem"'],
    "EnvironmentFiles": ["/etc/default/edge-infer (ignore_errors=yes)"],
}

BUS = {
    "LoadCredential": '{"type":"a(ss)","data":[["mqtt.pass","/etc/edge-infer/mqtt.pass"],["ca.pem","/etc/a:b%n"]]}',
    "LoadCredentialEncrypted": '{"type":"a(ss)","data":[["sealed","/etc/edge-infer/sealed.cred"]]}',
    "SetCredential": '{"type":"a(say)","data":[["plain",[97,32,37,92,58,255,10]]]}',
    "SetCredentialEncrypted": '{"type":"a(say)","data":[["inline",[90,28,106,134]]]}',
    "ImportCredential": '{"type":"as","data":["camera.*","*.pem"]}',
}
"""Output of ``busctl --json=short get-property``."""


def test_the_identity_and_the_credentials_of_the_unit_are_those_of_the_command() -> None:
    credentials = [each for name, text in BUS.items() for each in credentials_from(name, text)]
    command = command_from(SHOWN, CONFIG, ["check", "-c", str(CONFIG)], credentials)
    assert command is not None
    assert command[0] == "systemd-run"
    assert {
        "--property=User=edge-inferd",
        "--property=DynamicUser=yes",
        "--property=CapabilityBoundingSet=",
        "--property=LoadCredential=mqtt.pass:/etc/edge-infer/mqtt.pass",
        "--property=LoadCredential=ca.pem:/etc/a:b%n",
        "--property=LoadCredentialEncrypted=sealed:/etc/edge-infer/sealed.cred",
        "--property=SetCredential=plain:a\\x20\\x25\\x5c\\x3a\\xff\\x0a",
        "--property=SetCredentialEncrypted=inline:Whxqhg==",
        "--property=ImportCredential=camera.*",
        "--property=ImportCredential=*.pem",
        "--property=EnvironmentFile=-/etc/default/edge-infer",
    } <= set(command)
    assert "--property=SupplementaryGroups=" not in command
    assert not [word for word in command if "unprintable" in word]
    assert command[command.index("--") + 1] == sys.executable
    assert command[-3:] == ["check", "-c", str(CONFIG)]


def test_a_systemd_without_a_property_of_credentials_has_none_of_them() -> None:
    assert list(credentials_from("ImportCredential", "")) == []
    assert list(credentials_from("LoadCredential", '{"type":"a(ss)","data":[]}\n')) == []


def test_another_file_another_program_and_no_unit_are_not_judged_by_it() -> None:
    assert command_from(SHOWN, Path("/tmp/other.yaml"), ["check"]) is None
    assert command_from({**SHOWN, "LoadState": ["not-found"]}, CONFIG, ["check"]) is None
    elsewhere = [line.replace(sys.prefix, "/opt/edge-infer/versions/next") for line in SHOWN["ExecStart"]]
    assert command_from({**SHOWN, "ExecStart": elsewhere}, CONFIG, ["check"]) is None
    assert command_from({}, CONFIG, ["check"]) is None


def test_a_version_beside_the_one_of_the_unit_is_judged_by_it(monkeypatch: pytest.MonkeyPatch) -> None:
    elsewhere = {**SHOWN, "ExecStart": [SHOWN["ExecStart"][0].replace(sys.prefix, "/opt/edge-infer/versions/present")]}
    monkeypatch.setattr(sys, "prefix", "/opt/edge-infer/versions/next")
    assert command_from(elsewhere, CONFIG, ["check"]) is not None
    monkeypatch.setattr(sys, "prefix", "/srv/versions/next")
    assert command_from(elsewhere, CONFIG, ["check"]) is None


@pytest.mark.parametrize(
    ("code", "words"), [(226, "BindReadOnlyPaths="), (243, "a credential"), (240, "exit code 240")]
)
def test_a_unit_that_systemd_cannot_set_up_is_named(code: int, words: str, capfd: pytest.CaptureFixture[str]) -> None:
    assert run_as_service(["sh", "-c", f"exit {code}"]) == 3
    told = capfd.readouterr().err
    assert words in told
    assert "edge-infer: systemd cannot start a process with the settings of edge-infer.service" in told
    assert run_as_service(["sh", "-c", "exit 2"]) == 2
    assert capfd.readouterr().err == ""


def test_a_unit_that_fails_is_told_by_its_properties() -> None:
    failing = {
        "LoadState": ["loaded"], "ActiveState": ["activating"], "SubState": ["auto-restart"], "Result": ["exit-code"],
        "ExecMainStatus": ["243"], "NRestarts": ["7"],
    }  # fmt: skip
    told = failing_from(failing)
    assert told.startswith("its unit is activating (exit-code, exit code 243, restarted 7 times): systemd cannot")
    assert "a credential" in told
    assert failing_from({**failing, "ExecMainStatus": ["1"]}).endswith("restarted 7 times)")
    assert failing_from({**failing, "Result": ["success"]}) == ""
    assert failing_from({**failing, "LoadState": ["not-found"]}) == ""
    assert failing_from({}) == ""


def test_an_installed_service_is_started_by_systemd(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(paths, "_UNITS", (tmp_path,))
    assert paths.start_command() == "edge-infer run"
    (tmp_path / "edge-infer.service").write_text("")
    assert paths.start_command() == "sudo systemctl start edge-infer"
    assert paths.start_command(Path("mine.yaml")) == "edge-infer run -c mine.yaml"


def test_the_user_of_a_unit_that_runs_this_configuration() -> None:
    shown = {**SHOWN, "User": ["edge-inferd"]}
    assert user_from(shown, CONFIG) == "edge-inferd"
    assert user_from(shown, Path("/tmp/other.yaml")) == ""
    assert user_from({**shown, "LoadState": ["not-found"]}, CONFIG) == ""
    assert [user_from({**shown, "User": [name]}, CONFIG) for name in ("", "root")] == ["", ""]
    assert user_from({}, CONFIG) == ""


def test_the_variables_of_a_unit_that_a_configuration_names() -> None:
    text = '{"type":"as","data":["BOXNAME=gate-9","ROOM=the $HALL \\"2\\" = x","OTHER=1"]}'
    assert variables_from(text, {"BOXNAME", "ROOM", "NONE"}) == {"BOXNAME": "gate-9", "ROOM": 'the $HALL "2" = x'}
    assert variables_from("", {"BOXNAME"}) == {}


@pytest.mark.skipif(os.geteuid() != 0, reason="only root takes the variables of a unit")
def test_root_takes_no_variable_that_changes_how_programs_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The unit may set a library's folder for its own user, who may write there."""
    names = ("BOXNAME", "LD_PRELOAD", "LD_LIBRARY_PATH", "PYTHONPATH")
    config = tmp_path / "config.yaml"
    config.write_text("".join(f"# ${{{name}}}\n" for name in names))
    data = ", ".join(f'"{name}=/tmp/x"' for name in names)

    def printed(program: str, *_: str) -> str:
        started = f"LoadState=loaded\nExecStart={{ argv[]={PROGRAM} run -c {config} ; }}\n"
        return started if program == "systemctl" else f'{{"type":"as","data":[{data}]}}'

    monkeypatch.setattr("edge_infer.cli.as_service._printed", printed)
    for name in names:
        monkeypatch.delenv(name, raising=False)
    assert variables_of_unit(config) == {"BOXNAME": "/tmp/x"}
    assert not os.environ.keys() & set(names)


BELOW_SYSTEMD = 'mount -t tmpfs -o mode=755 none /run && mkdir -p /run/systemd/system && exec "$@"'


@pytest.mark.skipif(os.geteuid() != 0, reason="only root takes the variables of a unit, and may mount a file system")
@pytest.mark.parametrize("case", ["of the unit", "of another unit", "of another user"])
def test_root_reads_a_configuration_with_the_variables_of_its_unit(tmp_path: Path, case: str) -> None:
    config = tmp_path / "config.yaml"
    config.write_text("device: {id: '${BOXNAME}'}\n")
    if case == "of another user":
        os.chown(config, 61777, 61777)
    runs = "/other.yaml" if case == "of another unit" else config
    answers = {
        "systemctl": f"LoadState=loaded\nExecStart={{ argv[]={PROGRAM} run -c {runs} ; }}",
        "busctl": '{"type":"as","data":["BOXNAME=gate-9"]}',
    }
    for name, answer in answers.items():
        (tmp_path / name).write_text(f"#!/bin/sh\ncat <<'END'\n{answer}\nEND\n")
        (tmp_path / name).chmod(0o755)
    unit = ["sh", "-c", BELOW_SYSTEMD, "sh", sys.executable, "-m", "edge_infer", "unit", "-c", str(config)]
    done = subprocess.run(
        ["unshare", "--mount", "--propagation", "private", *unit],
        capture_output=True, text=True, timeout=120, check=False,
        env={**os.environ, "PATH": f"{tmp_path}:{os.environ['PATH']}"},
    )  # fmt: skip
    if "mount:" in done.stderr or "unshare" in done.stderr:
        pytest.skip(f"no file system can be mounted here: {done.stderr.strip()}")
    if case == "of the unit":
        assert (done.returncode, "[Service]" in done.stdout.splitlines()) == (0, True), done.stderr
    else:
        assert done.returncode == 2
        assert (
            f"{config}:1: device.id: the environment variable BOXNAME is not set; for a command, write env "
            in done.stderr
        )
