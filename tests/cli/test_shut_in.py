"""Commands that run a model themselves lock themselves for every user, and read what was named to them alone."""

from __future__ import annotations

import fcntl
import json
import os
import shutil
import stat
import struct
import subprocess
import sys
import termios
from pathlib import Path
from typing import Any

import pytest

from edge_infer.cli.as_owner import CommandOutput
from edge_infer.errors import ConfigError
from edge_infer.sandbox.identity import Identity
from tests.attacker import attacking
from tests.running import CLIP, MODEL, ROOT

PICTURE = ROOT / "models" / "face-detect" / "1.0.0" / "golden" / "astronaut.png"
USER = 23456
ATTACK = """
import errno, json, os, socket
def attempt(what):
    try:
        what()
    except OSError as error:
        return errno.errorcode[error.errno]
    return "allowed"
def fork():
    if os.fork() == 0:
        os._exit(0)
found = {
    "read": attempt(lambda: open(SECRET).read()),
    "write": attempt(lambda: open(SECRET + ".left", "w").close()),
    "fork": attempt(fork),
    "unix": attempt(lambda: socket.socket(socket.AF_UNIX).close()),
    "inet": attempt(lambda: socket.socket(socket.AF_INET).close()),
}
os.write(2, f"\\nATTACK {json.dumps(found)}\\n".encode())
"""
REFUSED = {"read": "EACCES", "write": "EACCES", "fork": "EPERM", "unix": "EPERM", "inet": "EPERM"}


def attacked(
    folder: Path, secret: Path, *words: object, user: int | None = None
) -> tuple[subprocess.CompletedProcess[str], dict[str, Any]]:
    """An ``edge-infer`` command as ``user``, and what somebody else's code in it could do after its lock."""
    with attacking(folder, {"edge_infer": f"SECRET = {str(secret)!r}\n{ATTACK}"}):
        done = subprocess.run(
            [sys.executable, "-m", "edge_infer", *map(str, words)],
            cwd=folder, env={**os.environ, "HOME": str(folder)}, user=user, group=user,
            extra_groups=None if user is None else [], capture_output=True, text=True, timeout=180, check=False,
        )  # fmt: skip
    shutil.rmtree(folder / "attack")
    line = next((line for line in done.stderr.splitlines() if line.startswith("ATTACK ")), "")
    assert line, done.stderr
    return done, json.loads(line.removeprefix("ATTACK "))


@pytest.fixture
def box(tmp_path: Path) -> Path:
    """A folder of `USER`, with a model, a configuration, and a secret that everybody may read; or one's own."""
    folder = tmp_path / "box"
    folder.mkdir()
    shutil.copy(MODEL, folder / "m.tflite")
    shutil.copy(PICTURE, folder / "a.png")
    shutil.copy(CLIP, folder / "clip.mp4")
    (folder / "secret").write_text("secret")
    (folder / "data").mkdir()
    shutil.copy(PICTURE, folder / "data" / "a.png")
    (folder / "data" / "a.txt").write_text("0 0.4 0.3 0.3 0.3\n")
    (folder / "config.yaml").write_text(
        "device: {id: box, state_dir: state}\nmqtt: {host: 127.0.0.1, port: 1}\nmodels: {m: {file: m.tflite}}\n"
        "sources: {cam: {kind: video, file: clip.mp4}}\npipelines: {m: {source: cam, model: m}}\n"
    )
    if os.geteuid() == 0:
        for path in (folder, *folder.rglob("*")):
            os.chown(path, USER, USER)
    return folder


COMMANDS = [
    ("infer", "{box}/m.tflite", "{box}/a.png"),
    ("infer", "{box}/m.tflite", "{box}/a.png", "--annotate", "{box}/drawn"),
    ("explain", "{box}/m.tflite", "{box}/a.png", "--masks", "200", "-o", "{box}/why.png"),
    ("bench", "{box}/m.tflite", "--seconds", "1", "--rounds", "2"),
    ("bench", "{box}/m.tflite", "--seconds", "1", "--rounds", "2", "--clip", "{box}/clip.mp4"),
    ("evaluate", "{box}/m.tflite", "{box}/data"),
    ("evaluate", "{box}/m.tflite", "{box}/data", "--report", "{box}/out.html", "--resume", "{box}/kept"),
    ("replay", "-c", "{box}/config.yaml"),
    ("replay", "-c", "{box}/config.yaml", "--annotate", "{box}/out.mp4"),
]


