"""The command that judges as a stopped service would, from what ``systemctl show`` prints of its unit."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from edge_infer.cli.as_service import command_from

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
    "LoadCredential": ["mqtt.pass:/etc/edge-infer/mqtt.pass", "ca.pem:/etc/edge-infer/ca.pem"],
    "EnvironmentFiles": ["/etc/default/edge-infer (ignore_errors=yes)"],
}


def test_the_identity_and_the_credentials_of_the_unit_are_those_of_the_command() -> None:
    command = command_from(SHOWN, CONFIG, ["check", "-c", str(CONFIG)])
    assert command is not None
    assert command[0] == "systemd-run"
    assert {
        "--property=User=edge-inferd",
        "--property=DynamicUser=yes",
        "--property=CapabilityBoundingSet=",
        "--property=LoadCredential=mqtt.pass:/etc/edge-infer/mqtt.pass",
        "--property=LoadCredential=ca.pem:/etc/edge-infer/ca.pem",
        "--property=EnvironmentFile=-/etc/default/edge-infer",
    } <= set(command)
    assert "--property=SupplementaryGroups=" not in command
    assert command[command.index("--") + 1] == sys.executable
    assert command[-3:] == ["check", "-c", str(CONFIG)]


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
