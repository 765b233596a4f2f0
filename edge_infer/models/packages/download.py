"""Resumable download of a file, verified against the size and digest of the catalogue.

Nothing that the server reports is trusted; only the number of received bytes and their digest count. Bytes received so
far are kept, and this run or a later one continues from there (RFC 9110, section 14: range requests).
"""

from __future__ import annotations

import fcntl
import hashlib
import http.client
import logging
import os
import re
import ssl
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Final

from edge_infer import __version__
from edge_infer.errors import DownloadError

log = logging.getLogger(__name__)

PATIENCE: Final = 30.0
"""Seconds without a byte after which a connection is closed."""
PAUSES: Final = (1.0, 2.0, 4.0, 8.0)
"""Seconds to wait after each consecutive attempt without progress."""
_PART: Final = 1 << 16
_AGAIN: Final = frozenset({408, 416, 425, 429, 500, 502, 503, 504})
_SIZE: Final = re.compile(r"bytes \*/(\d{1,18})\b")
_RANGE: Final = re.compile(r"bytes (\d{1,18})-")
_FAILURES: Final = (OSError, http.client.HTTPException, ValueError)
"""Exceptions of urllib; ValueError is for a redirect to an invalid address."""
_ADVICE: Final = "to use a proxy, set https_proxy; to use another server, --mirror; to use a local file, --from"

Progress = Callable[[int, int], None]
"""Callback with the number of bytes received and the size of the whole file."""


@dataclass(frozen=True, slots=True)
class DownloadRequest:
    """A file to download: its address, its size in bytes and its digest."""

    url: str
    bytes: int
    sha256: str


def download(
    wanted: DownloadRequest,
    part: Path,
    progress: Progress = lambda _have, _all: None,
    patience: float = PATIENCE,
    pauses: tuple[float, ...] = PAUSES,
) -> None:
    """Download a file into ``part``, continuing from its current content; raises `DownloadError`.

    After an error, ``part`` is kept if its content may be correct, and removed otherwise.
    """
    with _opened(part) as stream:
        earlier = stream.seek(0, os.SEEK_END)
        _receive(wanted, stream, progress, patience, pauses)
        if earlier and _measured(stream) != (wanted.bytes, wanted.sha256):
            log.info("%s: the partial download of an earlier run does not match; starting again", wanted.url)
            stream.truncate(0)
            _receive(wanted, stream, progress, patience, pauses)
        _check(wanted, stream, part)


def _receive(
    wanted: DownloadRequest, stream: IO[bytes], progress: Progress, patience: float, pauses: tuple[float, ...]
) -> None:
    """Append until the size is reached; raises `DownloadError`.

    The number of attempts that receive new bytes is not limited. The download fails after more consecutive attempts
    without progress than there are ``pauses``. When the file shrinks for the first time, because the server starts from
    the beginning, progress is measured from the new size. Later this does not count: a server that always sends the
    same beginning makes no progress.
    """
    fruitless, restarted, most = 0, False, stream.seek(0, os.SEEK_END)
    while (have := stream.seek(0, os.SEEK_END)) < wanted.bytes:
        why = _attempt(wanted, stream, progress, patience)
        now = stream.seek(0, os.SEEK_END)
        if now < have and not restarted:
            restarted, most = True, now
        if now > most:
            fruitless, most = 0, now
        elif fruitless == len(pauses):
            kept = "the part received so far is kept, try again" if now else "nothing was received"
            raise DownloadError(f"{wanted.url}: {why}; {kept}. {_ADVICE}")
        else:
            log.info("%s: %s; retrying", wanted.url, why)
            time.sleep(pauses[fruitless])
            fruitless += 1


def _check(wanted: DownloadRequest, stream: IO[bytes], part: Path) -> None:
    """Check size and digest. If they are wrong, remove the file and raise `DownloadError`."""
    size, digest = _measured(stream)
    if (size, digest) == (wanted.bytes, wanted.sha256):
        return
    part.unlink(missing_ok=True)
    if size != wanted.bytes:
        raise DownloadError(f"{wanted.url} has more than the {wanted.bytes} bytes of the catalogue: it is another file")
    raise DownloadError(
        f"{wanted.url}: the downloaded file has the SHA-256 {digest}, but the catalogue expects {wanted.sha256}: it "
        "is another file, or it was changed in transit; the download was deleted"
    )


def _measured(stream: IO[bytes]) -> tuple[int, str]:
    size, digest = stream.seek(0), hashlib.sha256()
    while block := stream.read(1 << 20):
        digest.update(block)
        size += len(block)
    return size, digest.hexdigest()


def fetch(url: str, most: int, patience: float = PATIENCE, pauses: tuple[float, ...] = PAUSES) -> bytes:
    """Return the bytes at an address without a known digest.

    Raises `DownloadError`, also for more than ``most`` bytes.
    """
    for pause in (*pauses, None):
        try:
            with _opener().open(_request(url), timeout=patience) as answer:
                data = bytes(answer.read(most + 1))
                left = answer.length or 0
            if len(data) > most:
                raise DownloadError(f"{url} has more than {most} bytes, which is too large for a file of a catalogue")
            if not left:
                return data
            why = f"the connection ended after {len(data)} of {len(data) + left} bytes"
        except _FAILURES as error:
            if isinstance(error, DownloadError):
                raise
            why = _failure(url, error)
        if pause is not None:
            log.info("%s: %s; retrying", url, why)
            time.sleep(pause)
    raise DownloadError(f"{url}: {why}")


