"""``deploy/install``, the true script, into a root of its own."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from edge_infer import __version__
from edge_infer.sandbox.other_services import AVAHI
from edge_infer.sandbox.systemd_dropin import drop_in
from tests.publisher.samples import mqtt_plan, plan
from tests.running import PYTHON as OTHERS_PYTHON

ROOT = Path(__file__).parents[2]
SCRIPT = ROOT / "deploy/install"
PYTHON = os.path.realpath(sys.executable)


def install(
    *words: str, cwd: Path | None = None, script: Path = SCRIPT, **environment: str
) -> subprocess.CompletedProcess[str]:
    """Runs the script to its end."""
    return subprocess.run(
        [str(script), *words],
        capture_output=True,
        text=True,
        timeout=900,
        check=False,
        cwd=cwd,
        env={**os.environ, **environment},
    )


@pytest.fixture(scope="module")
def image(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A file system with edge-infer in it."""
    root = tmp_path_factory.mktemp("image")
    done = install("--root", str(root), "--python", PYTHON)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "systemd does not run here" in done.stdout
    return root


def versions(root: Path) -> list[str]:
    return sorted(path.name for path in (root / "opt/edge-infer/versions").iterdir())


def edge_infer(root: Path, *words: str) -> subprocess.CompletedProcess[str]:
    """The installed program; its own script names the Python of the image, which is not there yet."""
    python = root / "opt/edge-infer/current/bin/python"
    return subprocess.run(
        [str(python), "-I", "-m", "edge_infer", *words], capture_output=True, text=True, timeout=120, check=False
    )


def extra_packages(root: Path) -> list[str]:
    """The packages of extras that the version which serves contains."""
    (packages,) = (root / "opt/edge-infer/current/lib").glob("python3*/site-packages")
    return [name for name in ("sounddevice.py", "pymicro_features", "cryptography") if (packages / name).exists()]


def test_the_program_lies_where_the_unit_looks_for_it(image: Path) -> None:
    unit = (image / "etc/systemd/system/edge-infer.service").read_text()
    assert "ExecStart=/opt/edge-infer/bin/edge-infer run -c /etc/edge-infer/config.yaml" in unit
    script = image / "opt/edge-infer/bin/edge-infer"
    assert script.resolve().read_text().startswith("#!/opt/edge-infer/versions/")
    assert str((image / "usr/local/bin/edge-infer").readlink()) == "/opt/edge-infer/bin/edge-infer"
    assert edge_infer(image, "--version").stdout.startswith("edge-infer ")
    scripts = [path for path in (image / "opt/edge-infer/current/bin").iterdir() if not path.is_symlink()]
    assert [path.name for path in scripts if str(image) in path.read_text(errors="replace")] == []


def test_the_configuration_works_until_it_is_edited(image: Path, tmp_path: Path) -> None:
    text = (image / "etc/edge-infer/config.yaml").read_text()
    assert text.startswith("# yaml-language-server: $schema=/opt/edge-infer/share/config.schema.json\n")
    assert (image / "opt/edge-infer/share/config.schema.json").stat().st_size > 1000
    assert (image / "opt/edge-infer/current/share/edge-infer/catalogue.yaml").stat().st_size > 1000
    moved = tmp_path / "config.yaml"
    moved.write_text(text.replace("/opt/", f"{image}/opt/").replace("/var/lib/", f"{image}/var/lib/"))
    done = edge_infer(image, "check", "-c", str(moved))
    assert done.returncode == 0, done.stdout


