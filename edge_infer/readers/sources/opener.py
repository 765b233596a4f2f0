"""HTTP client for network cameras: HTTP and HTTPS only, with a password that is sent to this host only."""

from __future__ import annotations

import urllib.request
from collections.abc import Callable
from email.message import Message
from typing import IO, Any
from urllib.error import URLError
from urllib.parse import urljoin, urlsplit


def make_opener(url: str, username: str | None, password: str) -> urllib.request.OpenerDirector:
    """Return an opener for HTTP and HTTPS only.

    It ignores proxies in the environment and sends basic or digest authentication to this host only.
    """
    opener = urllib.request.OpenerDirector()
    handlers: list[urllib.request.BaseHandler] = [
        urllib.request.HTTPHandler(),
        urllib.request.HTTPSHandler(),
        urllib.request.HTTPDefaultErrorHandler(),
        urllib.request.HTTPErrorProcessor(),
        urllib.request.UnknownHandler(),
        _Redirects(),
    ]
    if username is not None:
        secrets = urllib.request.HTTPPasswordMgrWithDefaultRealm()
        secrets.add_password(None, urljoin(url, "/"), username, password)
        handlers += [_Digest(secrets), _Basic(secrets)]
    for handler in handlers:
        opener.add_handler(handler)
    return opener


class _Redirects(urllib.request.HTTPRedirectHandler):
    """Follows a few redirects, but none from HTTPS to an address without encryption, which would leak the password."""

    max_repeats = 2
    max_redirections = 5

    def redirect_request(  # noqa: PLR0917 - the signature is urllib's
        self,
        req: urllib.request.Request,
        fp: IO[bytes],
        code: int,
        msg: str,
        headers: Message,
        newurl: str,
    ) -> urllib.request.Request | None:
        if req.type == "https" and urlsplit(newurl).scheme != "https":
            fp.close()
            raise URLError("it redirects from https to an address without encryption")
        return super().redirect_request(req, fp, code, msg, headers, newurl)  # type: ignore[arg-type]  # typeshed's own


class _Digest(urllib.request.HTTPDigestAuthHandler):
    def http_error_401(self, req: Any, fp: Any, *rest: Any) -> Any:
        return _again(super().http_error_401, req, fp, *rest)


class _Basic(urllib.request.HTTPBasicAuthHandler):
    def http_error_401(self, req: Any, fp: Any, *rest: Any) -> Any:
        return _again(super().http_error_401, req, fp, *rest)


def _again(retry: Callable[..., Any], req: Any, fp: Any, *rest: Any) -> Any:
    """Retry with the password and close the first response, which urllib leaves open."""
    try:
        answer = retry(req, fp, *rest)
    except Exception:
        fp.close()
        raise
    if answer is not None:
        fp.close()
    return answer
