"""Texts that may leave: the labels of this and earlier configurations, and reports of the sandbox."""

from __future__ import annotations

import errno
import logging
import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Final

from edge_infer.contract.codec import Record, at_least, at_most, between, matching
from edge_infer.contract.messages import Label, Name, Title
from edge_infer.publisher.json_file import JsonFile

# The remembered vocabulary of messages: the outbox may hold messages of earlier configurations and processes.

FILE: Final = "vocabulary.json"
MOST: Final = 256
"""Maximum number of remembered models and pipelines, the newest."""
MOST_BYTES: Final = 32 << 20


class ModelWords(Record, frozen=True):
    """Labels, titles and the decimals of each value of the model file whose digest begins with ``sha``."""

    sha: Annotated[str, matching("[0-9a-f]{8}", 8)]
    labels: tuple[Label, ...]
    titles: tuple[Title, ...]
    decimals: Mapping[Label, Annotated[int, between(0, 100)]]


class PipelineWords(Record, frozen=True):
    """The size limit of its results, its zones and lines, its labels, those of its parents, and its models."""

    name: Name
    limit: Annotated[int, at_least(1)]
    places: tuple[Name, ...]
    labels: tuple[Label, ...]
    above: tuple[Label, ...] = ()
    models: tuple[Annotated[str, matching("[0-9a-f]{8}", 8)], ...] = ()


class AllowedWords(Record, frozen=True):
    """The content of the file."""

    models: Annotated[tuple[ModelWords, ...], at_most(MOST)] = ()
    pipelines: Annotated[tuple[PipelineWords, ...], at_most(MOST)] = ()


class Vocabulary:
    """A small file in the publisher's folder, written only when the vocabulary changes."""

    def __init__(self) -> None:
        self._known: AllowedWords | None = None
        self._file = JsonFile(AllowedWords, FILE, MOST_BYTES, "what waits of earlier models may be rejected")

    def load(self, folder: Path) -> AllowedWords:
        """Return the vocabulary of earlier processes on the first call, and nothing after that."""
        if self._known is not None:
            return AllowedWords()
        self._known = self._file.read(folder) or AllowedWords()
        return self._known

    def save(self, folder: Path, words: AllowedWords) -> None:
        """Save the newest words. A failed write is repeated the next time."""
        new = AllowedWords(words.models[-MOST:], words.pipelines[-MOST:])
        if new != self._known and self._file.write(folder, new):
            self._known = new


# The closed forms of sandbox reports. The engine, which sees frames, sends such reports, too.

log = logging.getLogger(__name__)

# fmt: off
_WALLS: Final = frozenset({
    "seccomp", "files", "ports", "no_signals", "network_namespace", "no_swap", "no_new_privileges", "no_capabilities",
    "no_core_dump", "not_dumpable", "no_tracing", "no_io_uring", "no_network", "no_camera", "no_microphone",
    "no_calls_on_others", "no_unix_sockets", "no_processes", "no_file_attributes", "no_shared_memory",
    "no_lasting_flags", "not_shown", "no_namespaces", "no_other_protocols",
})
_CALLS: Final = (
    "ptrace", "process_vm_readv", "process_vm_writev", "pidfd_getfd", "io_uring_setup", "io_uring_enter",
    "io_uring_register", "socket", "socketpair", "connect", "bind", "listen", "accept", "accept4", "ioctl",
    "prlimit64", "setpriority", "sched_setaffinity", "sched_setscheduler", "sched_setparam", "sched_setattr",
    "ioprio_set", "get_robust_list", "migrate_pages", "move_pages", "kcmp", "perf_event_open", "prctl",
    "process_madvise", "process_mrelease", "clone", "clone3", "fchmod", "fchmodat", "fchown", "fchownat",
    "utimensat", "fsetxattr", "fremovexattr", "shmget", "shmat", "semget", "msgget", "mq_open", "fcntl",
    "setsockopt", "execve", "execveat", "unshare", "setns", "sendto", "sendmsg", "sendmmsg",
    "add_key", "personality",
)
_REASONS: Final = (
    "setuid programs still have their effect", "the limit of core files is not 0", "it is in the network of the system",
    "processes of the same user can read its memory", "there is no table of system calls for this processor",
    "the kernel lets it write to files that are not its own", "the kernel lets it read files that are not its own",
    "the kernel is older than 6.12", "the kernel is older than 6.7",
    "there is swap space, and LimitMEMLOCK=infinity is missing to keep memory out of it",
    "it could not be tried, the process that started it was out of reach before",
    "threads were running before it", "it could not be tried, / and /proc/self/comm were closed before",
    "rooms are merged, so it holds for a thread alone", "names of hosts are looked up over them",
    "sound services are reached over them", "a program that is not ours may need them",
)
_EXCEPTIONS: Final = (
    " but for CAP_DAC_READ_SEARCH", " but for reading", " for TCP", " by seccomp alone",
)
# fmt: on


def _any(words: tuple[str, ...]) -> str:
    return "|".join(map(re.escape, words))


_ROOMS: Final = r"(?:engine|publisher|reader [A-Za-z0-9_-]{1,64})"
_ERRORS: Final = _any(tuple(sorted({os.strerror(number) for number in errno.errorcode})))
_CALLED: Final = rf"the kernel lets through (?:{_any(_CALLS)})(?:, (?:{_any(_CALLS)}))*"
_WHY: Final = rf"(?:{_any(_REASONS)}|(?:it could not be tried, )?(?:{_ERRORS})|{_CALLED}|0x[0-9a-f]{{1,16}} is left)"
_UNIT: Final = r"(?: \(the unit forbids it: its sockets are refused all the same\))?"
_TEXT: Final = rf"(?:enforced(?:{_any(_EXCEPTIONS)})?|(?:not enforced|unavailable): {_WHY}{_UNIT})"
_PART: Final = re.compile(
    rf"(?P<rooms>{_ROOMS}(?:, {_ROOMS})*(?: and [1-9][0-9]{{0,2}} more)?: )?{_TEXT}"
)  # long, and compiled at each start
_STATE: Final = re.compile(r"enforced|not enforced|unavailable")
ELSEWHERE: Final = ": edge-infer doctor says why"


def closed(walls: Mapping[str, str]) -> dict[str, str]:
    """Return the reports in closed forms: of other texts only their beginning, of unknown sandbox rules nothing."""
    return {wall: _closed(wall, text) for wall, text in walls.items() if wall in _WALLS}


def _closed(wall: str, text: str) -> str:
    if _is_closed(text) or text in {f"{state}{ELSEWHERE}" for state in ("not enforced", "unavailable")}:
        return text
    log.warning("sandbox rule %s: report has no known form and is not published: %.100s", wall, text)
    states = set(_STATE.findall(text))
    if states == {"enforced"}:
        return "enforced"  # the list of processes was too long and was cut
    return f"{'unavailable' if 'unavailable' in states else 'not enforced'}{ELSEWHERE}"


def _is_closed(text: str) -> bool:
    """Whether a text is one report for all processes, or one for each group of them."""
    parts = [_PART.fullmatch(part) for part in text.split("; ")]
    return all(part is not None and (part["rooms"] or len(parts) == 1) for part in parts)
