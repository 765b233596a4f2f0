"""A file that the daemon's user may not read is named with the user and the command that helps."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from edge_infer.config.compile.compile import compile_config
from edge_infer.plan.credentials import DROP_IN
from edge_infer.platform.permissions import _remedy, denied, for_the_group

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="only root can become a user who may not read a file")
USER, GROUP = 61777, 61778


@pytest.fixture
def other(tmp_path: Path) -> Iterator[None]:
    """This process has another user while the test runs."""
    # What is imported on use may lie where the other user may not enter.
    warm = tmp_path / "warm.yaml"
    warm.write_text("mqtt: {username: a, password_file: /dev/null}\nsources: {cam: {kind: video, file: /dev/null}}\n")
    assert problems(warm)
    os.setegid(GROUP)
    os.seteuid(USER)
    yield
    os.seteuid(0)
    os.setegid(0)


def closed(path: Path, text: str) -> Path:
    path.write_text(text)
    path.chmod(0o600)
    return path


def problems(config: Path) -> list[str]:
    return [problem.text for problem in compile_config(config).problems]


def test_the_configuration(tmp_path: Path, request: pytest.FixtureRequest) -> None:
    config = closed(tmp_path / "config.yaml", "device: {id: a}\n")
    request.getfixturevalue("other")
    assert problems(config) == [
        f"cannot be read by user {USER}; let its group read it: chgrp {GROUP} {config} && chmod 640 {config}"
    ]


def test_a_secret(tmp_path: Path, request: pytest.FixtureRequest) -> None:
    file = closed(tmp_path / "mqtt.pass", "secret\n")
    config = tmp_path / "config.yaml"
    config.write_text("mqtt: {username: a, password_file: mqtt.pass}\n")
    request.getfixturevalue("other")
    (told,) = problems(config)
    assert told == (
        f"this file cannot be read by user {USER}; let its group read it: chgrp {GROUP} {file} && chmod 640 {file}"
    )


def test_what_may_be_the_password_itself_is_not_repeated(tmp_path: Path, request: pytest.FixtureRequest) -> None:
    """In a closed folder nobody can see whether there is a file of that name."""
    (tmp_path / "closed").mkdir(mode=0o700)
    config = tmp_path / "config.yaml"
    config.write_text("mqtt: {username: a, password_file: closed/hunter2}\n")
    request.getfixturevalue("other")
    (told,) = problems(config)
    assert told == (
        f"this file cannot be read by user {USER}, who may not enter a folder of its path; keep it elsewhere, such as "
        "in /etc/edge-infer"
    )


def test_a_file_behind_a_folder_that_is_closed(tmp_path: Path, request: pytest.FixtureRequest) -> None:
    home = tmp_path / "home"
    home.mkdir(mode=0o700)
    (home / "clip.mp4").write_text("")
    config = tmp_path / "config.yaml"
    config.write_text(f"sources: {{cam: {{kind: video, file: {home}/clip.mp4}}}}\n")
    request.getfixturevalue("other")
    (told,) = problems(config)
    assert told == (
        f"{home}/clip.mp4 cannot be read by user {USER}, who may not enter the folder {home}; let its group "
        f"enter: chgrp {GROUP} {home} && chmod 750 {home}"
    )


def test_a_pipe(tmp_path: Path, request: pytest.FixtureRequest) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe, 0o644)
    config = tmp_path / "config.yaml"
    config.write_text("sources: {lines: {kind: lines, file: pipe}}\n")
    request.getfixturevalue("other")
    (told,) = problems(config)
    assert told == (
        f"user {USER} needs read and write access to the pipe {pipe}; let its group have it: chgrp {GROUP} {pipe} && "
        f"chmod 660 {pipe}"
    )


def test_the_command_quotes_a_path(tmp_path: Path) -> None:
    file = tmp_path / "Geheime Dinge/mqtt paß"
    assert for_the_group(str(file)).endswith(f" '{file}' && chmod 640 '{file}'")


@pytest.mark.parametrize("path", ["pictures/a.jpg", "pictures/*.jpg", "pictures"])
def test_pictures(tmp_path: Path, request: pytest.FixtureRequest, path: str) -> None:
    (tmp_path / "pictures").mkdir()
    file = closed(tmp_path / "pictures/a.jpg", "picture")
    config = tmp_path / "config.yaml"
    config.write_text(f"sources: {{cam: {{kind: images, path: '{path}'}}}}\n")
    if "*" in path:
        (tmp_path / "pictures/b.jpg").touch()
    request.getfixturevalue("other")
    compiled = compile_config(config)
    told = [problem.text for problem in (compiled.warnings if "*" in path else compiled.problems)]
    command = f"chgrp {GROUP} {file} && chmod 640 {file}"
    assert f"{file} cannot be read by user {USER}; let its group read it: {command}" in told
    assert (compiled.plan is not None) == ("*" in path)


def test_a_folder_of_pictures(tmp_path: Path, request: pytest.FixtureRequest) -> None:
    folder = tmp_path / "pictures"
    folder.mkdir(mode=0o700)
    config = tmp_path / "config.yaml"
    config.write_text("sources: {cam: {kind: images, path: pictures}}\n")
    request.getfixturevalue("other")
    (told,) = problems(config)
    assert told == (
        f"the folder {folder} cannot be read by user {USER}; let its group read it: chgrp {GROUP} {folder} && "
        f"chmod 750 {folder}"
    )


@pytest.mark.parametrize("pattern", ["", "/*.png"])
@pytest.mark.parametrize("alone", [False, True])
def test_a_link_in_a_folder_of_pictures_is_never_an_error(
    tmp_path: Path, request: pytest.FixtureRequest, pattern: str, alone: bool
) -> None:
    (tmp_path / "pictures").mkdir()
    (tmp_path / "home").mkdir(mode=0o700)
    (tmp_path / "home/x.png").touch()
    closed, dangling = tmp_path / "pictures/b.png", tmp_path / "pictures/c.png"
    closed.symlink_to(tmp_path / "home/x.png")
    dangling.symlink_to("gone.png")
    if not alone:
        (tmp_path / "pictures/a.png").touch()
    config = tmp_path / "config.yaml"
    config.write_text(f"sources: {{cam: {{kind: images, path: 'pictures{pattern}'}}}}\n")
    request.getfixturevalue("other")
    compiled = compile_config(config)
    assert compiled.problems == ()
    told = [problem.text for problem in compiled.warnings]
    folder = tmp_path / "pictures"
    assert f"{dangling} is a link to {folder}/gone.png, which does not exist; remove the link" in told
    assert (
        f"{closed} is a link to {tmp_path}/home/x.png, outside {folder}, where the sandbox forbids reading: copy the "
        "file, or name its real path"
    ) in told


def test_a_program_behind_a_link_into_a_folder_that_is_closed(tmp_path: Path, request: pytest.FixtureRequest) -> None:
    home = tmp_path / "home"
    home.mkdir(mode=0o700)
    (home / "python").write_text("")
    (home / "python").chmod(0o755)
    (tmp_path / "link").symlink_to(home / "python")
    config = tmp_path / "config.yaml"
    config.write_text(f"sources: {{cam: {{kind: exec, command: [{tmp_path}/link], size: 64x48, format: gray}}}}\n")
    request.getfixturevalue("other")
    assert problems(config) == [f"user {USER} cannot run {tmp_path}/link, because it may not enter the folder {home}"]


@pytest.mark.parametrize("place", ["", "gone/", "file/"])
def test_a_program_that_is_missing(tmp_path: Path, request: pytest.FixtureRequest, place: str) -> None:
    (tmp_path / "file").touch(mode=0o644)
    program, config = f"{tmp_path}/{place}x", tmp_path / "config.yaml"
    config.write_text(f"sources: {{cam: {{kind: exec, command: [{program}], size: 64x48, format: gray}}}}\n")
    request.getfixturevalue("other")
    assert problems(config) == [f"there is no program {program}; install it, or give its full path"]


def test_a_model(tmp_path: Path, request: pytest.FixtureRequest) -> None:
    closed(tmp_path / "m.tflite", "model")
    config = tmp_path / "config.yaml"
    config.write_text(f"models: {{m: {{file: {tmp_path}/m.tflite, labels: [a]}}}}\n")
    request.getfixturevalue("other")
    (told,) = problems(config)
    file = tmp_path / "m.tflite"
    assert told == (
        f"{file} cannot be read by user {USER}; let its group read it: chgrp {GROUP} {file} && chmod 640 {file}"
    )


def test_nobody_is_told_to_open_a_home() -> None:
    if os.access("/root", os.X_OK) and Path("/root").stat().st_mode & 0o001 == 0:
        os.seteuid(USER)
        try:
            told = denied("/root/m.tflite", "/root/m.tflite")
        finally:
            os.seteuid(0)
        assert told.endswith("who may not enter the folder /root; keep it elsewhere, such as in /etc/edge-infer")


IN_ANOTHER_ETC = """\
set -e
mount -t tmpfs none {work}
mkdir {work}/upper {work}/work
mount -t overlay none -o lowerdir=/etc,upperdir={work}/upper,workdir={work}/work /etc
printf 'newbie:x:1777:1777::/:/bin/sh\\n' >>/etc/passwd
printf 'newbie:x:1777:\\nedge-infer:x:877:\\n' >>/etc/group
mkdir /etc/edge-infer /etc/other
echo secret >/etc/edge-infer/mqtt.pass
chgrp -R edge-infer /etc/edge-infer
chmod {mode} /etc/edge-infer
chmod 640 /etc/edge-infer/mqtt.pass
chmod 700 /etc/other
exec {python} -c 'if True:
    import os
    from edge_infer.platform.permissions import denied, for_the_group
    os.setegid({gid})
    os.seteuid({uid})
    print(for_the_group("FILE", path="{path}"))
    print(denied("{path}", "{path}"))'
