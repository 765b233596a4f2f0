"""A server of the page with made-up answers, for states that a test cannot bring a board into: heat, a full disk."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, Final
from urllib.parse import parse_qs, urlsplit

import cv2
import numpy as np

from edge_infer.contract.codec import decode, encode
from edge_infer.engine.drift.outcome import BINS
from edge_infer.ipc.drift import DriftAnswer, DriftHistogram, PartDrift, PipelineDrift, SignalDrift
from edge_infer.ipc.drift_remedies import remedies
from edge_infer.supervisor.status import Status

STATIC: Final = Path(__file__).parents[2] / "edge_infer" / "page" / "static"
TYPES: Final = {".html": "text/html", ".css": "text/css", ".js": "text/javascript", ".svg": "image/svg+xml"}
POLICY: Final = "default-src 'self'; frame-ancestors 'none'; base-uri 'none'; form-action 'none'; object-src 'none'"
TS: Final = "2026-11-25T08:45:12.345Z"
DIGEST: Final = "3fa9" * 16


def status(**changes: Any) -> dict[str, Any]:
    """The status of a daemon without faults, with some of its parts replaced; it has the form of the record."""
    whole = {
        "version": "1.0.0",
        "uptime": 86412.0,
        "boot": "9f2c1a",
        "runtime": "ai_edge_litert 2.1",
        "rooms": {"engine": {"pid": 812, "restarts": 0, "uptime": 86400.0}},
        "sources": {"door": {"state": "ok", "fps": 15.0}},
        "pipelines": {"door-people": pipeline()},
        "models": {"people": {"state": "active", "version": "1.2.0", "sha": "eac9143a", "previous": "77aa1200"}},
        "broker": {"connected": True, "text": "connected to broker.lan:8883"},
        "outbox": {"pending": 0, "bytes": 0, "delivered": 12345, "lost": {}, "degraded": False},
        "config": {"state": "applied", "digest": DIGEST, "ts": TS},
        "last_error": None,
        "walls": {"network": "enforced", "files": "enforced"},
        "feeds": {"door-people": "door"},
        "inactive": {},
        "pid": 800,
        **changes,
    }
    decode(Status, whole, "status")
    return whole


def pipeline(**changes: Any) -> dict[str, Any]:
    """The health of a pipeline."""
    return {
        "fps": 5.0, "latency_ms": {"p50": 31.0, "p95": 44.0, "p99": 61.0}, "dropped": 3, "produced": 900, **changes,
    }  # fmt: skip


def overview(*, board: Mapping[str, Any] | None = None, clock: str = "ok", **changes: Any) -> dict[str, Any]:
    """The answer of ``/api/overview``; ``changes`` are of the status."""
    return {
        "user": "anna", "may_edit": True, "why_not": "", "device": "gate-3", "clock": clock, "now": time.time(),
        "board": {"cpu": 0.31, "memory": 0.42, "temperature": 61.2, "throttled": False, **(board or {})},
        "watched": True,
        "status": status(**changes),
    }  # fmt: skip


def scene(**changes: Any) -> dict[str, Any]:
    """The answer of ``/api/scene``, with some keys of the pipeline replaced."""
    drive = {
        "polygon": [[0.1, 0.5], [0.9, 0.5], [0.9, 1], [0.1, 1]],
        "labels": None,
        "anchor": "bottom",
        "loiter": None,
    }
    gate = {"from": [0.5, 0.2], "to": [0.5, 1], "labels": None, "anchor": "bottom"}
    people = {
        "source": "door", "cascade": False, "model": "people", "title": "person-detect@1.0.0", "task": "detection",
        "threshold": 0.6, "thresholds": [0.0, 1.0], "labels": ["person"], "track": True, "why_no_places": "",
        "mask": [[[0, 0], [0.2, 0], [0.2, 0.3], [0, 0.3]]], "zones": {"drive": drive}, "lines": {"gate": gate},
        "input": {"resize": "letterbox", "tiles": None}, **changes,
    }  # fmt: skip
    return {
        "digest": DIGEST, "device": "gate-3", "sources": {"door": {"kind": "v4l2", "gives": "image"}},
        "pipelines": {"door-people": people},
    }  # fmt: skip


def look(label: str = "person") -> dict[str, Any]:
    """The answer of ``/api/look``: a person in the zone ``drive``."""
    found = {"label": label, "score": 0.87, "box": [0.6, 0.4, 0.75, 0.9], "id": 3}
    return {
        "number": 1, "picture": "/api/picture?source=door&number=1", "width": 640, "height": 360, "size": [1920, 1080],
        "ts": TS, "light": 0.43, "sharpness": 0.31, "best": 0.52, "inputs": {"door-people": [192, 192]},
        "findings": {"door-people": {"ts": TS, "task": "detection", "model": "m", "objects": [found]}},
    }  # fmt: skip


def event(seq: int, label: str = "person", kind: str = "enter", pipeline: str = "door-people") -> dict[str, Any]:
    """One of ``/api/events``, a minute ago."""
    at = time.strftime("%Y-%m-%dT%H:%M:%S.000Z", time.gmtime(time.time() - 60))
    body = {
        "v": 1, "ts": at, "boot": "9f2c1a", "seq": seq, "type": kind, "label": label, "id": 3, "zone": "drive",
        "score": 0.87,
    }  # fmt: skip
    return {"pipeline": pipeline, "event": body}


CAMERA_SCORES: Final = {"moved": 0.62, "detail": 0.41, "sharpness": 0.2, "changed": 0.31, "detail_slow": 0.05}
ANSWER_SCORES: Final = {"score": 0.55, "margin": 0.5, "near": 0.12, "objects": 0.3, "label_1": 0.08}
USUAL_SCORES: Final = (0.1, 0.0, 0.0, 0.0, 0.0, 0.0, 0.05, 0.15, 0.4, 0.3)
LOWER_SCORES: Final = (0.25, 0.0, 0.0, 0.0, 0.0, 0.0, 0.3, 0.25, 0.15, 0.05)


def part(scores: Mapping[str, float], since: str | None = None, blind: str = "") -> PartDrift:
    """A part of a pipeline that has been learned; ``blind`` is a signal by which nothing can be told."""
    signals = {
        name: SignalDrift(0.1, 0.0 if name == blind else score, None, name != blind) for name, score in scores.items()
    }
    return PartDrift(1.0, signals, since)


def histograms(now: tuple[float, ...] = USUAL_SCORES, psi: float = 0.0021) -> dict[str, DriftHistogram]:
    """The histograms of a pipeline; ``now`` are the shares of frames by score."""
    objects = (0.5, 0.3, 0.1, 0.1, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0)
    return {
        "score": DriftHistogram(BINS["score"], USUAL_SCORES, now, psi, 0.004),
        "objects": DriftHistogram(BINS["objects"], objects, objects, 0.0, 0.004),
    }


def pipeline_drift(**changes: Any) -> PipelineDrift:
    """A pipeline whose camera and answers are as learned, with some fields replaced."""
    camera, answers = part(CAMERA_SCORES, blind="sharpness"), part(ANSWER_SCORES)
    usual = {
        "camera_part": camera, "outcome_part": answers, "histograms": histograms(), "false_alarm": 365 * 86400.0,
    }  # fmt: skip
    return PipelineDrift(**{**usual, **changes})


def drift(**pipelines: PipelineDrift) -> dict[str, Any]:
    """The answer of ``/api/drift``; ``_`` in the names stand for ``-``."""
    found = {name.replace("_", "-"): each for name, each in pipelines.items()}
    sentences = {name: [*remedies(name, each.camera, each.outcome)] for name, each in found.items()}
    answer = encode(DriftAnswer(found))
    decode(DriftAnswer, answer, "drift")
    assert isinstance(answer, dict)
    return {**answer, "remedies": sentences}


_MOVED: Final = part({**CAMERA_SCORES, "moved": 2.4}, TS)
_VEILED: Final = part({**CAMERA_SCORES, "veil": 1.1}, TS)
_LOWER: Final = part({**ANSWER_SCORES, "score": 1.3}, TS)
_SCORES: Final = histograms(LOWER_SCORES, 1.3296)
DRIFTS: Final[Mapping[str, PipelineDrift]] = {
    "learning": PipelineDrift(None, None, PartDrift(0.42), PartDrift(0.13), None, {}, 365 * 86400.0),
    "ok": pipeline_drift(),
    "moved": pipeline_drift(camera="moved", camera_part=_MOVED, shift=(0.12, -0.03)),
    "scores_lower": pipeline_drift(outcome="scores_lower", outcome_part=_LOWER, histograms=_SCORES),
    "both": pipeline_drift(
        camera="veiled", camera_part=_VEILED, outcome="scores_lower", outcome_part=_LOWER, histograms=_SCORES
    ),
    "answers alone": PipelineDrift(None, None, None, part({"value": 0.2}), None, {}, 365 * 86400.0),
}
"""A pipeline in each state of drift."""


def answers() -> dict[str, Any]:
    """An answer for each path below ``/api/``; one with ``error`` has its ``status``."""
    return {
        "overview": overview(),
        "scene": scene(),
        "drawing": {"expected": True},
        "look": look(),
        "scores": {"seconds": 3600, "known_from": 0.6, "counts": [0] * 60 + [1] * 30 + [2] * 10 + [0]},
        "events": {"events": [event(seq) for seq in range(1, 4)]},
        "why": {"lines": ["door-people: 08:45:12 person 0.87: told"], "notes": ["the record begins at 08:00:00"]},
        "drift": drift(),
        "history": {"history": [history()]},
        "rollback": {"done": "people goes back to 77aa1200"},
        "edit": {"digest": "b" * 64, "done": ["pipelines.door-people.zones.drive: changed"]},
    }


def history(**changes: Any) -> dict[str, Any]:
    """One entry of ``/api/history``."""
    return {
        "ts": TS, "model": "people", "what": "committed", "sha": "e" * 64, "title": "person-detect@1.2.0",
        "by": "configuration", "why": "", **changes,
    }  # fmt: skip


class Canned:
    """The running server: ``answers`` may be changed meanwhile, ``posted`` is what the page has sent."""

    def __init__(self) -> None:
        self.answers = answers()
        self.posted: list[tuple[str, Any]] = []
        self.url = ""


def jpeg() -> bytes:
    """A picture of 640 x 360 with a bright stripe."""
    pixels = np.full((360, 640, 3), 70, np.uint8)
    pixels[:, 300:340] = 200
    return cv2.imencode(".jpg", pixels)[1].tobytes()


@contextmanager
def serving() -> Iterator[Canned]:
    """Serves the page on a port of the loopback, as a tunnel would, with the policy of the real server."""
    canned, picture = Canned(), jpeg()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def log_message(self, *_: object) -> None:
            """Keeps quiet."""

        def send(self, status: int, kind: str, body: bytes) -> None:
            with suppress(ConnectionError):  # a page that was left meanwhile
                self.send_all(status, kind, body)

        def send_all(self, status: int, kind: str, body: bytes) -> None:
            self.send_response(status)
            self.send_header("Content-Type", kind)
            self.send_header("Content-Length", str(len(body)))
            self.send_header("Content-Security-Policy", POLICY)
            self.send_header("Cache-Control", "no-store")
            self.end_headers()
            self.wfile.write(body)

        def api(self, name: str) -> None:
            answer = canned.answers[name]
            if callable(answer):
                answer = answer(canned.posted[-1][1] if self.command == "POST" else parse_qs(urlsplit(self.path).query))
            status = answer.get("status", 400) if answer.get("error") else 200
            self.send(status, "application/json", json.dumps(answer).encode())

        def do_GET(self) -> None:
            path = urlsplit(self.path).path
            if path == "/api/picture":
                time.sleep(0.3)
                self.send(200, "image/jpeg", picture)
            elif path.startswith("/api/"):
                self.api(path.removeprefix("/api/"))
            else:
                file = STATIC / (path.strip("/") or "index.html")
                self.send(200, TYPES[file.suffix], file.read_bytes())

        def do_POST(self) -> None:
            name = self.path.removeprefix("/api/")
            canned.posted.append((name, json.loads(self.rfile.read(int(self.headers["Content-Length"])))))
            self.api(name)

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    canned.url = f"http://localhost:{server.server_address[1]}"
    try:
        yield canned
    finally:
        server.shutdown()
        server.server_close()