def test_an_upgrade_keeps_configuration_state_and_the_version_before(image: Path) -> None:
    config, state = image / "etc/edge-infer/config.yaml", image / "var/lib/edge-infer/kept"
    config.write_text("# mine\n")
    state.write_text("mine")
    manifest = image / "var/lib/edge-infer/models/face-detect/1.0.0/manifest.yaml"
    manifest.write_text(manifest.read_text() + "# seen\n")
    (before,) = versions(image)
    (image / "opt/edge-infer/versions/broken-off").mkdir()  # of an installation that was killed
    assert not extra_packages(image)
    (packages,) = (image / "opt/edge-infer/current/lib").glob("python3*/site-packages")
    (packages / "pymicro_features-2.0.0.dist-info").mkdir()
    (packages / "pymicro_features-2.0.0.dist-info/METADATA").write_text("Name: pymicro-features\nVersion: 2.0.0\n")
    done = install("--upgrade", "--root", str(image), "--python", PYTHON)
    assert done.returncode == 0, done.stdout + done.stderr
    now, previous = ((image / "opt/edge-infer" / name).readlink().name for name in ("current", "previous"))
    assert (previous, now != before) == (before, True)
    assert versions(image) == sorted((before, now))
    assert (config.read_text(), state.read_text()) == ("# mine\n", "mine")
    assert manifest.read_text().endswith("# seen\n")
    assert edge_infer(image, "--version").returncode == 0
    assert extra_packages(image) == ["pymicro_features"]


def test_a_failed_upgrade_leaves_what_works(image: Path) -> None:
    before = versions(image)
    done = install(
        "--root", str(image), "--python", PYTHON, PIP_NO_INDEX="1", PIP_FIND_LINKS="", PIP_CONFIG_FILE="/dev/null"
    )
    assert done.returncode == 1
    assert done.stderr.splitlines()[-1].endswith(
        f"(see above); nothing was changed; is there a network, and space below {image}/opt/edge-infer?"
    )
    assert versions(image) == before
    assert edge_infer(image, "--version").returncode == 0


def test_a_version_with_a_syntax_error_in_a_module_that_no_trial_loads_is_refused(image: Path, tmp_path: Path) -> None:
    before = versions(image)
    names = ("deploy", "edge_infer", "models", "systemd", "pyproject.toml", "README.md", "LICENSE")
    subprocess.run(["cp", "-r", *(str(ROOT / name) for name in names), str(tmp_path)], check=True)
    with (tmp_path / "edge_infer/cli/pause.py").open("a") as module:
        module.write("def broken(:\n")
    done = install("--upgrade", "--root", str(image), "--python", PYTHON, script=tmp_path / "deploy/install")
    assert done.returncode == 1, done.stdout + done.stderr
    assert "/edge_infer/cli/pause.py" in done.stderr
    assert done.stderr.splitlines()[-1].endswith(
        "a module of the program cannot be compiled (see above); nothing was changed"
    )
    assert versions(image) == before
    assert edge_infer(image, "--version").returncode == 0


@pytest.mark.skipif(os.geteuid() != 0, reason="only root may mount a file system")
@pytest.mark.parametrize("room", ["size=64k", "nr_inodes=3", "nr_inodes=4"])
def test_a_full_disk_is_told_with_its_folder(tmp_path: Path, room: str) -> None:
    """There is no place for the virtual environment, for the folder of the versions, or for that of the new one."""
    subprocess.run(["mount", "-t", "tmpfs", "-o", room, "none", tmp_path], check=True)
    try:
        done = install("--root", str(tmp_path), "--python", PYTHON)
        assert list(tmp_path.rglob("*")) == [tmp_path / "opt"]
    finally:
        subprocess.run(["umount", tmp_path], check=True)
    assert done.returncode == 1
    assert done.stderr.splitlines()[-1].endswith(
        f"(see above); nothing was changed; is there space below {tmp_path}/opt/edge-infer?"
    )


COMPARE = f"""
set -eu
warn() {{ printf '%s\\n' "$*"; }}
eval "$(sed -n '/^fail() {{/p; /^compare_on_config() {{/,/^}}/p' {SCRIPT})"
installed() {{ true; }}
root= config=$PWD/config.yaml prefix=$PWD/old new=$PWD/new
compare_on_config
"""


