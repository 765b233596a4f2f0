"""Admission of requests: only the page itself may send them, from an admitted browser.

Any web page can make a browser send requests to an address of the user's own computer. The checks of ``Host``,
``Origin`` and ``Sec-Fetch-Site`` refuse such requests, even if a host name of an attacker resolves to that address (DNS
rebinding).
"""

from __future__ import annotations

import hmac
import re
import secrets
from typing import Final

from edge_infer.page.http_messages import HttpRequest, RefusedRequestError, bad

COOKIE: Final = "edge-infer-page"
"""Beginning of the name of the cookie. A browser has one set of cookies for all ports of localhost, so pages of several
boxes need different names."""
MARK: Final = "x-edge-infer"
"""Header that a browser sends for another web page only after asking this server for permission."""
_HOST: Final = re.compile(r"(?:localhost|127\.0\.0\.1|\[::1\])(?::[0-9]{1,5})?")


class BrowserAdmission:
    """Checks each request. If more than the people who may see pictures can connect, a ``token`` admits one browser."""

    def __init__(self, token: str = "") -> None:
        """``token`` can be used once: the browser that sends it gets a cookie.

        If it is empty, every connection is admitted.
        """
        self._token = token
        self._asks = bool(token)
        self._name = f"{COOKIE}-{secrets.token_hex(4)}"
        self._session = secrets.token_urlsafe(32)

    def check(self, request: HttpRequest) -> None:
        """Raise `RefusedRequestError` unless the page itself sends the request, from an admitted browser."""
        host = self._host(request)
        origin = request.headers.get("origin")
        if (origin is None and request.method == "POST") or (origin is not None and origin != f"http://{host}"):
            raise RefusedRequestError(403, "forbidden", "another page has sent this request")
        if request.headers.get("sec-fetch-site", "none") not in ("none", "same-origin"):
            raise RefusedRequestError(403, "forbidden", "another page has sent this request")
        if self._asks and not self._is_known(request.headers.get("cookie", "")):
            raise RefusedRequestError(
                401, "token", "open the address that edge-infer page printed; it works in one browser"
            )
        if request.path.startswith("/api/") and request.path != "/api/picture" and request.headers.get(MARK) != "page":
            raise bad("requests below /api/ need the header X-Edge-Infer: page")

    def cookie(self, request: HttpRequest) -> str | None:
        """Return the cookie for a browser that sends the token to ``/``; None for any other request."""
        brought = request.query.get("token", "")
        if not self._token or request.path != "/" or not hmac.compare_digest(brought.encode(), self._token.encode()):
            return None
        self._host(request)
        self._token = ""
        return f"{self._name}={self._session}; HttpOnly; SameSite=Strict; Path=/"

    def _host(self, request: HttpRequest) -> str:
        """Return the host in a request; raise `RefusedRequestError` unless it is this computer."""
        host = request.headers.get("host", "")
        if not _HOST.fullmatch(host):
            raise RefusedRequestError(403, "forbidden", "the page is at localhost; open http://localhost with its port")
        return host

    def _is_known(self, cookies: str) -> bool:
        for each in cookies.split(";"):
            name, _, value = each.strip().partition("=")
            if name == self._name and hmac.compare_digest(value.encode(), self._session.encode()):
                return True
        return False
