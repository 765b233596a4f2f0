"""A real Node-RED with the recipe of the page for subscribers: what its function node has answered, and when."""

from __future__ import annotations

import json
import os
import subprocess
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.broker import eventually, free_port
from tests.test_docs import ROOT, blocks_of

PATIENCE = 60.0
FLOW = ROOT / "deploy" / "recipes" / "node-red" / "flow.json"


@dataclass(frozen=True)
class Answer:
    """``value`` is True, False, or None: not known; ``at`` is the time of day."""

    at: float
    value: bool | None


class NodeRed:
    """One in a process and folder of its own, with the flow of the page, joined to a broker."""

    def __init__(self, folder: Path, port: int, topic: str, label: str, recipe: str | None = None) -> None:
        """``topic`` is that of a pipeline; ``recipe`` is the text of the function node, where not that of the page."""
        self._folder = folder
        self._answers = folder / "answers"
        self._flow = flow(port, topic, recipe or recipe_of_page(label), folder)

    def __enter__(self) -> NodeRed:
        self._folder.mkdir(parents=True, exist_ok=True)
        (self._folder / "flows.json").write_text(json.dumps(self._flow))
        port = free_port()
        (self._folder / "settings.js").write_text(
            f"module.exports = {{uiHost: '127.0.0.1', uiPort: {port}, flowFile: 'flows.json', "
            "editorTheme: {tours: false}, telemetry: {enabled: false}};"
        )
        program = Path(os.environ["NODE_RED"]) / "node_modules" / "node-red" / "red.js"
        self._log = (self._folder / "log").open("w")
        self._process = subprocess.Popen(
            ["node", program, "--userDir", self._folder], stdout=self._log, stderr=subprocess.STDOUT
        )
        eventually(self.answers, lambda: f"an answer; its log: {self.log()[-2000:]}", PATIENCE)
        return self

    def __exit__(self, *_: object) -> None:
        self._process.terminate()
        self._process.wait(PATIENCE)
        self._log.close()

    def answers(self) -> list[Answer]:
        """All of them."""
        if not self._answers.exists():
            return []
        rows = [line.split() for line in self._answers.read_text().splitlines()]
        words = {"true": True, "false": False, "null": None}
        return [Answer(float(row[0]) / 1000, words[row[1]]) for row in rows if len(row) == 2]

    def wait(self, value: bool | None, deadline: float = PATIENCE) -> None:
        """Until it answers this."""
        eventually(lambda: self.answers()[-1].value is value, lambda: f"{value}: {self.answers()[-5:]}", deadline)

    def values_since(self, at: float) -> list[bool | None]:
        """What was answered since a time of day, the same thing once."""
        found: list[bool | None] = []
        for answer in self.answers():
            if answer.at >= at and (not found or found[-1] is not answer.value):
                found.append(answer.value)
        return found

    def events(self) -> list[dict[str, Any]]:
        """The events that its function node let pass."""
        file = self._folder / "events"
        return [json.loads(line) for line in file.read_text().splitlines()] if file.exists() else []

    def log(self) -> str:
        """What it has logged."""
        return (self._folder / "log").read_text()


def recipe_of_page(label: str) -> str:
    """The text of the function node, for this label."""
    (block,) = [block for block in blocks_of(ROOT / "docs" / "other-languages.md") if block.info == "js"]
    assert "person" in block.text
    return block.text.replace("person", label)


def flow(port: int, topic: str, recipe: str, folder: Path) -> list[dict[str, Any]]:
    """The shipped flow with this broker and topic, and nodes behind its functions that write down what comes out."""
    nodes: list[dict[str, Any]] = json.loads(FLOW.read_text(encoding="utf-8"))
    by_id = {node["id"].removeprefix("edge-infer-"): node for node in nodes}
    by_id["broker"] |= {"broker": "127.0.0.1", "port": str(port)}
    by_id["status"]["topic"] = f"{topic.rpartition('/')[0]}/status"
    by_id["state"]["topic"], by_id["event"]["topic"] = f"{topic}/state", f"{topic}/event"
    by_id["news"]["wires"][0].append("events")
    by_id["recipe"] |= {"func": recipe, "wires": [["stamp", *by_id["recipe"]["wires"][0]]]}
    more = {"z": by_id["tab"]["id"], "x": 0, "y": 0}
    stamp = "msg.payload = Date.now() + ' ' + msg.payload; return msg;"
    return [
        *nodes,
        {"id": "stamp", "type": "function", "wires": [["answers"]], "func": stamp, "outputs": 1, "libs": [], **more},
        *({"id": file, "type": "file", "wires": [], "filename": str(folder / file), "filenameType": "str",
           "appendNewline": True, "overwriteFile": "false", **more} for file in ("answers", "events")),
    ]  # fmt: skip


def now() -> float:
    """The time of day, as Node-RED writes it."""
    return time.time()