@pytest.mark.parametrize("words", COMMANDS, ids=" ".join)
def test_an_ordinary_user_is_behind_the_walls_of_an_engine(box: Path, words: tuple[str, ...]) -> None:
    user = USER if os.geteuid() == 0 else None
    done, found = attacked(box, box / "secret", *(word.format(box=box) for word in words), user=user)
    assert (done.returncode, found) == (0, REFUSED), done.stderr
    assert not (box / "secret.left").exists()
    for drawn in ("drawn/a.jpg", "out.html", "out.mp4", "why.png"):
        assert not any(drawn.split("/")[0] in word for word in words) or (box / drawn).stat().st_size > 1000


def test_a_program_that_calls_the_command_is_not_locked(box: Path) -> None:
    words = ["infer", f"{box}/m.tflite", f"{box}/a.png"]
    code = f"from edge_infer.cli import main\nassert main({words}) == 0\nopen('{box}/secret')"
    subprocess.run([sys.executable, "-c", code], cwd=box, capture_output=True, check=True, timeout=180)


root_only = pytest.mark.skipif(os.geteuid() != 0, reason="only root has powers to give up")


@pytest.fixture
def private(tmp_path: Path) -> Path:
    """A folder that only root may enter."""
    folder = tmp_path / "private"
    folder.mkdir(mode=0o700)
    (folder / "secret").write_text("secret")
    shutil.copy(PICTURE, folder / "a.png")
    shutil.copy(CLIP, folder / "clip.mp4")
    return folder


def link(path: Path, target: Path, user: int) -> None:
    path.symlink_to(target)
    os.lchown(path, user, user)


EARLIER = 61300
"""A number that an earlier command of root may have had."""
OUTPUTS = [
    (("infer", "{box}/m.tflite", "{box}/a.png", "--annotate", "{box}/drawn"), "drawn/a.jpg"),
    (("replay", "-c", "{box}/config.yaml", "--annotate", "{box}/out.mp4"), "out.mp4"),
    (("evaluate", "{box}/m.tflite", "{box}/data", "--report", "{box}/out.html", "--golden", "{box}/drawn"), "out.html"),
    (("explain", "{box}/m.tflite", "{box}/a.png", "--masks", "200", "-o", "{box}/why.png"), "why.png"),
]


def run_as_root(box: Path, words: tuple[str, ...]) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "edge_infer", *(word.format(box=box) for word in words)]
    return subprocess.run(command, cwd=box, capture_output=True, text=True, timeout=180, check=False)


@root_only
@pytest.mark.parametrize(("words", "output"), OUTPUTS)
def test_root_writes_the_file_of_an_earlier_run_again(box: Path, words: tuple[str, ...], output: str) -> None:
    """Which worked as another unused user."""
    path = box / output
    path.parent.mkdir(exist_ok=True)
    path.write_text("earlier")
    for each in (path, path.parent) if path.parent != box else (path,):
        os.chown(each, EARLIER, EARLIER)
    done = run_as_root(box, words)
    assert done.returncode == 0, done.stderr
    assert path.stat().st_size > 1000
    assert path.stat().st_uid not in (0, EARLIER)