"""
JOIN = "run it with sudo, or join the group that may: sudo usermod -aG edge-infer newbie, then log in again"


@pytest.mark.parametrize(
    ("uid", "mode", "path", "remedy"),
    [
        (1777, 750, "/etc/edge-infer/config.yaml", JOIN),
        (1777, 755, "/etc/edge-infer/mqtt.pass", JOIN),
        (1777, 755, "/etc/other/file", "run it with sudo"),
        (USER, 700, "/etc/edge-infer/config.yaml", f"chgrp {GROUP} /etc/edge-infer && chmod 750 /etc/edge-infer"),
        (USER, 755, "/etc/other/file", "it is a system folder: keep a copy of the file in /etc/edge-infer"),
    ],
)
def test_nobody_is_told_to_take_a_system_folder_from_its_group(
    tmp_path: Path, uid: int, mode: int, path: str, remedy: str
) -> None:
    script = IN_ANOTHER_ETC.format(
        work=tmp_path, mode=mode, python=sys.executable, path=path, uid=uid, gid=GROUP if uid == USER else uid
    )
    done = subprocess.run(
        ["unshare", "--mount", "--propagation", "private", "sh", "-c", script],
        capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    if "mount" in done.stderr or "unshare" in done.stderr:
        pytest.skip(f"no file system can be mounted here: {done.stderr.strip()}")
    readable, told = done.stdout.splitlines()
    assert told.endswith((f"; {remedy}", f": {remedy}")), done.stdout + done.stderr
    group = GROUP if uid == USER else "edge-infer" if path.startswith("/etc/edge-infer/") else "newbie"
    assert readable == f"chgrp {group} FILE && chmod 640 FILE"


IN_A_UNIT_WITHOUT_CREDENTIALS = """\
set -e
mount -t tmpfs -o mode=755 none /run
mkdir -m 755 /run/credentials
{mount}
exec {python} -c 'if True:
    import os
    from edge_infer.errors import StartError
    from edge_infer.plan.credentials import source_password
    from edge_infer.plan.records import TlsPlan
    from edge_infer.plan.tls import tls_context
    os.setegid({gid})
    os.seteuid({uid})
    for reads in (lambda: source_password("{path}"), lambda: tls_context(TlsPlan(ca_file="{path}"), "tls", StartError)):
        try:
            reads()
        except Exception as error:
            print(error)'