@pytest.mark.parametrize(
    ("code", "told"),
    [
        (0, ""),
        (2, "the new version does not take {config} (see above); the old one stays\n"),
        (9, "the new version could not check {config}: edge-infer check ended with exit code 9; the old one stays\n"),
    ],
)
def test_a_check_of_the_new_version_that_says_nothing_is_told(tmp_path: Path, code: int, told: str) -> None:
    for version, ends in (("old", 0), ("new", code)):
        (tmp_path / version / "bin").mkdir(parents=True)
        program = tmp_path / version / "bin/edge-infer"
        program.write_text(f"#!/bin/sh\nexit {ends}\n")
        program.chmod(0o755)
    config = tmp_path / "config.yaml"
    config.write_text("")
    done = subprocess.run(
        ["bash", "-c", COMPARE], cwd=tmp_path, capture_output=True, text=True, timeout=60, check=False
    )
    assert (done.returncode, done.stdout) == (int(code != 0), told.format(config=config)), done.stderr


BUILD = f"""
set -euo pipefail
checkout=$PWD/checkout
eval "$(sed -n '/^build_of() {{/,/^}}/p' {SCRIPT})"
build_of $PWD/checkout
"""


def build(folder: Path) -> str:
    """What the script adds to the number of the version, for a checkout in the folder."""
    return subprocess.run(
        ["bash", "-c", BUILD], cwd=folder, capture_output=True, text=True, timeout=60, check=True
    ).stdout.strip()


def test_builds_of_a_version_can_be_told_apart(tmp_path: Path, image: Path) -> None:
    """By the commit, or by the files if they differ from it or belong to none."""
    checkout = tmp_path / "checkout"
    (checkout / "edge_infer").mkdir(parents=True)
    (checkout / "edge_infer/one.py").write_text("1")
    other = ["git", "-c", "user.name=x", "-c", "user.email=x@x", "-C"]
    subprocess.run([*other[:1], "init", "-q", tmp_path], check=True)  # a repository around the files is not theirs
    subprocess.run([*other, tmp_path, "commit", "-q", "--allow-empty", "-m", "x"], check=True)
    copied = build(tmp_path)
    assert re.fullmatch("sha[0-9a-f]{12}", copied)
    subprocess.run([*other[:1], "init", "-q", checkout], check=True)
    subprocess.run([*other, checkout, "add", "."], check=True)
    subprocess.run([*other, checkout, "commit", "-q", "-m", "x"], check=True)
    commit = subprocess.run([*other, checkout, "rev-parse", "HEAD"], capture_output=True, text=True, check=True).stdout
    if os.geteuid() == 0:
        subprocess.run(["chown", "-R", "nobody", checkout], check=True)  # as a clone of the user who runs sudo
    assert build(tmp_path) == f"g{commit[:12]}"
    (checkout / "notes").write_text("mine")  # is not installed
    assert build(tmp_path) == f"g{commit[:12]}"
    (checkout / "edge_infer/two.py").write_text("2")
    changed = build(tmp_path)
    assert re.fullmatch("sha[0-9a-f]{12}", changed)
    assert changed != copied
    shown = edge_infer(image, "--version").stdout
    assert re.fullmatch(rf"edge-infer {re.escape(__version__)}\+(g|sha)[0-9a-f]{{12}}\n", shown)


IN_STATE = f"""
set -euo pipefail
root= state=$PWD/state
eval "$(sed -n '/^in_state() (/,/^)/p' {SCRIPT})"
in_state sh -c 'for each in 0 1 2; do ! test -t $each; done; ! (: <>/dev/tty); id -un; ls -l /proc/self/fd >&2; exit 7'
"""


