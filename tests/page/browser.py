"""A page that a command serves for a daemon of a test, and requests as its program in a browser sends them."""

from __future__ import annotations

import http.client
import json
import os
import re
import signal
import socket
import subprocess
import sys
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.broker import eventually
from tests.running import Daemon

HOST = "localhost:8080"
TOKEN = re.compile(rf"^then open http://{HOST}/(\?token=\S+)$", re.MULTILINE)


@dataclass(frozen=True)
class Reply:
    """What came back."""

    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        """The body of an answer below ``/api/``."""
        return json.loads(self.body)


class _UnixConnection(http.client.HTTPConnection):
    def __init__(self, path: Path) -> None:
        super().__init__(HOST, timeout=60)
        self._path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(60)
        self.sock.connect(str(self._path))


class Page:
    """``edge-infer page --socket`` beside a daemon; ends with the block."""

    def __init__(self, daemon: Daemon) -> None:
        self.daemon = daemon
        self.path = daemon.folder / "page.sock"
        self._log = daemon.folder / "page.log"
        self._process: subprocess.Popen[bytes] | None = None
        self._cookie = ""

    def __enter__(self) -> Page:
        printed = len(self.log) if self._log.exists() else 0
        words = ["page", "--socket", str(self.path), "-c", str(self.daemon.config)]
        with self._log.open("ab") as log:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "edge_infer", *words], stdout=log, stderr=log, stdin=subprocess.DEVNULL
            )
        (self.token,) = eventually(lambda: re.findall(TOKEN, self.log[printed:]), f"page: {self._log}", 60.0)
        return self

    def __exit__(self, *_: object) -> None:
        assert self._process is not None
        self._process.send_signal(signal.SIGINT)
        self._process.wait(20)

    @property
    def cookie(self) -> str:
        """What a browser gets for the token, which only one can use."""
        if not self._cookie:
            with closing(_UnixConnection(self.path)) as connection:
                connection.request("GET", f"/{self.token}", headers={"Host": HOST})
                found = connection.getresponse()
            assert found.status == 303
            self._cookie = found.headers["Set-Cookie"].partition(";")[0]
        return self._cookie

    @property
    def log(self) -> str:
        """What the command and the page's process have printed."""
        return self._log.read_text()

    @property
    def pid(self) -> int:
        """Of the process that parses requests."""
        assert self._process is not None
        children = Path(f"/proc/{self._process.pid}/task/{self._process.pid}/children").read_text().split()
        return int(children[0])

    def request(self, method: str, target: str, body: bytes | None = None, **headers: str) -> Reply:
        """A request with exactly these headers (``_`` for ``-``), and Host and Cookie unless they are given."""
        with closing(_UnixConnection(self.path)) as connection:
            connection.putrequest(method, target, skip_host=True, skip_accept_encoding=True)
            for name, value in ({"Host": HOST, "Cookie": self.cookie} | headers).items():
                connection.putheader(name.replace("_", "-"), value)
            if body is not None:
                connection.putheader("Content-Length", str(len(body)))
            connection.endheaders(body)
            found = connection.getresponse()
            return Reply(found.status, {k.lower(): v for k, v in found.getheaders()}, found.read())

    def get(self, target: str) -> Reply:
        """As the page's program asks."""
        return self.request("GET", target, X_Edge_Infer="page", Sec_Fetch_Site="same-origin")

    def post(self, target: str, value: Any) -> Reply:
        """As the page's program sends."""
        headers = {"X-Edge-Infer": "page", "Origin": f"http://{HOST}", "Content-Type": "application/json"}
        return self.request("POST", target, json.dumps(value).encode(), **headers)

    def look(self, source: str = "cam") -> tuple[dict[str, Any], bytes]:
        """A description and its picture."""
        reply = self.get(f"/api/look?source={source}")
        assert reply.status == 200, reply.body
        picture = self.request("GET", reply.json["picture"], Sec_Fetch_Site="same-origin")
        assert (picture.status, picture.headers["content-type"]) == (200, "image/jpeg")
        return reply.json, picture.body

    def edit(self, pipeline: str, *edits: dict[str, Any], digest: str = "") -> Reply:
        """Saves edits on the present configuration, or on that with the digest."""
        body = {"digest": digest or self.get("/api/scene").json["digest"], "pipeline": pipeline, "edits": list(edits)}
        return self.post("/api/edit", body)


def pss(pid: int) -> int:
    """Bytes of a process: its own pages, and a share of those that others use, too; 0 if this user may not see it."""
    try:
        found = re.search(r"^Pss: +([0-9]+) kB", Path(f"/proc/{pid}/smaps_rollup").read_text(), re.MULTILINE)
    except PermissionError:
        return 0
    return int(found[1]) * 1024 if found else 0


def command_page(daemon: Daemon, *words: str) -> subprocess.Popen[str]:
    """The command with its output, for the addresses that it prints."""
    return subprocess.Popen(
        [sys.executable, "-m", "edge_infer", "page", *words, "-c", str(daemon.config)],
        stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, stdin=subprocess.DEVNULL, env=dict(os.environ),
    )  # fmt: skip
