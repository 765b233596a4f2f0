"""Pictures from an HTTP network camera: a Motion JPEG stream, or a snapshot at intervals."""

from __future__ import annotations

import select
import threading
import time
import urllib.request
from dataclasses import dataclass
from http.client import HTTPException, HTTPResponse
from typing import TYPE_CHECKING, ClassVar, Final
from urllib.error import HTTPError, URLError

from edge_infer.closing import Closing
from edge_infer.config.plan import Gives
from edge_infer.credentials import source_password
from edge_infer.engine.picture import decode_picture
from edge_infer.errors import SourceError
from edge_infer.readers.sources import PASSED, Passed, Picture, Wanted, all_wanted
from edge_infer.readers.sources.address import shown, unreachable, with_credentials
from edge_infer.readers.sources.mjpeg import MOST_PICTURE, MjpegParser
from edge_infer.readers.sources.opener import make_opener

if TYPE_CHECKING:
    from typing_extensions import Self

TIMEOUT: Final = 5.0
"""Timeout in seconds for one response of the camera, and for one complete picture."""
CHUNK: Final = 1 << 16
MOST_BACKLOG: Final = 8 << 20
"""Limit of bytes that are searched for a newer picture before one is returned."""


@dataclass(frozen=True, slots=True)
class HttpOptions:
    """``snapshot``: seconds between two pictures that are fetched one by one; None for a Motion JPEG stream."""

    url: str
    username: str | None = None
    password_file: str | None = None
    snapshot: float | None = None


class HttpSource(Closing):
    """Pictures from one URL; if several have arrived, the newest."""

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
        self._response: HTTPResponse | None = None
        self._parser = MjpegParser("")
        self._due = 0.0

    def __enter__(self) -> Self:
        options = self._options
        password = source_password(options.password_file) if options.password_file is not None else ""
        self._closed.clear()
        self._opener = make_opener(options.url, options.username, password)
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
        try:
            response: HTTPResponse = self._opener.open(self._url, timeout=TIMEOUT)
        except HTTPError as error:
            error.close()
            raise SourceError(f"{self._shown} answers {error.code}: {self._remedy(error.code)}") from error
        except URLError as error:
            raise SourceError(f"{self._shown} cannot be reached: {unreachable(error.reason)}") from error
        except (OSError, HTTPException, ValueError) as error:
            raise SourceError(f"{self._shown} cannot be reached: {unreachable(error)}") from error
        return response

    def _remedy(self, code: int) -> str:
        if code in (401, 403):
            named = self._options.username is not None
            return "user name or password are wrong" if named else "it wants a username and a password_file"
        return "check the path of the url" if code == 404 else "the camera refuses the request"

    def _boundary(self, response: HTTPResponse) -> str:
        kind = response.headers.get_content_type()
        boundary = response.headers.get_param("boundary")
        if kind.startswith("multipart/") and isinstance(boundary, str) and boundary.strip('"- '):
            return boundary
        self.close()
        if kind.startswith("image/"):
            raise SourceError(f"{self._shown} sends single pictures; set `snapshot: 1s` to fetch one every second")
        raise SourceError(f"{self._shown} sends {kind}; expected a Motion JPEG stream (multipart/x-mixed-replace)")

    def _read_stream(self) -> Picture | Passed:
        deadline, wanted = time.monotonic() + TIMEOUT, False
        while time.monotonic() < deadline:
            data = self._newest_jpeg()
            if data is not None:
                wall, monotonic = time.time(), time.monotonic()
                wanted = wanted or self.wanted(monotonic)  # a broken picture passes its turn to the next
                if not wanted:
                    return PASSED
                pixels = decode_picture(data)
                if pixels is not None:
                    return Picture(pixels, "bgr", wall, monotonic)
                self._parser.broken += 1
        raise SourceError(
            f"{self._shown} sent no whole JPEG picture for {TIMEOUT:g} s ({self._parser.broken} broken ones so far)"
        )

    def _newest_jpeg(self) -> bytes | None:
        """Read until no more data is waiting; return the last picture in it, or None."""
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
            if self._response is None or not select.select([self._response], [], [], 0)[0]:
                break
        return newest

    def _read_some(self) -> bytes:
        if self._response is None:
            raise SourceError(f"{self._shown} is closed")
        try:
            data = self._response.read1(CHUNK)
        except (OSError, HTTPException, ValueError) as error:
            raise SourceError(f"{self._shown} broke off: {error or type(error).__name__}") from error
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
        data, deadline = bytearray(), time.monotonic() + TIMEOUT
        try:
            while part := self._response.read1(CHUNK):
                data += part
                if len(data) > MOST_PICTURE or time.monotonic() > deadline:
                    raise SourceError(f"{self._shown} sent more than a picture: {len(data)} bytes in {TIMEOUT:g} s")
        except (OSError, HTTPException, ValueError) as error:
            if isinstance(error, SourceError):
                raise
            raise SourceError(f"{self._shown} broke off: {error or type(error).__name__}") from error
        finally:
            self._response.close()
            self._response = None
        if not self.wanted(monotonic):
            return PASSED
        pixels = decode_picture(bytes(data))
        if pixels is None:
            raise SourceError(f"{self._shown} sent {len(data)} bytes that are no picture")
        return Picture(pixels, "bgr", wall, monotonic)