"""
INACCESSIBLE = "mount -t tmpfs -o mode=000 none /run/credentials"
"""What systemd does in the mounts of a unit without credentials."""
LOST = "/run/credentials/edge-infer.service/mqtt.pass"


def told_of_a_credential(path: str, mount: str, **variables: str) -> list[str]:
    script = IN_A_UNIT_WITHOUT_CREDENTIALS.format(mount=mount, python=sys.executable, gid=GROUP, uid=USER, path=path)
    outside = {name: text for name, text in os.environ.items() if name not in ("STATE_DIRECTORY", "INVOCATION_ID")}
    done = subprocess.run(
        ["unshare", "--mount", "--propagation", "private", "sh", "-c", script],
        capture_output=True, text=True, timeout=60, check=False, env={**outside, **variables},
    )  # fmt: skip
    if "mount" in done.stderr or "unshare" in done.stderr:
        pytest.skip(f"no file system can be mounted here: {done.stderr.strip()}")
    assert not done.stderr
    return done.stdout.splitlines()


@pytest.mark.parametrize("mount", [INACCESSIBLE, ""])
@pytest.mark.parametrize(
    ("path", "remedy"),
    [
        (
            f"{LOST}-ec7b56d9",
            f"replace {DROP_IN} by the output of sudo edge-infer unit, then run sudo systemctl daemon-reload",
        ),
        (
            LOST,
            "add its line LoadCredential=mqtt.pass:FILE again: sudo systemctl edit edge-infer",
        ),
    ],
)
def test_a_credential_that_the_unit_no_longer_passes(path: str, remedy: str, mount: str) -> None:
    told = told_of_a_credential(path, mount, STATE_DIRECTORY="/var/lib/edge-infer", INVOCATION_ID="1")
    why = (
        f"{path} cannot be read: the unit passes no credential {Path(path).name} any more; make the original file "
        f"readable for the service and run sudo systemctl reload edge-infer, or {remedy} "
        "&& sudo systemctl restart edge-infer"
    )
    assert told == [f"the password file {why}", f"tls.ca_file {why}"]


def test_outside_of_the_service_a_credential_asks_for_sudo() -> None:
    private = f"{LOST} cannot be read by user {USER}: it is private to the service; run this as root, with sudo"
    assert told_of_a_credential(LOST, INACCESSIBLE) == [f"the password file {private}", f"tls.ca_file {private}"]


@pytest.mark.parametrize(
    "folder", ["/run", "/run/other", "/usr/share", "/home", "/srv", "/var", "/var/log", "/var/lib/x"]
)
def test_nobody_is_told_to_close_a_folder_of_others(folder: str) -> None:
    """Its group may be that of another service, which could not enter it after that."""
    for closed, path in ((Path(folder), f"{folder}/file"), (None, folder)):
        remedy = _remedy(path, path, path, closed)
        assert "chmod" not in remedy or not Path(folder).is_dir(), remedy
        assert closed is None or remedy == "keep it elsewhere, such as in /etc/edge-infer"


def test_a_file_in_the_state_of_a_service_is_given_to_the_owner_of_the_state(
    tmp_path: Path, request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its owner on the disk may be another one than it seems to the service, and so may its group."""
    state = tmp_path / "state"
    package = state / "models" / "m" / "1"
    package.mkdir(parents=True)
    package.chmod(0o700)
    manifest = closed(state / "models" / "m" / "manifest.yaml", "")
    monkeypatch.setenv("STATE_DIRECTORY", str(state))
    request.getfixturevalue("other")
    give = f"give it to the service: sudo chown -R --reference={state}"
    assert denied(manifest, str(manifest)) == f"cannot be read by user {USER}; {give} {manifest}"
    file = package / "manifest.yaml"
    assert denied(file, str(file)) == (
        f"cannot be read by user {USER}, who may not enter the folder {package}; {give} {package}"
    )


