"""Pictures from an HTTP network camera: a Motion JPEG stream, or a snapshot at intervals."""

from __future__ import annotations

import hashlib
import re
import threading
import time
import urllib.request
from collections.abc import Callable
from dataclasses import dataclass
from email.message import Message
from http.client import HTTPException, HTTPResponse
from typing import IO, TYPE_CHECKING, Any, ClassVar, Final
from urllib.error import HTTPError, URLError
from urllib.parse import urljoin, urlsplit

from edge_infer.errors import SourceError
from edge_infer.frames.picture import decode_picture, format_of
from edge_infer.plan.credentials import source_password, without_passwords
from edge_infer.plan.records import Gives
from edge_infer.platform.closing import Closing
from edge_infer.readers.sources import PASSED, Passed, Picture, Wanted, all_wanted
from edge_infer.readers.sources.credentials_in_url import redirected, shown, text_of, unreachable, with_credentials
from edge_infer.readers.sources.video_capture import Times

if TYPE_CHECKING:
    from typing_extensions import Self


# HTTP client for network cameras: HTTP and HTTPS only, with a password that is sent to this host only.


def make_opener(
    url: str, username: str | None, password: str, redirects: urllib.request.HTTPRedirectHandler
) -> urllib.request.OpenerDirector:
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
        redirects,
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

    def __init__(self) -> None:
        self.target = ""
        """The target of the last redirection that was not refused for its lack of encryption."""

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
            raise URLError("it redirects from https to an unencrypted address")
        self.target = newurl
        return super().redirect_request(req, fp, code, msg, headers, newurl)  # type: ignore[arg-type]  # typeshed's own


class _Digest(urllib.request.HTTPDigestAuthHandler):
    """Digest authentication with MD5, SHA-1 or SHA-256 (RFC 7616); urllib supports only the first two."""

    def http_error_401(self, req: Any, fp: Any, code: int, msg: str, headers: Message) -> Any:
        return _again(super().http_error_401, req, fp, code, msg, _only(_digests(headers)))

    def get_algorithm_impls(self, algorithm: str) -> tuple[Callable[[str], str], Callable[[str, str], str]]:
        make = _HASHES[algorithm.upper()]

        def hashed(text: str) -> str:
            return make(text.encode()).hexdigest()

        return hashed, lambda secret, data: hashed(f"{secret}:{data}")


class _Basic(urllib.request.HTTPBasicAuthHandler):
    def http_error_401(self, req: Any, fp: Any, code: int, msg: str, headers: Message) -> Any:
        return _again(super().http_error_401, req, fp, code, msg, _only(_challenges(headers, "basic")))


_HASHES: Final = {"MD5": hashlib.md5, "SHA": hashlib.sha1, "SHA-256": hashlib.sha256}
_SCHEME: Final = re.compile(r"(?:^|,)\s*(?=[A-Za-z][\w-]*\s+[\w-]+\s*=)")
"""Matches the start of a challenge. A header may hold several challenges, and a challenge itself contains commas."""


def _challenges(headers: Message, scheme: str) -> list[str]:
    """Return the challenges of one scheme in their order: a server names its preferred challenge first."""
    every = [part.strip(" ,") for line in headers.get_all("www-authenticate", []) for part in _SCHEME.split(line)]
    return [each for each in every if each.lower().startswith(f"{scheme} ")]


def _digests(headers: Message) -> list[str]:
    """Return the challenges that `_Digest` can answer; they are parsed as urllib parses them."""
    usable = []
    for challenge in _challenges(headers, "digest"):
        try:
            values = urllib.request.parse_keqv_list(urllib.request.parse_http_list(challenge.partition(" ")[2]))
        except ValueError:
            continue
        protection = [each.strip() for each in values.get("qop", "auth").split(",")]
        if str(values.get("algorithm", "MD5")).upper() in _HASHES and "auth" in protection:
            usable.append(challenge)
    return usable


def can_answer(headers: Message) -> bool:
    """Return whether the server offers a supported authentication method."""
    return bool(_challenges(headers, "basic") or _digests(headers))


def _only(challenges: list[str]) -> Message:
    """Return headers with only the first challenge: urllib reads one, and rejects it if its scheme is unknown."""
    headers = Message()
    for each in challenges[:1]:
        headers["www-authenticate"] = each
    return headers


