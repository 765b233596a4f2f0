"""docs/tutorial.md, walked through on a running daemon; a clip of people in a street stands in for the camera."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

from tests.broker import Broker, Subscriber, eventually
from tests.running import Daemon
from tests.test_docs import ROOT, Block, blocks_of, steps_of, wildcard

PAGE = ROOT / "docs" / "tutorial.md"
CLIP = "vtest_first160.avi"
CAMERA = re.compile(r"\{kind: v4l2[^}]*\}")


def configurations(assets: Path, folder: Path, broker: Broker) -> tuple[str, str]:
    """The configurations of the page, the second one complete, for a clip and a broker; the folder gets the model."""
    for file in (assets / "models").glob("coco_ssd*"):
        (folder / file.name).symlink_to(file)
    first, second = (block.text for block in blocks_of(PAGE) if block.info == "yaml")
    assert CAMERA.search(first)
    here = CAMERA.sub(f"{{kind: video, file: {assets / 'video' / CLIP}, loop: true}}", first)
    here = here.replace("/var/lib/edge-infer", str(folder / "state"))
    here = here.replace("host: broker.lan", f"host: 127.0.0.1\n  port: {broker.port}")
    return here, here.partition("pipelines:")[0] + second


def test_every_step_does_what_the_page_says(assets: Path, tmp_path: Path, broker: Broker) -> None:
    folder = tmp_path
    first, second = configurations(assets, folder, broker)
    walked = [block for block in blocks_of(PAGE) if block.info == "console walk"]
    zoned = next(block.line for block in blocks_of(PAGE) if block.info == "yaml" and "zones:" in block.text)
    (folder / "config.yaml").write_text(first)
    steps = iter(walked)
    walk(next(steps), folder)
    with Subscriber(broker.port) as heard, Daemon(folder, first) as daemon:
        daemon.wait_serving()
        edited = False
        for block in steps:
            if block.line > zoned and not edited:
                (folder / "config.yaml").write_text(second)
                edited = True
            walk(block, folder)
        assert edited
        assert shape(picture()) <= shape(command(folder, "edge-infer top --count 2").stdout)
        announced = heard.wait(
            "homeassistant/device/edge-infer_gate-3/config", lambda said: b"gate person" in said.payload
        )
        assert set(entities()) <= set(names(json.loads(announced.payload)))
        event = heard.wait("edge-infer/gate-3/yard/event", lambda said: said.value["type"] == "enter").value
        assert (event["label"], event["zone"]) == ("person", "gate")


def walk(block: Block, folder: Path) -> None:
    """Run each command until it prints what the page says."""
    for line, output in steps_of(block):
        eventually(lambda c=line, o=output: does(c, o, folder), f"{output!r} of {line}", 60)


def does(line: str, output: str, folder: Path) -> bool:
    done = command(folder, line)
    return done.returncode == 0 and bool(re.fullmatch(wildcard(output), done.stdout.strip(), re.DOTALL))


def command(folder: Path, line: str) -> subprocess.CompletedProcess[str]:
    """A command of the page, on the configuration and the model in this folder, without the internet."""
    words = f"{line.removeprefix('sudo ')} -c config.yaml{' --from .' if 'models pull' in line else ''}"
    words = words.replace("--seconds 20", "--seconds 6")
    path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    environment = {key: value for key, value in os.environ.items() if key != "RUNTIME_DIRECTORY"}
    return subprocess.run(
        ["sh", "-c", words], cwd=folder, env={**environment, "PATH": path},
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=60, check=False,
    )  # fmt: skip


def picture() -> str:
    """What ``top`` shows on the page."""
    return next(block.text for block in blocks_of(PAGE) if block.info == "text")


def shape(text: str) -> set[str]:
    """The headings of ``top`` and the first word of each line; a clip has no reader."""
    lines = [line.split() for line in text.splitlines() if line.strip()]
    return {" ".join(words) if words[0].isupper() else words[0] for words in lines} - {"reader"}


def entities() -> Iterator[str]:
    """The entities in the page's table."""
    for kind, name in re.findall(r"^\| `(\w+)\.gate_3_(\w+)` \|", PAGE.read_text(encoding="utf-8"), re.MULTILINE):
        yield f"{kind}.{name}"


def names(announcement: dict[str, dict[str, dict[str, str]]]) -> Iterator[str]:
    """The announced entities, as Home Assistant names them after the device."""
    for part in announcement["cmps"].values():
        yield f"{part['p']}.{part['name'].replace(' ', '_')}"
