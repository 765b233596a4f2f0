"""Texts that may leave the device: labels of this and earlier configurations, and known forms of sandbox reports."""

from __future__ import annotations

import errno
import logging
import math
import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Final

from edge_infer.contract.codec import Record, at_least, at_most, between, matching
from edge_infer.contract.messages import Label, Name, Title
from edge_infer.publisher.json_file import JsonFile

# The stored vocabulary. The outbox may hold messages of earlier configurations and processes, so their labels must stay
# known.

FILE: Final = "vocabulary.json"
MOST: Final = 256
"""Maximum number of stored models and pipelines; the newest ones are kept."""
MOST_BYTES: Final = 32 << 20


class ModelWords(Record, frozen=True):
    """Labels and titles of the model file with the digest prefix ``sha``, and the decimals of each of its values."""

    sha: Annotated[str, matching("[0-9a-f]{8}", 8)]
    labels: tuple[Label, ...]
    titles: tuple[Title, ...]
    decimals: Mapping[Label, Annotated[int, between(0, 100)]]


class PipelineWords(Record, frozen=True):
    """A pipeline: the size limit of its results, its zones and lines, its labels, and the labels of its parents.

    Only files of earlier versions contain ``models``; this version ignores it.
    """

    name: Name
    limit: Annotated[int, at_least(1)]
    places: tuple[Name, ...]
    labels: tuple[Label, ...]
    above: tuple[Label, ...] = ()
    models: tuple[Annotated[str, matching("[0-9a-f]{8}", 8)], ...] = ()


class AllowedWords(Record, frozen=True):
    """Content of the file."""

    models: Annotated[tuple[ModelWords, ...], at_most(MOST)] = ()
    pipelines: Annotated[tuple[PipelineWords, ...], at_most(MOST)] = ()


class Vocabulary:
    """A small file in the publisher's folder. It is written only when the vocabulary changes."""

    def __init__(self) -> None:
        self._known: AllowedWords | None = None
        self._file = JsonFile(
            AllowedWords, FILE, MOST_BYTES, "the publisher may reject queued messages of earlier models"
        )

    def load(self, folder: Path) -> AllowedWords:
        """Return the texts that earlier publishers stored; only the first call returns any."""
        if self._known is not None:
            return AllowedWords()
        self._known = self._file.read(folder) or AllowedWords()
        return self._known

    def save(self, folder: Path, words: AllowedWords) -> None:
        """Store the newest words. A failed write is repeated with the next call."""
        new = AllowedWords(words.models[-MOST:], words.pipelines[-MOST:])
        if new != self._known and self._file.write(folder, new):
            self._known = new


# Closed forms of sandbox reports, that is, a fixed set of texts. They are needed because the engine, which sees frames,
# also sends such reports.

log = logging.getLogger(__name__)

# fmt: off
CALLS: Final[Mapping[str, tuple[str, ...]]] = {
    "seccomp": ("add_key", "personality"),
    "files": (), "ports": (), "network_namespace": (), "no_swap": (), "no_new_privileges": (), "no_capabilities": (),
    "no_core_dump": (), "not_dumpable": (),
    "no_signals": (
        "kill", "tkill", "tgkill", "rt_sigqueueinfo", "rt_tgsigqueueinfo", "pidfd_open", "fcntl", "pidfd_send_signal",
        "ioctl",
    ),
    "no_tracing": ("ptrace", "process_vm_readv", "process_vm_writev", "pidfd_getfd"),
    "no_io_uring": ("io_uring_setup", "io_uring_enter", "io_uring_register"),
    "no_network": ("socket", "socketpair", "connect", "bind", "listen", "accept", "accept4"),
    "no_camera": ("ioctl",), "no_microphone": ("ioctl",),
    "no_calls_on_others": (
        "prlimit64", "setpriority", "sched_setaffinity", "sched_setscheduler", "sched_setparam", "sched_setattr",
        "ioprio_set", "get_robust_list", "migrate_pages", "move_pages", "kcmp", "perf_event_open", "prctl",
        "process_madvise", "process_mrelease",
    ),
    "no_unix_sockets": ("socket", "socketpair"),
    "no_processes": ("clone", "clone3", "execve", "execveat"),
    "no_file_attributes": (
        "fchmod", "fchmodat", "fchown", "fchownat", "utimensat", "fsetxattr", "fremovexattr", "ioctl",
    ),
    "no_shared_memory": ("shmget", "shmat", "semget", "msgget", "mq_open"),
    "no_lasting_flags": ("fcntl", "setsockopt"),
    "not_shown": ("prctl", "flock", "fcntl", "sched_setattr", "ioprio_set"),
    "no_namespaces": ("unshare", "setns", "clone3"),
    "no_other_protocols": ("socket", "sendto", "sendmsg", "sendmmsg", "listen", "accept4", "bind"),
}
"""For each sandbox rule the calls that are tried, in the order in which a report names those that succeed."""
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
    " but for services that listen on Unix sockets",
)
# fmt: on