@pytest.mark.skipif(os.geteuid() != 0, reason="only root runs as another user")
def test_a_command_in_the_state_directory_does_not_have_the_terminal_of_root(tmp_path: Path) -> None:
    """Another process of the service's user could take the command over, and type into the terminal."""
    (tmp_path / "state").mkdir()
    shutil.chown(tmp_path / "state", "nobody")
    ours, theirs = os.openpty()
    with os.fdopen(ours, "rb", buffering=0) as terminal:
        process = subprocess.Popen(
            ["setsid", "--ctty", "--wait", "bash", "-c", IN_STATE], cwd=tmp_path, stdin=theirs, stdout=theirs,
            stderr=theirs,
        )  # fmt: skip
        code = process.wait(60)
        os.close(theirs)
        told = terminal.read(65536).decode()
    assert code == 7, told
    assert "nobody" in told
    assert "/dev/tty: No such device" in told
    assert "/dev/pts" not in told


REFUSES = f"""
set -euo pipefail
root= state=$PWD
eval "$(sed -n '/^refuses_models() {{/,/^}}/p' {SCRIPT})"
if refuses_models; then echo yes; else echo no; fi
"""


@pytest.mark.parametrize(
    ("make", "told"),
    [
        ("true", "no"),
        ("echo '{\"refused\":{}}' >serving.json", "no"),
        ('echo \'{"refused":{"faces":[]}}\' >serving.json', "yes"),
        ('{ echo \'{"refused":{"faces":[]}}\'; seq 99999; } >serving.json', "yes"),
        ('echo \'{"refused":{"faces":[]}}\' >other && ln -s other serving.json', "no"),
        ("mkfifo serving.json", "no"),
        ("mkfifo serving.json && exec 8<>serving.json", "no"),
        ("truncate -s 1T serving.json", "no"),
    ],
)
def test_only_the_record_of_models_is_read_for_a_rollback(tmp_path: Path, make: str, told: str) -> None:
    """The service may put a pipe there, at which root would wait forever."""
    done = subprocess.run(
        ["bash", "-c", make + REFUSES], cwd=tmp_path, capture_output=True, text=True, timeout=60, check=False
    )
    assert (done.returncode, done.stdout) == (0, f"{told}\n"), done.stderr


def test_a_state_that_lies_in_two_folders_is_told_before_anything_is_installed(tmp_path: Path) -> None:
    state, private = tmp_path / "var/lib/edge-infer", tmp_path / "var/lib/private/edge-infer"
    for folder in (state, private):
        folder.mkdir(parents=True)
    done = install("--root", str(tmp_path), "--python", PYTHON)
    assert (done.returncode, done.stdout) == (3, "")
    assert (
        "two folders for the state, /var/lib/edge-infer and /var/lib/private/edge-infer, and systemd uses"
        in done.stderr
    )
    assert f"sudo cp -a {state}/. {private}; then move the first away: sudo mv {state} {state}.before" in done.stderr
    assert sorted(path.name for path in tmp_path.iterdir()) == ["var"]


@pytest.mark.parametrize(
    ("words", "code", "text"),
    [
        (["--sideways"], 2, "unknown argument --sideways"),
        (["--prefix", "opt"], 2, "absolute path"),
        (["--prefix", "/"], 2, "absolute path"),
        (["--prefix"], 2, "needs a value"),
        (["--purge"], 2, "--remove"),
        (["--root", "/nowhere", "--python", "/nowhere/python3"], 3, "apt install python3 python3-venv"),
        (["--upgrade", "--root", "/nowhere", "--python", PYTHON], 3, "nothing is installed"),
    ],
)
def test_a_wrong_command_line_says_what_would_be_right(words: list[str], code: int, text: str) -> None:
    done = install(*words)
    assert (done.returncode, done.stdout) == (code, "")
    assert text in done.stderr


def test_no_module_in_the_working_directory_runs(tmp_path: Path) -> None:
    """Root may stand in a folder of another user: the script ends at a Python that is not there, and asks it before."""
    folder, root = tmp_path / "folder", tmp_path / "root"
    folder.mkdir()
    planted = f"open({str(tmp_path / 'planted')!r}, 'a').write(__name__)\nraise SystemExit(1)\n"
    for name in ("ensurepip", "venv", "pip", "platform"):
        (folder / f"{name}.py").write_text(planted)
    (folder / "python").write_text(f'#!/bin/sh\ncase "$*" in "-m venv"*) exit 7;; esac\nexec {PYTHON} "$@"\n')
    (folder / "python").chmod(0o755)
    done = install("--root", str(root), "--python", "./python", cwd=folder)
    assert (done.returncode, "installing the program" in done.stdout) == (1, True), done.stderr
    assert not (tmp_path / "planted").exists()