def _content_type(headers: Message) -> str:
    """Return the type without its parameters. Passwords are removed first, because one may contain a semicolon."""
    kind = without_passwords(headers.get("Content-Type", "")).partition(";")[0].strip().lower()
    return kind if kind.count("/") == 1 else headers.get_default_type()


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


# Parse complete pictures from a ``multipart/x-mixed-replace`` body (Motion JPEG over HTTP), even a damaged one.

MOST_PICTURE: Final = 16 << 20
MOST_HEADER: Final = 8192
"""Limits of a part and of its header in bytes; longer ones are skipped."""
_HEADER_END: Final = re.compile(rb"\r?\n\r?\n")
"""Some cameras end the lines of a part's header with a line feed alone."""
_LENGTH: Final = re.compile(rb"^content-length:\s*(\d{1,9})\s*$", re.IGNORECASE | re.MULTILINE)


class MjpegParser:
    """Parses bytes in pieces of any size and finds the next boundary after invalid data.

    A part ends after its Content-Length or, if that is missing or the part was cut, at the next boundary. `broken`
    counts parts without a complete JPEG file. Bytes after the last end marker of the file are ignored, because some
    cameras append data of their own. Some cameras write the boundary without the two dashes before it. Such a boundary
    counts only as a whole line, because a short boundary may also occur inside a picture.
    """

    def __init__(self, boundary: str) -> None:
        self.broken = 0
        self.arrived: Times = (0.0, 0.0)
        """Times at which the first bytes of the newest picture arrived; its end may show only when the next picture
        arrives."""
        self._begun: Times | None = None
        # Two dashes at the start of the parameter may be part of the boundary, or the two dashes before each boundary.
        self._delimiter = b"--" + boundary.strip('" ').removeprefix("--").encode("latin-1", "replace")
        self._buffer = bytearray()
        self._new = True
        """True until the first boundary has shown whether the camera writes the two dashes."""
        self._inside = False
        self._length: int | None = None

    def feed(self, data: bytes) -> list[bytes]:
        """Return the pictures that are now complete, oldest first."""
        now = time.time(), time.monotonic()
        self._buffer += data
        if self._new:
            self._learn()
        found: list[bytes] = []
        while (part := self._next()) is not None:
            begun, self._begun = self._begun or now, None
            end = part.rfind(b"\xff\xd9")
            if part.startswith(b"\xff\xd8") and end > 0:
                found.append(part[: end + 2])
                self.arrived = begun
            else:
                self.broken += 1
        if self._inside and self._buffer and self._begun is None:
            self._begun = now
        return found

    def _learn(self) -> None:
        """Use the boundary without dashes if the body begins with it. Decide later while too few bytes have arrived."""
        name = bytes(self._delimiter[2:])
        start = bytes(self._buffer[:MOST_HEADER]).lstrip(b"\r\n")
        if len(start) <= len(name) and name.startswith(start):
            return
        self._new = False
        if name and start.startswith((name + b"\r", name + b"\n")):
            self._delimiter = b"\n" + start[: len(name) + 1]
            self._buffer[:0] = b"\n"

    def _next(self) -> bytes | None:
        """Return the next part, complete or not; None when more bytes are needed."""
        while not self._inside:
            if not self._enter():
                return None
        wanted = self._length
        end = self._buffer.find(self._delimiter)
        if wanted is not None and len(self._buffer) >= wanted and not 0 <= end < wanted:
            end = wanted
        if end < 0 and len(self._buffer) <= MOST_PICTURE:
            return None
        part = bytes(self._buffer[: max(end, 0)])
        del self._buffer[: len(part) if end >= 0 else len(self._buffer)]
        self._inside = False
        return part

    def _enter(self) -> bool:
        """Skip to the end of the next part's header; return False when more bytes are needed."""
        buffer = self._buffer
        start = buffer.find(self._delimiter)
        if start < 0:
            del buffer[: max(0, len(buffer) - len(self._delimiter))]
            return False
        del buffer[:start]
        end = _HEADER_END.search(buffer, 0, MOST_HEADER)
        if end is None:
            if len(buffer) < MOST_HEADER:
                return False
            del buffer[: len(self._delimiter)]  # no header: look for another boundary
            return True
        length = _LENGTH.search(bytes(buffer[: end.start()]).replace(b"\r", b""))
        self._length = int(length.group(1)) if length and int(length.group(1)) <= MOST_PICTURE else None
        del buffer[: end.end()]
        self._inside = True
        return True


