"""Routes of the page: its own files, and answers of the daemon and of the configuration writer."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Final

from edge_infer.ipc.drift_remedies import remedies
from edge_infer.page.admission import BrowserAdmission
from edge_infer.page.connections import BrowserConnection
from edge_infer.page.http_messages import JSON, HttpRequest, RefusedRequestError, bad, json_response, response
from edge_infer.page.looks import Looks
from edge_infer.page.upstream import Answer, Upstream

STATIC: Final = Path(__file__).parent / "static"
TYPES: Final[Mapping[str, str]] = {
    ".html": "text/html; charset=utf-8",
    ".css": "text/css; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".svg": "image/svg+xml",
}
NAME: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,63}")
MAX_EDITS: Final = 60
MAX_DEPTH: Final = 16
"""Maximum nesting of the body of a request. A zone needs six levels; a body that is nested too deeply cannot be
encoded."""
WHY_SECONDS: Final = 15.0
_AWAY: Final = "the daemon does not answer: it is stopped or starting; see systemctl status edge-infer"
_NO_WRITER: Final = (
    "nothing was saved: the writer of the configuration does not answer, or there were too many edits in a row; wait a "
    "minute, or see journalctl -u 'edge-infer-draw@*'"
)
_STATUSES: Final = {"request": 400, "forbidden": 403, "conflict": 409, "rejected": 422, "busy": 429, "away": 503}


def static_files(folder: Path = STATIC) -> dict[str, tuple[str, bytes]]:
    """Return type and content of the page's own files, by path.

    They are read once, before the process enters its sandbox.
    """
    known = [each for each in folder.iterdir() if each.suffix in TYPES]
    files = {f"/{each.name}": (TYPES[each.suffix], each.read_bytes()) for each in known}
    if "/index.html" in files:
        files["/"] = files.pop("/index.html")
    return files


class Routes:
    """Answers the requests of browsers."""

    def __init__(
        self,
        files: Mapping[str, tuple[str, bytes]],
        admission: BrowserAdmission,
        upstream: Upstream,
        why_not: Callable[[], str] = str,
    ) -> None:
        """``why_not`` returns the reason why no edit can be saved here now; empty if edits can be saved."""
        self._files = files
        self._admission = admission
        self._upstream = upstream
        self._why_not = why_not
        self.looks = Looks(upstream)
        self._reads: dict[str, Callable[[HttpRequest], Mapping[str, Any]]] = {
            "/api/overview": lambda _: {"do": "overview"},
            "/api/scene": lambda _: {"do": "scene"},
            "/api/drawing": lambda _: {"do": "drawing"},
            "/api/events": lambda _: {"do": "events"},
            "/api/scores": lambda request: {"do": "scores", "pipeline": request.query.get("pipeline")},
            "/api/drift": lambda _: {"do": "drift"},
            "/api/history": lambda _: {"do": "models", "action": "history"},
            "/api/why": _why,
        }

    def handle(self, client: BrowserConnection, request: HttpRequest, body: bytes) -> None:
        """Answer a request now or later; raises `RefusedRequestError`."""
        if cookie := self._admission.cookie(request):
            more = f"Location: /\r\nSet-Cookie: {cookie}\r\n"
            client.answer(response(303, "text/plain", b"", more=more))
            return
        self._admission.check(request)
        if request.method == "POST":
            self._post(client, request, body)
        elif request.path in self._files:
            client.answer(response(200, *self._files[request.path]))
        elif request.path == "/api/picture":
            self._picture(client, request)
        elif self._upstream.crowded:
            raise RefusedRequestError(429, "busy", "too many requests wait for the daemon; try again in a moment")
        elif request.path == "/api/look":
            self.looks.want(_name(request, "source"), client.uid, lambda answer: _tell(client, answer, missing=404))
        elif request.path in self._reads:
            question = {**self._reads[request.path](request), **_asker(client)}
            self._upstream.ask(
                question, lambda answer: _tell(client, answer, self._extra(request.path, answer)), seconds=WHY_SECONDS
            )
        else:
            raise RefusedRequestError(404, "request", "there is nothing at this path")

    def _extra(self, path: str, answer: Answer) -> Mapping[str, Any]:
        """Return the keys that the page adds to an answer of the daemon."""
        if path == "/api/overview":
            why_not = self._why_not()
            return {"may_edit": not why_not, "why_not": why_not}
        if path == "/api/drift":
            found = answer.get("pipelines", {}).items()
            return {
                "remedies": {name: [*remedies(name, each.get("camera"), each.get("outcome"))] for name, each in found}
            }
        return {}

    def _picture(self, client: BrowserConnection, request: HttpRequest) -> None:
        data = self.looks.picture(_name(request, "source"), request.query.get("number", ""), client.uid)
        if data is None:
            raise RefusedRequestError(404, "request", "the page does not keep this picture any more")
        client.answer(response(200, "image/jpeg", data))

    def _post(self, client: BrowserConnection, request: HttpRequest, body: bytes) -> None:
        if request.path not in ("/api/edit", "/api/rollback"):
            raise RefusedRequestError(404, "request", "there is nothing at this path")
        if why_not := self._why_not():
            raise RefusedRequestError(403, "forbidden", why_not)
        if request.headers.get("content-type", "").partition(";")[0].strip() != JSON:
            raise RefusedRequestError(415, "request", f"a body is {JSON}")
        try:
            value = json.loads(body)
            json.dumps(value, allow_nan=False)  # raises for infinite numbers, because the body is forwarded
        except (ValueError, RecursionError):
            raise bad("the body is not JSON") from None
        if not _is_shallow(value, MAX_DEPTH):
            raise bad(f"the body has values nested deeper than {MAX_DEPTH} levels")
        if not isinstance(value, dict):
            raise bad("the body is not a JSON object")
        if self._upstream.crowded:
            raise RefusedRequestError(429, "busy", "too many requests wait for the daemon; try again in a moment")
        if request.path == "/api/rollback":
            question = {"do": "models", "action": "rollback", "name": str(value.get("model", ""))[:100]}
            self._upstream.ask({**question, **_asker(client)}, lambda answer: _tell(client, answer, missing=422))
        else:
            self._edit(client, value)

    def _edit(self, client: BrowserConnection, value: Mapping[str, Any]) -> None:
        edits = value.get("edits")
        if not isinstance(edits, list) or not 1 <= len(edits) <= MAX_EDITS:
            raise bad(f"edits must be a list of 1 to {MAX_EDITS}")
        body = {"digest": value.get("digest"), "pipeline": value.get("pipeline"), "edits": edits, **_asker(client)}
        self._upstream.write(body, lambda answer: _tell_of_edit(client, answer))


def _is_shallow(value: object, levels: int) -> bool:
    inner = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    return levels > 0 and all(_is_shallow(each, levels - 1) for each in inner)


def _name(request: HttpRequest, key: str) -> str:
    name = request.query.get(key, "")
    if not NAME.fullmatch(name):
        raise bad(f"{key} must be a name")
    return name


def _why(request: HttpRequest) -> Mapping[str, Any]:
    try:
        times = {key: float(request.query[key]) for key in ("since", "until")}
    except (KeyError, ValueError):
        raise bad("since and until must be seconds since the epoch") from None
    if not all(0 <= each < 1e12 for each in times.values()):
        raise bad("since and until must be seconds since the epoch")
    return {"do": "why", **times, "pipeline": request.query.get("pipeline"), "label": request.query.get("label")}


def _asker(client: BrowserConnection) -> dict[str, int]:
    return {"for": client.uid} if client.uid >= 0 else {}


def _tell(
    client: BrowserConnection, answer: Answer, extra: Mapping[str, Any] | None = None, *, missing: int = 422
) -> None:
    """Forward the daemon's answer; ``missing`` is the HTTP status of an error."""
    if answer.get("away"):
        refusal: tuple[int, str, str] = (503, "away", _AWAY)
    elif busy := answer.get("busy"):
        refusal = (429, "busy", str(busy))
    elif refused := answer.get("refused"):
        refusal = (403, "forbidden", str(refused))
    elif error := answer.get("error"):
        refusal = (missing, "rejected" if missing == 422 else "request", str(error))
    else:
        client.answer(json_response({**answer, **(extra or {})}))
        return
    status, kind, text = refusal
    client.answer(json_response({"kind": kind, "error": text}, status))


def _tell_of_edit(client: BrowserConnection, answer: Answer) -> None:
    kind = answer.get("kind")
    if answer.get("away"):
        client.answer(json_response({"kind": "away", "error": _NO_WRITER}, 503))
    elif isinstance(kind, str):
        client.answer(json_response(answer, _STATUSES.get(kind, 422)))
    else:
        client.answer(json_response(answer))