def test_a_state_directory_of_root_needs_a_restart_by_which_systemd_gives_it_to_the_service(
    tmp_path: Path, request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With itself as the reference, ``chown`` would change nothing; and a folder above it belongs to others."""
    state = tmp_path / "lib" / "state"
    state.mkdir(parents=True)
    state.chmod(0o700)
    file = closed(state / "manifest.yaml", "")
    monkeypatch.setenv("STATE_DIRECTORY", str(state))
    monkeypatch.setenv("INVOCATION_ID", "1")
    request.getfixturevalue("other")
    who = f"cannot be read by user {USER}, who may not enter the folder"
    restart = "restart the service, to which systemd then gives it: sudo systemctl restart edge-infer"
    assert denied(file, str(file)) == f"{who} {state}; {restart}"
    os.seteuid(0)
    state.parent.chmod(0o700)
    os.seteuid(USER)
    assert denied(file, str(file)) == f"{who} {state.parent}; let all users enter: sudo chmod a+x {state.parent}"


def test_a_file_in_tmp_is_not_there_for_the_service(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    config = tmp_path / "config.yaml"
    config.write_text("sources: {clip: {kind: video, file: /var/tmp/none/clip.mp4}}\n")
    assert problems(config) == ["/var/tmp/none/clip.mp4 does not exist"]
    monkeypatch.setenv("STATE_DIRECTORY", str(tmp_path))
    monkeypatch.setenv("INVOCATION_ID", "1")
    hint = "the service has a private /tmp and /var/tmp: keep the file in /etc/edge-infer"
    assert problems(config) == [f"/var/tmp/none/clip.mp4 does not exist; {hint}"]


def test_what_the_service_keeps_to_itself_asks_for_sudo() -> None:
    found = "/var/lib/private/edge-infer/models/x"
    if Path("/var/lib/private").is_dir() and os.geteuid() == 0:
        os.seteuid(USER)
        try:
            assert (
                denied(found)
                == f"cannot be read by user {USER}: it is private to the service; run this as root, with sudo"
            )
        finally:
            os.seteuid(0)
