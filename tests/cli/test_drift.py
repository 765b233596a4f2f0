"""``edge-infer drift``, with a daemon that agrees to everything."""

from __future__ import annotations

import json
import socket
import threading
from pathlib import Path
from typing import Any

import pytest

from edge_infer.cli import main


def test_a_pipeline_that_is_named_twice_is_accepted_once(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    config = tmp_path / "config.yaml"
    config.write_text(f"device: {{id: box, state_dir: {tmp_path}}}\n")
    asked: list[dict[str, Any]] = []
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(tmp_path / "control.sock"))
        listener.listen()
        listener.settimeout(3.0)

        def answer() -> None:
            while True:
                try:
                    connection = listener.accept()[0]
                except TimeoutError:
                    return
                with connection:
                    asked.append(json.loads(connection.recv(65536)))
                    connection.sendall(b'{"done": "yes"}\n')

        thread = threading.Thread(target=answer)
        thread.start()
        code = main(["drift", "accept", "faces", "-c", str(config), "--whole", "faces", "yard"])
        thread.join(10)
    assert (code, capsys.readouterr().out) == (0, "yes\nyes\n")
    assert [(each["pipeline"], each["whole"]) for each in asked] == [("faces", True), ("yard", True)]


@pytest.mark.parametrize("words", [("--whole", "faces"), ("faces", "--whole")])
def test_whole_without_accept_is_wrong_usage(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], words: tuple[str, ...]
) -> None:
    code = main(["drift", "-c", str(tmp_path / "config.yaml"), *words])
    said = capsys.readouterr()
    assert (code, said.out) == (2, "")
    assert said.err == "edge-infer: --whole needs accept: edge-infer drift accept --whole faces\n"