EXCHANGE = """
import os, pathlib, sys
folder, secret, owner = pathlib.Path(sys.argv[1]), sys.argv[2], os.getuid()
print("ready", flush=True)
while folder.stat().st_uid == owner:
    pass
done = 0
for place in sorted(folder.glob("e*/f")):
    try:
        place.rename(place.parent / "g")
        place.symlink_to(secret)
        done += 1
    except OSError:
        pass
print("exchanged", done > 0, flush=True)
"""
"""Once the first folder has changed hands, its former owner puts links into the paths of files still to come."""
RACE = f"""
set -eu
mkdir -p secret etc && for each in $(seq 50); do mkdir -p etc/d/e$each/f && touch etc/d/e$each/f/shadow; done
echo "of root" >secret/shadow
chmod 600 secret/shadow
touch etc/config.yaml
for each in $(seq 300); do touch etc/d/a$each; done
chmod 600 etc/d/a* && chmod 700 etc/d/e1 && ln -s ../config.yaml etc/d/link && ln etc/d/a1 second
touch etc/d/setuid && chmod 4700 etc/d/setuid
chown -R -h nobody:nogroup etc/d
chmod 4700 etc/d/setuid
setpriv --reuid nobody --regid nogroup --clear-groups {OTHERS_PYTHON} -c "$2" "$PWD/etc/d" "$PWD/secret" >attack &
until grep -q ready attack; do sleep 0.1; done
eval "$(sed -n '/^hand_over_files() {{/,/^}}/p' {SCRIPT})"
say() {{ printf '%s\\n' "$*" >>said; }}
root= account=nobody group=nogroup config=$PWD/etc/config.yaml new=$1
hand_over_files
wait
grep exchanged attack
stat -c '%U:%G:%a' secret/shadow etc/d/a2 etc/d/e1 etc/d/setuid etc/d/link etc/config.yaml
grep -c 'a2 belongs to root now' said
"""


@pytest.mark.skipif(os.geteuid() != 0, reason="only root hands files over")
def test_the_former_account_gets_no_file_of_root_while_its_own_are_handed_over(tmp_path: Path) -> None:
    tmp_path.chmod(0o755)
    (tmp_path / "new/bin").mkdir(parents=True)
    (tmp_path / "new/bin/python").symlink_to(PYTHON)
    folder = tmp_path / "here"
    folder.mkdir()
    done = subprocess.run(
        ["bash", "-c", RACE, "race", str(tmp_path / "new"), EXCHANGE],
        cwd=folder, capture_output=True, text=True, timeout=120, check=False,
    )  # fmt: skip
    attacked, *lines = done.stdout.splitlines()
    assert attacked == "exchanged True", done.stderr
    assert lines == [
        *("root:root:600", "root:nogroup:640", "root:nogroup:750", "root:nogroup:740", "root:nogroup:777"),
        *("root:root:644", "1"),
    ], done.stderr
    assert (folder / "second").owner() == "nobody", "a file with another name may be one of a program"


KEPT = f"""
set -euo pipefail
mount --bind nsswitch.conf /etc/nsswitch.conf
eval "$(sed -n '/^keep_look_ups() {{/,/^}}/p' {SCRIPT})"
say() {{ printf '%s\\n' "$*"; }}
root= config=$PWD/config.yaml new=$PWD/new unit=edge-infer.service
keep_look_ups
"""


