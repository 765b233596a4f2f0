"""docs/fleet.md, walked through with Ansible and two boxes that are reached over SSH."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.broker import Broker, Subscriber, free_port
from tests.deploy.box import ROOT, Box
from tests.moody import MANIFEST, Mood, moody_model
from tests.test_docs import blocks_of, steps_of, wildcard

PAGE = ROOT / "docs/fleet.md"
CONFIG = """\
# The box at gate {number}; its mask is its own.
device: {{state_dir: /var/lib/edge-infer}}
mqtt: {{host: 127.0.0.1, port: {port}}}

models:
  faces:
    use: face-detect@1.0.0   # rolled out by deploy/ansible
sources:
  cam: {{kind: synthetic, size: 64x64, fps: 50}}
pipelines:
  gate: {{source: cam, model: faces, mask: [[[0, 0], [0.3, 0], [0.3, 1], [0, 1]]]}}
"""


@dataclass(frozen=True)
class Fleet:
    """Two boxes, who hears them, and the folder in which an operator works."""

    folder: Path
    boxes: tuple[Box, Box]
    subscriber: Subscriber

    def walk(self, number: int) -> None:
        """Runs a step of the page, which has to end and to say what is written there."""
        block = [block for block in blocks_of(PAGE) if block.info.startswith("console walk")][number]
        ((command, output),) = steps_of(block)
        done = self.run(command)
        said = re.sub(r"\s+", " ", done.stdout)  # Ansible breaks lines as it likes
        assert re.search(wildcard(re.sub(r"\s+", " ", output.strip())), said), done.stdout
        assert (done.returncode != 0) == block.info.endswith("fails"), done.stdout

    def run(self, command: str) -> subprocess.CompletedProcess[str]:
        """Runs a command as the operator."""
        return subprocess.run(
            ["sh", "-c", command], cwd=self.folder / "ansible", env=self._environment(), text=True, timeout=900,
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT, stdin=subprocess.DEVNULL, check=False,
        )  # fmt: skip

    def _environment(self) -> dict[str, str]:
        own = {"HOME": str(self.folder), "ANSIBLE_HOME": str(self.folder / "home"), "ANSIBLE_NOCOLOR": "1"}
        return {**os.environ, **own, "PATH": f"{ansible()}:{os.environ['PATH']}"}


def ansible() -> Path:
    """Where its programs are; skips where it is not installed."""
    found = shutil.which("ansible-playbook", path=f"{ROOT}/.venv-ansible/bin:{os.environ['PATH']}")
    if found is None:
        pytest.skip("Ansible is not installed: scripts/test, as root on a Debian, puts it into .venv-ansible")
    return Path(found).parent


def package(folder: Path, version: str, gain: float, mood: Mood = "good") -> Path:
    """A package that is good, or so from the twentieth frame; its file."""
    folder.mkdir(parents=True)
    (folder / "manifest.yaml").write_text(MANIFEST.format(name="face-detect", version=version, file="faces.tflite"))
    file = folder / "faces.tflite"
    file.write_bytes(moody_model(mood, 20, gain))
    return file


@pytest.fixture(scope="module")
def fleet() -> Iterator[Fleet]:
    """The boxes, and the packages of the page; the sockets of SSH need a short path."""
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="fleet-")))
        subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", folder / "key"], check=True)
        package(folder / "models/face-detect/1.0.0", "1.0.0", 1.0)
        packages = folder / "ansible/packages"
        shutil.copytree(ROOT / "deploy/ansible", folder / "ansible")
        package(packages / "face-detect-1.1.0", "1.1.0", 1.1)
        package(packages / "face-detect-1.2.0", "1.2.0", 1.2, "nan")
        cut = package(packages / "face-detect-1.3.0", "1.3.0", 1.3)
        cut.write_bytes(cut.read_bytes()[:200])
        broker = stack.enter_context(Broker(folder))
        subscriber = stack.enter_context(Subscriber(broker.port))
        boxes = [Box(folder, f"gate-{n}", CONFIG.format(number=n, port=broker.port)) for n in (1, 2)]
        for box in boxes:
            stack.enter_context(box)
        (folder / "ansible/inventory.yaml").write_text(inventory(boxes))
        yield Fleet(folder, (boxes[0], boxes[1]), subscriber)


def inventory(boxes: list[Box]) -> str:
    """That of the page, with these boxes."""
    shown = next(block.text for block in blocks_of(PAGE) if block.info == "yaml ansible")
    hosts = "".join(f"    {box.name}: {{ansible_host: 127.0.0.1, ansible_port: {box.port}}}\n" for box in boxes)
    login = f"    ansible_ssh_common_args: {' '.join(boxes[0].ssh_options())}\n"
    text = re.sub(r"(?<=hosts:\n)(?:    .*\n)+?(?=  vars)", hosts, shown)
    python = f"    ansible_python_interpreter: {sys.executable}\n"
    return text.replace("ansible_user: pi", "ansible_user: root") + login + python


def test_a_good_package_goes_to_all_boxes_and_a_second_run_changes_nothing(fleet: Fleet) -> None:
    fleet.walk(0)
    for number, box in enumerate(fleet.boxes, 1):
        before = CONFIG.format(number=number, port=fleet.subscriber.port)
        assert box.text("/etc/edge-infer/config.yaml") == before.replace("@1.0.0", "@1.1.0")
        assert box.output("stat", "-c", "%U:%G:%a", "/etc/edge-infer/config.yaml") == "root:edge-infer:640\n"
        owner = box.output("stat", "-c", "%U", "/var/lib/edge-infer/models/face-detect/1.1.0")
        assert owner == "edge-infer\n"
        assert box.command("ls", "/run/edge-infer-incoming").returncode == 2
        assert "committed    face-detect@1.1.0" in box.history()
        fleet.subscriber.wait(f"edge-infer/{box.name}/model/faces", lambda heard: heard.value["version"] == "1.1.0")
    before = [box.standing() for box in fleet.boxes]
    fleet.walk(1)
    assert [box.standing() for box in fleet.boxes] == before


def test_a_model_that_is_taken_back_stops_at_the_first_box(fleet: Fleet) -> None:
    first, second = fleet.boxes
    serving, untouched = first.serving(), second.standing()
    fleet.walk(2)
    assert "rolled-back  face-detect@1.2.0" in first.history()
    assert first.serving() == serving
    fleet.subscriber.wait(f"edge-infer/{first.name}/model/faces", lambda heard: heard.value["state"] == "rolled_back")
    assert second.standing() == untouched
    assert "1.2.0" not in second.history()


def test_a_check_after_that_says_what_serves_on_every_box(fleet: Fleet) -> None:
    done = fleet.run("ansible-playbook roll-out.yaml -e package=packages/face-detect-1.1.0 --check")
    assert done.returncode == 0, done.stdout
    assert re.search(r"gate-1.*rolled_back.*1\.1\.0.*serves", re.sub(r"\s+", " ", done.stdout)), done.stdout
    assert re.search(r"ok: \[gate-2\] => msg: .?faces: active, 1\.1\.0", re.sub(r"\s+", " ", done.stdout)), done.stdout


def test_a_file_that_is_refused_changes_no_configuration(fleet: Fleet) -> None:
    first, second = fleet.boxes
    config, untouched = first.text("/etc/edge-infer/config.yaml"), second.standing()
    fleet.walk(3)
    assert first.text("/etc/edge-infer/config.yaml") == config
    assert "1.3.0" not in first.history()
    assert first.command("ls", "/run/edge-infer-incoming").returncode == 2
    assert second.standing() == untouched


def test_a_box_that_cannot_be_reached_stops_it(fleet: Fleet) -> None:
    nowhere = f"{{ansible_host: 127.0.0.1, ansible_port: {free_port()}}}"
    (fleet.folder / "ansible/nowhere.yaml").write_text(
        f"edge_boxes: {{hosts: {{gate-1: {nowhere}, gate-2: {nowhere}}}}}\n"
    )
    done = fleet.run("ansible-playbook roll-out.yaml -i nowhere.yaml -e package=packages/face-detect-1.1.0")
    assert done.returncode == 2, done.stdout
    assert "Connection refused" in done.stdout
    assert "gate-2" not in done.stdout
