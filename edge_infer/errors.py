"""The exceptions of edge-infer, in one small tree: fatal at start, or retried while running."""

from __future__ import annotations

import re
from typing import Final, Literal

LONGEST_SENTENCE: Final = 500
"""Maximum number of characters of a sentence in a record."""
_END: Final = 240

ModelKey = Literal["file", "labels", "sha256", "threshold", "task", "decoder"]


class EdgeInferError(Exception):
    """Base of all errors. The text names the fault, its place and the remedy for the operator."""

    exit_code = 1


class ConfigError(EdgeInferError, ValueError):
    """The command line or the configuration is wrong."""

    exit_code = 2


class StartError(EdgeInferError, OSError):
    """The daemon cannot start here: no state directory, no credentials file, another daemon, no usable model."""

    exit_code = 3


class ModelError(EdgeInferError, ValueError):
    """A model file, its manifest or its labels cannot be used; fatal for the pipelines that name it.

    ``key`` is the faulty key of the model's entry in the configuration. ``tried`` is true when the model file itself
    was tried and failed. ``foreign``: the text was written by a process that had opened the file.
    """

    exit_code = 3

    def __init__(self, text: str, *, key: ModelKey = "file", tried: bool = False, foreign: bool = False) -> None:
        super().__init__(text)
        self.key = key
        self.tried = tried
        self.foreign = foreign


class InputError(EdgeInferError, ValueError):
    """A picture, recording or other input cannot be read, or does not fit the model."""


class DownloadError(EdgeInferError, OSError):
    """A file cannot be downloaded, or the downloaded file is not the expected one."""


class SourceError(EdgeInferError, OSError):
    """A camera, stream or file delivers no frames now; retried while the daemon runs."""


class WireError(EdgeInferError, ValueError):
    """A record does not fit the closed schema of messages between processes or payloads that leave the device."""


def told(error: Exception) -> str:
    """Return the text for any caught error. Errors of edge-infer keep their own text."""
    return str(error) if isinstance(error, EdgeInferError) else f"unexpected {type(error).__name__}: {error}"


def shortened(sentence: str) -> str:
    """Return the sentence shortened for a record.

    The result has the beginning and the end, because the remedy is at the end. Text in quotation marks («») stays in
    them. Bytes that are no text, such as in a file name that is not UTF-8, are escaped, because no record may contain
    them.
    """
    sentence = sentence.encode("utf-8", "backslashreplace").decode()
    if len(sentence) <= LONGEST_SENTENCE:
        return sentence
    start, end = sentence[: LONGEST_SENTENCE - _END - 3], sentence[-_END:]
    in_start, in_end = _in_quotation(start), _in_quotation(sentence[: 1 - _END])
    if in_start and not in_end:
        start = f"{start[:-1]}»"
    if in_end and not in_start:
        end = f"«{end[1:]}"
    return f"{start} … {end}"


def _in_quotation(beginning: str) -> bool:
    return beginning.rfind("«") > beginning.rfind("»")


def quoted(text: str) -> str:
    """Return a text of a process that sees frames or opens models, enclosed in « and ».

    The supervisor writes the rest of the sentence. Before a sentence leaves the device, the supervisor replaces the
    enclosed text, unless it has a known form (see `edge_infer.supervisor.redaction`).
    """
    return "«" + re.sub("[«»]", "'", text) + "»"