@pytest.mark.skipif(os.geteuid() != 0, reason="only root may mount another nsswitch.conf")
@pytest.mark.parametrize(
    ("config", "part", "opened"),
    [
        ("mqtt: {host: broker.local}\n", "", [AVAHI]),
        ("mqtt:\n  host: 192.0.2.7 # not broker.local\n", "", []),
        ("", "sources:\n  cam: {kind: rtsp, url: 'rtsp://user:word@cam.local:554/a'}\n", [AVAHI]),
        ("mqtt: {host: '${BROKER}'}\n", "", [AVAHI]),
        ("", "sources:\n  cam: {kind: rtsp, url: '${CAMERA}'}\n", [AVAHI]),
        ('{"mqtt": {"host": "broker.local"}}\n', "", [AVAHI]),
        ("mqtt:\n  host:\n    broker.local\n", "", [AVAHI]),
        ("mqtt: {host: &name 'broker.local'}\n", "", [AVAHI]),
        ("mqtt: {host: *name}\n", "", [AVAHI]),
        ("mqtt:\n  # host: broker.local\n  host: # none\n  port: 1883\n", "#url: 'http://cam.local/'\n", []),
        ("about: 'the #1 # box'\nmqtt: {id: 'a # b', host: broker.local}\n", "", [AVAHI]),
    ],
)
def test_an_upgrade_keeps_the_service_open_that_finds_a_configured_name(
    tmp_path: Path, config: str, part: str, opened: list[str]
) -> None:
    prepare_upgrade(tmp_path, config)
    (tmp_path / "conf.d/cam.yaml").write_text(part)
    done, lost = keep_look_ups(tmp_path)
    assert lost == {f"-{path}" for path in opened}
    assert [path for path in opened if path not in done.stdout] == []


def prepare_upgrade(folder: Path, config: str) -> None:
    """The files of `keep_look_ups`: those of the new version, and the configuration."""
    for each in ("new/bin", "new/share", "conf.d"):
        (folder / each).mkdir(parents=True)
    (folder / "new/bin/python").write_text(f'#!/bin/sh\nexec {sys.executable} "$@"\n')
    (folder / "new/bin/python").chmod(0o755)
    (folder / "config.yaml").write_text(config)
    (folder / "nsswitch.conf").write_text("hosts: files mdns4_minimal [NOTFOUND=return] dns\n")


def keep_look_ups(folder: Path) -> tuple[subprocess.CompletedProcess[str], set[str]]:
    """What the function prints, and what the unit no longer closes."""
    unit = folder / "new/share/edge-infer.service"
    before = (ROOT / "systemd/edge-infer.service").read_text()
    unit.write_text(before)
    command = ["unshare", "--mount", "bash", "-c", f"ulimit -v 1500000\n{KEPT}"]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=True, timeout=60)
    return done, set(before.split()) - set(unit.read_text().split())


@pytest.mark.skipif(os.geteuid() != 0, reason="only root may mount another nsswitch.conf")
def test_an_upgrade_reads_only_usual_files_of_a_user_who_owns_a_part_of_the_configuration(tmp_path: Path) -> None:
    prepare_upgrade(tmp_path, "mqtt: {host: broker.local}\n")
    part, own = tmp_path / "conf.d/cam.yaml", tmp_path / "own.yaml"
    own.write_text("sources:\n  cam: {kind: rtsp, url: 'rtsp://cam.local/a'}\n")
    os.mkfifo(tmp_path / "pipe")
    for each in (own, part.parent, tmp_path / "pipe"):
        os.chown(each, 61400, 61400)
    for target in ("/proc/kmsg", "/proc/1/mem", "/dev/zero", "/etc/shadow", str(tmp_path / "pipe"), "missing"):
        part.symlink_to(target)
        os.chown(part, 61400, 61400, follow_symlinks=False)
        done, lost = keep_look_ups(tmp_path)
        assert not lost
        assert "cannot be read (see above), so no service that looks up names stays open" in done.stdout
        assert str(part) in done.stderr
        assert "Traceback" not in done.stderr
        part.unlink()
    part.touch()
    os.truncate(part, 3 << 30)
    done, lost = keep_look_ups(tmp_path)
    assert not lost
    assert "larger than 4 MiB" in done.stderr
    part.unlink()
    part.symlink_to(own)
    os.chown(part, 61400, 61400, follow_symlinks=False)
    assert keep_look_ups(tmp_path)[1] == {f"-{AVAHI}"}
    part.unlink()
    (tmp_path / "config.yaml").unlink()
    done, lost = keep_look_ups(tmp_path)
    assert (done.stdout, done.stderr, lost) == ("", "", set())