def _any(words: tuple[str, ...]) -> str:
    return "|".join(map(re.escape, words))


_ROOMS: Final = r"(?:engine|publisher|reader [A-Za-z0-9_-]{1,64})"
_ERRORS: Final = _any(tuple(sorted({os.strerror(number) for number in errno.errorcode})))
_CALLED: Final = r"the kernel lets through (?P<calls>[a-z0-9_]{1,20}(?:, [a-z0-9_]{1,20}){0,31})"
_LEFT: Final = r"(?P<left>0x[1-9a-f][0-9a-f]{0,10}) is left"
_WHY: Final = rf"(?:{_any(_REASONS)}|(?:it could not be tried, )?(?:{_ERRORS})|{_CALLED}|{_LEFT})"
_UNIT: Final = r"(?: \(the unit forbids it: its sockets are refused all the same\))?"
_TEXT: Final = rf"(?:enforced(?:{_any(_EXCEPTIONS)})?|(?:not enforced|unavailable): {_WHY}{_UNIT})"
_PART: Final = re.compile(
    rf"(?P<rooms>{_ROOMS}(?:, {_ROOMS})*(?: and [1-9][0-9]{{0,2}} more)?: )?{_TEXT}"
)  # the pattern is long, and this runs at each start
_STATE: Final = re.compile(r"enforced|not enforced|unavailable")
ELSEWHERE: Final = ": edge-infer doctor shows why"


def closed(walls: Mapping[str, str]) -> dict[str, str]:
    """Return the reports reduced to closed forms.

    Any other text is replaced by its state (such as ``not enforced``) and a reference to ``edge-infer doctor``. Unknown
    sandbox rules are dropped.
    """
    return {wall: _closed(wall, text) for wall, text in walls.items() if wall in CALLS}


def most_bits() -> float:
    """Return the maximum information, in bits, that a process can put into its reports.

    For each sandbox rule it can choose one of the closed forms, or none.
    """
    reasons = len(_REASONS) + 2 * len({os.strerror(number) for number in errno.errorcode})
    bits = 0.0
    for wall, calls in CALLS.items():
        left = 1 << 44 if wall == "no_capabilities" else 0
        bits += math.log2(2 + len(_EXCEPTIONS) + 1 + 4 * (reasons + (1 << len(calls)) + left + 1))
    return bits


def _closed(wall: str, text: str) -> str:
    found = _in_form(wall, text)
    if found or text in {f"{state}{ELSEWHERE}" for state in ("not enforced", "unavailable")}:
        return found or text
    log.warning(
        "sandbox rule %s: a process reported an unknown text, which the publisher does not publish: %.100s", wall, text
    )
    states = set(_STATE.findall(text))
    if states == {"enforced"}:
        return "enforced"  # the list of processes was too long and has been cut off
    return f"{'unavailable' if 'unavailable' in states else 'not enforced'}{ELSEWHERE}"


def _in_form(wall: str, text: str) -> str:
    """Return a report in its only valid form; empty if it has none.

    The form is one text for all processes, or one for each group of processes.
    """
    texts = text.split("; ")
    parts = [_part(wall, each, alone=len(texts) == 1) for each in texts]
    return "; ".join(parts) if all(parts) else ""


def _part(wall: str, text: str, *, alone: bool) -> str:
    found = _PART.fullmatch(text)
    if found is None or not (found["rooms"] or alone) or (found["left"] and wall != "no_capabilities"):
        return ""
    if found["calls"] is None:
        return text
    named = set(found["calls"].split(", "))
    if not named <= set(CALLS[wall]):
        return ""
    return text.replace(found["calls"], ", ".join(call for call in CALLS[wall] if call in named))