@contextmanager
def _opened(part: Path) -> Iterator[IO[bytes]]:
    """Open the growing file under an exclusive lock, so that only one process writes it."""
    try:
        part.parent.mkdir(parents=True, exist_ok=True)
        with part.open("a+b") as stream:
            fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
            yield stream
    except BlockingIOError as error:
        raise DownloadError(f"another edge-infer process is downloading this file to {part}") from error
    except DownloadError:
        raise
    except OSError as error:
        raise DownloadError(f"{part} cannot be written: {error.strerror or error}") from error


def _attempt(wanted: DownloadRequest, stream: IO[bytes], progress: Progress, patience: float) -> str:
    """Receive data over one connection; return the reason why it ended. Raises `DownloadError` if no retry can help."""
    have = stream.seek(0, os.SEEK_END)
    try:
        with _opener().open(_request(wanted.url, have), timeout=patience) as answer:
            if have and not _continues(answer, have):
                have = 0
                stream.truncate(0)
            return _take(wanted, answer, stream, have, progress)
    except _WriteError as error:
        raise DownloadError(f"no room for {wanted.url}: {error.__cause__}") from error
    except _FAILURES as error:
        if isinstance(error, urllib.error.HTTPError) and error.code == 416:
            error.close()
            stream.truncate(0)  # the local bytes are not the beginning of the server's file
            return _why_not_from(wanted, have, error.headers.get("Content-Range", ""))
        return _failure(wanted.url, error)


def _why_not_from(wanted: DownloadRequest, have: int, content_range: str) -> str:
    """Return the reason why a server has no byte ``have``; raises `DownloadError` if its file is a different one."""
    size = _SIZE.match(content_range)
    if size is not None and int(size[1]) != wanted.bytes:
        raise DownloadError(
            f"{wanted.url} has {size[1]} bytes, but the catalogue lists {wanted.bytes}: it is another file"
        )
    return f"the server has nothing after the first {have} of {wanted.bytes} bytes"


def _request(url: str, have: int = 0) -> urllib.request.Request:
    """Return the request for a file of which ``have`` bytes are already here."""
    headers = {"User-Agent": f"edge-infer/{__version__}", "Accept-Encoding": "identity"}
    if have:
        headers["Range"] = f"bytes={have}-"
    return urllib.request.Request(url, headers=headers)  # noqa: S310 - the opener knows HTTP only


def _failure(url: str, error: Exception) -> str:
    """Return the reason of a failure that a retry may fix; raises `DownloadError` if no retry can help."""
    if isinstance(error, urllib.error.HTTPError):
        error.close()
        if 300 <= error.code < 400:  # the text of urllib has several lines here
            raise DownloadError(
                f"{url}: the server answered {error.code}, an endless redirect or one to an address that is not http"
            ) from error
        if error.code not in _AGAIN:
            raise DownloadError(f"{url}: the server answered {error.code} {error.reason}; {_ADVICE}") from error
        return f"the server answered {error.code} {error.reason}"
    reason = getattr(error, "reason", error)
    if isinstance(reason, ssl.SSLCertVerificationError):
        raise DownloadError(f"{url}: its certificate is not trusted: {reason.verify_message}") from error
    return f"the connection failed: {reason or type(error).__name__}"


class _WriteError(Exception):
    """Writing to the disk failed; the network is not the cause."""


def _take(
    wanted: DownloadRequest, answer: http.client.HTTPResponse, stream: IO[bytes], have: int, progress: Progress
) -> str:
    """Write the received data, at most one byte more than the expected size."""
    progress(have, wanted.bytes)
    while have <= wanted.bytes and (block := answer.read1(min(_PART, wanted.bytes + 1 - have))):
        try:
            stream.write(block)
            stream.flush()
        except OSError as error:
            raise _WriteError from error
        have += len(block)
        progress(min(have, wanted.bytes), wanted.bytes)
    return f"the connection ended after {have} of {wanted.bytes} bytes"


def _continues(answer: http.client.HTTPResponse, have: int) -> bool:
    """Return whether the answer continues at byte ``have``; a server may also start from the beginning."""
    found = _RANGE.match(answer.headers.get("Content-Range", ""))
    return answer.status == 206 and found is not None and int(found[1]) == have


def _opener() -> urllib.request.OpenerDirector:
    """Return an opener for HTTP and HTTPS only, which uses the proxies from the environment."""
    opener = urllib.request.OpenerDirector()
    for handler in (
        urllib.request.ProxyHandler(),
        urllib.request.HTTPHandler(),
        urllib.request.HTTPSHandler(),
        urllib.request.HTTPRedirectHandler(),
        urllib.request.HTTPDefaultErrorHandler(),
        urllib.request.HTTPErrorProcessor(),
        urllib.request.UnknownHandler(),
    ):
        opener.add_handler(handler)
    return opener