RETAINED = (
    "the broker keeps this device's retained messages; to clear them, with its broker, prefix and id: mosquitto_sub -h "
    "BROKER -W 5 --remove-retained -t 'edge-infer/DEVICE/#' -t 'homeassistant/device/edge-infer_DEVICE/config'"
)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root may mount a file system")
def test_a_state_on_a_disk_of_its_own_is_emptied(tmp_path: Path) -> None:
    config, state = tmp_path / "etc/edge-infer", tmp_path / "var/lib/edge-infer"
    for folder in (config, state):
        folder.mkdir(parents=True)
    (config / "config.yaml").write_text("")
    subprocess.run(["mount", "-t", "tmpfs", "none", state], check=True)
    try:
        (state / "models").mkdir()
        (state / "models" / "m").write_text("")
        done = install("--remove", "--purge", "--root", str(tmp_path))
        assert list(state.iterdir()) == []
    finally:
        subprocess.run(["umount", state], check=True)
    assert (done.returncode, done.stderr) == (0, "")
    stays = f"{state} is empty now and stays, because it is a mount of its own; after its umount: sudo rmdir {state}"
    assert done.stdout.splitlines() == [
        f"edge-infer: {stays}",
        "edge-infer: removed, with configuration, state and groups",
        f"edge-infer: {RETAINED}",
    ]
    assert not config.exists()


def test_its_help_shows_an_example() -> None:
    done = install("-h")
    assert done.returncode == 0
    assert "example: sudo deploy/install" in done.stdout


def test_removal_keeps_what_is_yours_and_purge_does_not(image: Path) -> None:
    drop_ins = image / "etc/systemd/system/edge-infer.service.d"
    drop_ins.mkdir()
    box = drop_in(plan(mqtt_plan(1883)), Path("/etc/edge-infer/config.yaml"))
    (drop_ins / "box.conf").write_text(box)
    (drop_ins / "override.conf").write_text("[Service]\nNice=5\n")
    done = install("--remove", "--root", str(image))
    assert (done.returncode, f"to remove them: sudo rm -r {drop_ins}" in done.stdout) == (0, True), done.stdout
    assert sorted(path.name for path in drop_ins.iterdir()) == ["box.conf", "override.conf"]
    left = {str(path.relative_to(image)) for path in image.rglob("*") if path.is_file()}
    kept = ("etc/edge-infer/", "var/lib/edge-infer/", "etc/systemd/system/edge-infer.service.d/")
    assert all(name.startswith(kept) for name in left), left
    assert "etc/edge-infer/config.yaml" in left
    done = install("--remove", "--purge", "--root", str(image))
    assert (done.returncode, f"to remove them: sudo rm -r {drop_ins}" in done.stdout) == (0, True), done.stdout
    assert done.stdout.endswith(f"edge-infer: {RETAINED}\n")
    assert [path.name for path in drop_ins.iterdir()] == ["override.conf"]
    (drop_ins / "override.conf").unlink()
    done = install("--remove", "--purge", "--root", str(image))
    assert (done.returncode, RETAINED in done.stdout) == (0, False)  # the first removal has advised it
    assert [path for path in image.rglob("*") if not path.is_dir()] == []
    again = install("--remove", "--root", str(image))  # nothing left to remove is no fault
    assert (again.returncode, again.stdout) == (0, "edge-infer: removed; no configuration and no state are left\n")