TIMEOUT: Final = 5.0
"""Timeout in seconds for one response of the camera, and for one complete picture."""
CHUNK: Final = 1 << 16
MOST_BACKLOG: Final = 8 << 20
"""Maximum bytes that are read in search of a newer picture before the newest so far is returned."""


@dataclass(frozen=True, slots=True)
class HttpOptions:
    """``snapshot``: seconds between two pictures that are fetched one by one; None for a Motion JPEG stream."""

    url: str
    username: str | None = None
    password_file: str | None = None
    snapshot: float | None = None


class HttpSource(Closing):
    """Pictures from one URL; if several have arrived, only the newest is returned."""

    gives: ClassVar[Gives] = "image"
    noisy: ClassVar[bool] = True
    live: ClassVar[bool] = True
    network: bool = True
    lossless: bool = False
    Options = HttpOptions

    def __init__(self, options: HttpOptions) -> None:
        self.patience = (options.snapshot or 0.0) + TIMEOUT
        """Seconds that a `read` may take: the wait for the next snapshot is no hang."""
        self.stills = options.snapshot is not None
        self.wanted: Wanted = all_wanted
        self._options = options
        self._shown = shown(options.url)
        self._url = ""
        self._closed = threading.Event()
        self._opener: urllib.request.OpenerDirector | None = None
        self._redirects = _Redirects()
        self._response: HTTPResponse | None = None
        self.content_type = ""
        """The type of the last response, such as ``image/jpeg``."""
        self.format = ""
        """The format of the last snapshot, such as ``JPEG``, whatever type the camera states; empty if unknown."""
        self._parser = MjpegParser("")
        self._due = 0.0

    def __enter__(self) -> Self:
        options = self._options
        file = options.password_file
        password = source_password(file, options.username) if file is not None else ""
        self._closed.clear()
        self._redirects = _Redirects()
        self._opener = make_opener(options.url, options.username, password, self._redirects)
        self._url = with_credentials(options.url, None, password)
        self._due = time.monotonic()
        if options.snapshot is None:
            self._response = self._get()
            self._parser = MjpegParser(self._boundary(self._response))
        return self

    def read(self) -> Picture | Passed | None:
        """Return the next picture; raises `SourceError` when none arrives in time."""
        return self._read_snapshot() if self._options.snapshot is not None else self._read_stream()

    def interrupt(self) -> None:
        """End the wait for a snapshot in another thread."""
        self._closed.set()

    def close(self) -> None:
        """Close the connection; may be called twice."""
        self._closed.set()
        if self._response is not None:
            self._response.close()
            self._response = None

    def _get(self) -> HTTPResponse:
        assert self._opener is not None
        self._redirects.target = ""
        try:
            response: HTTPResponse = self._opener.open(self._url, timeout=TIMEOUT)
        except HTTPError as error:
            error.close()
            raise SourceError(f"{self._shown} answers {error.code}: {self._remedy(error)}") from error
        except URLError as error:
            target = self._redirects.target
            if target and isinstance(error.reason, PermissionError):  # the sandbox allows the port of `url` alone
                secret = self._options.password_file is not None
                text = redirected(self._options.url, target, secret=secret)
                raise SourceError(f"{self._shown} {text}") from error
            raise SourceError(f"{self._shown} cannot be reached: {unreachable(error.reason)}") from error
        except (OSError, HTTPException, ValueError) as error:
            raise SourceError(f"{self._shown} cannot be reached: {unreachable(error)}") from error
        self.content_type = _content_type(response.headers)
        return response

    def _remedy(self, error: HTTPError) -> str:
        if error.code in (401, 403):
            if self._options.username is None:
                return "it requires a username and a password_file"
            if error.code == 401 and not can_answer(error.headers):
                return "it requires another authentication method than basic or digest (MD5, SHA-1, SHA-256)"
            return "wrong user name or password"
        if 300 <= error.code < 400:
            circle = "in a loop, or too often"
            return f"it redirects {circle if self._redirects.target else 'to an address that cannot be opened'}"
        return "check the path of the url" if error.code == 404 else "the camera refuses the request"

    def _boundary(self, response: HTTPResponse) -> str:
        kind = self.content_type
        boundary = response.headers.get_param("boundary")
        if kind.startswith("multipart/") and isinstance(boundary, str) and boundary.strip('" '):
            return boundary
        self.close()
        if kind.startswith("image/"):
            raise SourceError(f"{self._shown} sends single pictures; set `snapshot: 1s` to fetch one every second")
        if kind.startswith("multipart/"):
            raise SourceError(
                f"{self._shown} sends {kind} without a boundary between pictures, so the reader cannot split them"
            )
        raise SourceError(
            f"{self._shown} sends {kind}; expected a Motion JPEG stream (multipart/x-mixed-replace), or with "
            "`snapshot: 1s` a picture"
        )

    def _read_stream(self) -> Picture | Passed:
        deadline, wanted = time.monotonic() + TIMEOUT, False
        while time.monotonic() < deadline:
            data = self._newest_jpeg()
            if data is not None:
                wall, monotonic = self._parser.arrived
                wanted = wanted or self.wanted(monotonic)  # the next picture replaces a broken one
                if not wanted:
                    return PASSED
                pixels = decode_picture(data)
                if pixels is not None:
                    return Picture(pixels, "bgr", wall, monotonic)
                self._parser.broken += 1
        raise SourceError(
            f"{self._shown} sent no complete JPEG picture for {TIMEOUT:g} s ({self._parser.broken} broken ones so far)"
        )

    def _newest_jpeg(self) -> bytes | None:
        """Read all data that has arrived; return the last complete picture in it, or None."""
        newest, size = None, 0
        while size < MOST_BACKLOG:
            try:
                data = self._read_some()
            except SourceError:
                if newest is None:
                    raise
                break  # return the picture first; the next read fails again
            size += len(data)
            newest = next(reversed(self._parser.feed(data)), newest)
            if not self._waits():
                break
        return newest

    def _waits(self) -> bool:
        """Return whether more picture data has arrived; skip the line end after a chunk, which is no picture data.

        The response and TLS read ahead into buffers, so the socket alone does not show whether data has arrived.
        """
        response = self._response
        if response is None or response.isclosed():
            return False
        raw: Any = response.fp.raw
        raw._sock.settimeout(0.0)  # noqa: SLF001 - no public way leads from the response to its socket
        try:
            if response.chunked and response.chunk_left == 0:
                if not response.fp.peek().startswith(b"\r\n"):
                    return False
                response.fp.read(len(b"\r\n"))
                response.chunk_left = None  # the size of a chunk follows, as at the beginning
            return bool(response.fp.peek())
        except OSError:  # TLS without a whole record; the next read raises any other error
            return False
        finally:
            raw._sock.settimeout(TIMEOUT)  # noqa: SLF001

    def _read_some(self) -> bytes:
        if self._response is None:
            raise SourceError(f"{self._shown} is closed")
        try:
            data = self._response.read1(CHUNK)
        except (OSError, HTTPException, ValueError) as error:
            raise SourceError(f"the connection to {self._shown} failed: {text_of(error)}") from error
        if not data:
            raise SourceError(f"{self._shown} ended the stream")
        return data

    def _read_snapshot(self) -> Picture | Passed | None:
        assert self._options.snapshot is not None
        if self._closed.wait(max(0.0, self._due - time.monotonic())):
            return None
        self._due = max(self._due + self._options.snapshot, time.monotonic())
        self._response = self._get()
        wall, monotonic = time.time(), time.monotonic()
        if self.content_type.startswith("multipart/"):
            self.close()
            raise SourceError(f"{self._shown} sends a stream; remove `snapshot` to read it")
        packed = without_passwords(self._response.headers.get("Content-Encoding", ""))
        data, deadline = bytearray(), time.monotonic() + TIMEOUT
        try:
            while part := self._response.read1(CHUNK):
                data += part
                if len(data) > MOST_PICTURE or time.monotonic() > deadline:
                    raise SourceError(
                        f"{self._shown} sent too much data for a picture: {len(data)} bytes in {TIMEOUT:g} s"
                    )
        except (OSError, HTTPException, ValueError) as error:
            if isinstance(error, SourceError):
                raise
            raise SourceError(f"the connection to {self._shown} failed: {text_of(error)}") from error
        finally:
            self._response.close()
            self._response = None
        if not self.wanted(monotonic):
            return PASSED
        pixels = decode_picture(bytes(data))
        if pixels is None:
            why = (
                f"; it compresses them ({packed}), which is not supported"
                if packed
                else ", or the picture is far too large"
            )
            raise SourceError(f"{self._shown} sent {len(data)} bytes that are not a readable picture{why}")
        self.format = format_of(bytes(data[:16]))
        return Picture(pixels, "bgr", wall, monotonic)