@pytest.mark.parametrize("user", [USER, None] if os.geteuid() == 0 else [None])
@pytest.mark.parametrize(("words", "output"), OUTPUTS)
def test_pictures_are_for_their_owner_alone(box: Path, words: tuple[str, ...], output: str, user: int | None) -> None:
    before = set(box.rglob("*"))
    command = [sys.executable, "-m", "edge_infer", *(word.format(box=box) for word in words)]
    done = subprocess.run(
        command, cwd=ROOT, capture_output=True, text=True, timeout=180, check=False, umask=0o022,
        user=user, group=user, extra_groups=None if user is None else [],
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    new = {path: stat.S_IMODE(path.stat().st_mode) for path in set(box.rglob("*")) - before}
    assert box / output in new
    assert all(mode == (0o700 if path.is_dir() else 0o600) for path, mode in new.items()), new


@root_only
@pytest.mark.parametrize("kind", ["link", "second name", "other user", "folder of a service"])
def test_root_gives_no_file_away_that_may_be_of_another(box: Path, kind: str) -> None:
    service = box / "service"
    service.mkdir()
    path, real = box / "out.mp4", service / "out.mp4"
    real.write_text("of a service")
    owner = USER + 1 if kind == "other user" else EARLIER  # the command works as the user of the configuration
    os.chown(real, owner, owner)
    if kind == "link":
        path.symlink_to(real)
    elif kind == "second name":
        path.hardlink_to(real)
    elif kind == "other user":
        real.rename(path)
    else:
        os.chown(service, EARLIER, EARLIER)
        path = real
    done = run_as_root(box, ("replay", "-c", "{box}/config.yaml", "--annotate", str(path)))
    assert (done.returncode, "which cannot write there" in done.stderr) == (2, True), done.stderr
    assert (path.stat().st_uid, path.read_text()) == (owner, "of a service")


@root_only
@pytest.mark.parametrize(("words", "output"), OUTPUTS)
def test_a_command_of_root_that_is_refused_leaves_no_output(box: Path, words: tuple[str, ...], output: str) -> None:
    for name in ("m.tflite", "config.yaml"):
        (box / name).write_text("nonsense")
    done = run_as_root(box, words)
    assert done.returncode in (2, 3), done.stderr
    assert not (box / output).exists()
    assert not (box / "drawn").exists()


@pytest.mark.long
@root_only
@pytest.mark.parametrize("folder", [False, True], ids=["file", "folder"])
def test_a_link_that_comes_before_the_output_is_made_is_not_followed(tmp_path: Path, *, folder: bool) -> None:
    """The configuration is checked between the two steps, which may take seconds."""
    place, target, user = tmp_path / "place", tmp_path / "target", Identity(USER, USER)
    place.mkdir()
    target.mkdir()
    output = CommandOutput(place / "out", folder=folder)
    output.prepare(user)
    place.rename(tmp_path / "before")
    link(place, target, USER)
    with pytest.raises(ConfigError, match="which cannot write there"):
        output.make(user)
    assert list(target.iterdir()) == []
    assert (tmp_path / "before" / "out").stat().st_uid == USER


@root_only
def test_what_stands_for_a_file_opens_no_folder(box: Path, private: Path) -> None:
    _, found = attacked(box, private / "secret", "infer", box / "m.tflite", private, box / "a.png")
    assert found == REFUSED


@root_only
@pytest.mark.parametrize("target", ["", "secret"])
def test_root_follows_no_link_of_another_user(box: Path, private: Path, target: str) -> None:
    link(box / "b.png", private / target, USER)
    done, found = attacked(box, private / "secret", "infer", box / "m.tflite", box / "a.png", box / "b.png")
    assert found == REFUSED
    assert (done.returncode, len(done.stdout.splitlines())) == (1, 1)
    assert "whose target another user can choose" in done.stderr


@root_only
@pytest.mark.parametrize(
    "words",
    [
        ("replay", "-c", "{box}/config.yaml", "--source", "{link}"),
        ("bench", "{box}/m.tflite", "--seconds", "1", "--rounds", "2", "--clip", "{link}"),
        ("evaluate", "{box}/m.tflite", "{link}"),
        ("evaluate", "{box}/m.tflite", "{box}/data", "--images", "{link}"),
    ],
    ids=lambda words: words[0],
)
def test_neither_in_the_place_of_a_recording(box: Path, private: Path, words: tuple[str, ...]) -> None:
    link(box / "link", private, USER)
    done, found = attacked(box, private / "secret", *(word.format(box=box, link=box / "link") for word in words))
    assert found == REFUSED
    assert done.returncode != 0


@root_only
def test_a_model_behind_a_link_of_another_user_is_not_run(box: Path, private: Path) -> None:
    shutil.copy(box / "m.tflite", private / "m.tflite")
    (box / "m.tflite").unlink()
    link(box / "m.tflite", private / "m.tflite", USER)
    words = [sys.executable, "-m", "edge_infer", "infer", str(box / "m.tflite"), str(box / "a.png")]
    done = subprocess.run(words, capture_output=True, text=True, timeout=180, check=False)
    assert done.returncode != 0
    assert done.stdout == ""


@root_only
@pytest.mark.parametrize("owner", [0, USER], ids=["of root", "of the owner of the file"])
def test_links_that_give_nobody_anything_are_followed(box: Path, private: Path, owner: int) -> None:
    if owner == 0:
        place = private.parent / "b.png"
        link(place, private / "a.png", 0)
    else:
        place = box / "b.png"
        link(place, box / "a.png", USER)
    done, found = attacked(box, private / "secret", "infer", box / "m.tflite", place)
    assert (done.returncode, found) == (0, REFUSED), done.stderr


@root_only
def test_a_picture_of_root_that_is_named_is_read(box: Path, private: Path) -> None:
    done, found = attacked(box, private / "secret", "infer", box / "m.tflite", private / "a.png")
    assert (done.returncode, found) == (0, REFUSED), done.stderr


@root_only
def test_labelled_pictures_of_root_that_are_named_are_read(box: Path, private: Path) -> None:
    (private / "a.txt").write_text("0 0.4 0.3 0.3 0.3\n")
    (private / "secret").rename(private.parent / "secret")
    done, found = attacked(box, private.parent / "secret", "evaluate", box / "m.tflite", private)
    assert (done.returncode, found) == (0, REFUSED), done.stderr


@pytest.mark.parametrize("user", [USER, None] if os.geteuid() == 0 else [None])
def test_the_process_that_evaluates_a_package_for_the_store_is_locked(box: Path, user: int | None) -> None:
    (box / "m.yaml").write_text("name: m\nversion: 1.0.0\nlabels: [face]\n")
    words = ["models", "add", box / "m.tflite", "-c", box / "config.yaml", "--evaluate", box / "data"]
    if user is not None:
        os.chown(box / "m.yaml", USER, USER)
    elif os.geteuid() == 0:  # it works as the owner of the store, and reads what only root may read
        (box / "state").mkdir()
        shutil.chown(box / "state", USER, USER)
        shutil.chown(box / "data", 0, 0)
        (box / "data").chmod(0o700)
        command = [sys.executable, "-m", "edge_infer", *map(str, words)]
        done = subprocess.run(command, capture_output=True, text=True, timeout=180, check=False, cwd=ROOT)
        assert (done.returncode, "data/labels: Permission denied" in done.stderr) == (2, True), "for another user's box"
        for place in (box, box / "config.yaml"):
            shutil.chown(place, 0, 0)
    done, found = attacked(box, box / "secret", *words, "--at-least", "map50=0.5", user=user)
    assert (done.returncode, found) == (0, REFUSED), done.stderr
    assert (box / "state" / "models" / "m" / "1.0.0").is_dir()


def test_standard_input_is_read(box: Path) -> None:
    words = [sys.executable, "-m", "edge_infer", "infer", str(box / "m.tflite"), "/dev/stdin"]
    with PICTURE.open("rb") as picture:
        done = subprocess.run(words, stdin=picture, capture_output=True, text=True, timeout=180, check=False)
    assert done.returncode == 0, done.stderr


INHERITED = """
import json, os
files = [f"/proc/self/fd/{file}" for file in os.listdir("/proc/self/fd") if int(file) > 2]
os.write(2, f"\\nATTACK {json.dumps([os.readlink(file) for file in files if os.path.lexists(file)])}\\n".encode())
"""


@pytest.mark.parametrize("words", COMMANDS, ids=" ".join)
def test_a_model_gets_no_file_that_the_caller_left_open(box: Path, words: tuple[str, ...]) -> None:
    command = [sys.executable, "-m", "edge_infer", *(word.format(box=box) for word in words)]
    with attacking(box, {"edge_infer": INHERITED}), (box / "secret").open("rb+") as file:
        reader, writer = os.pipe()
        done = subprocess.run(
            command, cwd=box, capture_output=True, text=True, timeout=180, check=False,
            pass_fds=(file.fileno(), reader, writer),
        )  # fmt: skip
        pipe = str(Path(f"/proc/self/fd/{reader}").readlink())
        os.close(reader)
        os.close(writer)
    line = next((line for line in done.stderr.splitlines() if line.startswith("ATTACK ")), "")
    assert (done.returncode, bool(line)) == (0, True), done.stderr
    found = json.loads(line.removeprefix("ATTACK "))
    assert (str(box / "secret") in found, pipe in found) == (False, False), found


@pytest.mark.parametrize("place", ["/dev/fd", "/proc/self/fd"])
def test_a_model_reads_the_open_files_that_the_user_named(box: Path, place: str) -> None:
    with (box / "a.png").open("rb") as picture, (box / "m.tflite").open("rb") as model:
        inputs = [f"{place}/{file.fileno()}" for file in (model, picture)]
        (box / "link").symlink_to(inputs[1])
        done = subprocess.run(
            [sys.executable, "-m", "edge_infer", "infer", *inputs, str(box / "link")],
            capture_output=True, text=True, timeout=180, check=False, pass_fds=(picture.fileno(), model.fileno()),
        )  # fmt: skip
    assert (done.returncode, done.stdout.count('"input"')) == (0, 2), done.stderr


TERMINAL = """
import errno, fcntl, json, os, termios
def attempt(what):
    try:
        return str(what() or "allowed")
    except (OSError, termios.error) as error:
        return errno.errorcode[error.args[0]]
found = [os.isatty(0), [attempt(lambda: os.read(file, 9)) for file in (1, 2)]]
found += [attempt(lambda: os.set_blocking(1, False))]
found += [attempt(lambda: termios.tcsetattr(1, when, termios.tcgetattr(1))) for when in range(3)]
found += [attempt(lambda: fcntl.ioctl(1, termios.TIOCEXCL)), attempt(lambda: termios.tcflush(1, termios.TCIFLUSH))]
found += [attempt(lambda: fcntl.ioctl(1, request, 0)) for request in (0x4B45, 0x4B3A, 0x5606)]  # those of consoles
found += [os.get_terminal_size(1).columns]
os.write(2, f"ATTACK {json.dumps(found)}\\n".encode())
"""


def test_a_model_cannot_read_or_change_the_terminal(box: Path) -> None:
    ours, theirs = os.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("4H", 24, 77, 0, 0))
    os.write(ours, b"a secret\n")
    words = [sys.executable, "-m", "edge_infer", "infer", str(box / "m.tflite"), str(box / "a.png")]
    with attacking(box, {"edge_infer": TERMINAL}):
        done = subprocess.run(words, cwd=box, stdin=theirs, stdout=theirs, stderr=theirs, timeout=180, check=False)
    seen = os.read(ours, 1 << 16).decode()
    line = next(line for line in seen.splitlines() if line.startswith("ATTACK "))
    assert json.loads(line.removeprefix("ATTACK ")) == [
        False, ["EBADF", "EBADF"], "allowed", *["EPERM"] * 8, 77,
    ]  # fmt: skip
    assert (done.returncode, os.get_blocking(theirs)) == (0, True), seen
    os.close(ours)
    os.close(theirs)


def test_numpy_starts_no_threads_beside_those_of_the_models() -> None:
    """They would spin on the cores that the models need: a product of 0.2 ms took 11 ms."""
    code = (
        "import os, sys; from edge_infer.cli import main; sys.argv[1:] = ['check', '-c', '/nowhere']; main();"
        "import numpy; sys.exit(len(os.listdir('/proc/self/task')) - 1)"
    )
    environment = {name: value for name, value in os.environ.items() if name != "OPENBLAS_NUM_THREADS"}
    assert subprocess.run([sys.executable, "-c", code], cwd=ROOT, env=environment, check=False).returncode == 0
