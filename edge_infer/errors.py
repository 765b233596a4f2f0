"""Everything that can go wrong, in one small tree: fatal at start, or to be retried while running."""

from __future__ import annotations

from typing import Final, Literal

LONGEST_SENTENCE: Final = 500
"""Characters of one that a record carries."""
_END: Final = 240

ModelKey = Literal["file", "labels", "sha256", "threshold", "task", "decoder"]


class EdgeInferError(Exception):
    """The root. Its text is for the operator: what is wrong, where, and what would be right."""

    exit_code = 1


class ConfigError(EdgeInferError, ValueError):
    """The command line or the configuration is wrong."""

    exit_code = 2


class StartError(EdgeInferError, OSError):
    """The daemon cannot start here: no state directory, no credentials file, another daemon, no usable model."""

    exit_code = 3


class ModelError(EdgeInferError, ValueError):
    """A model file, its manifest or its labels cannot be used; fatal for the pipelines that name it.

    ``key`` is the key of the model's entry in the configuration that the fault belongs to; ``tried`` says that the
    bytes themselves were tried and found wanting.
    """

    exit_code = 3

    def __init__(self, text: str, *, key: ModelKey = "file", tried: bool = False) -> None:
        super().__init__(text)
        self.key = key
        self.tried = tried


class InputError(EdgeInferError, ValueError):
    """A picture, recording or other input cannot be read, or is not what the model takes."""


class DownloadError(EdgeInferError, OSError):
    """A file cannot be fetched, or what came is another one."""


class SourceError(EdgeInferError, OSError):
    """A camera, stream or file gives no frames now; retried while the daemon runs."""


class WireError(EdgeInferError, ValueError):
    """A record does not fit the closed schema of what may cross between two rooms, or leave the device."""


def told(error: Exception) -> str:
    """What is said of an error that was caught whatever it is: our own speak for themselves."""
    return str(error) if isinstance(error, EdgeInferError) else f"unexpected {type(error).__name__}: {error}"


def shortened(sentence: str) -> str:
    """The sentence as a record carries it: of a longer one the beginning, and the end, where the remedy stands."""
    if len(sentence) <= LONGEST_SENTENCE:
        return sentence
    return f"{sentence[: LONGEST_SENTENCE - _END - 3]} … {sentence[-_END:]}"
