"""Checks of files and programs that a configuration names: whether they exist and this user can use them.

Nothing here opens a camera or a connection. Only the form of a password is checked, and no message repeats it. The
value of ``password_file`` appears in a message only if a file with this path exists, because a user may have written
the password itself in place of the path.
"""

from __future__ import annotations

import glob
import os
import re
import shlex
import shutil
import ssl
import stat
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from edge_infer.plan.credentials import DROP_IN, credential_name, why_gone
from edge_infer.plan.records import Problem
from edge_infer.platform.config_files import FOLDER
from edge_infer.platform.paths import KnownFiles, source_folder, without_wildcards
from edge_infer.platform.permissions import CREDENTIALS, closed_folder, denied, for_the_group, in_service, user
from edge_infer.readers.sources.byte_input import STDIN, is_pipe
from edge_infer.yamlfile.load import Document, Steps, spell

MOST_SECRET: Final = 4096
_SECRET_KEYS: Final = frozenset({"password_file", "ca_file", "cert_file", "key_file"})
"""Keys for files that systemd can pass as credentials."""
_TEMPORARY: Final = ("/tmp", "/var/tmp")  # noqa: S108 - names of folders, in which nothing is written
_DROP_INS: Final = Path(DROP_IN).parent
_LOADED: Final = re.compile(r"^\s*LoadCredential(?:Encrypted)?=([^:\s]+)", re.MULTILINE)


@dataclass(slots=True)
class NamedFiles:
    """Checks the files that a document names. Their problems are marked as outside the document."""

    document: Document
    problems: list[Problem] = field(default_factory=list)
    warnings: list[Problem] = field(default_factory=list)
    secrets: list[str] = field(default_factory=list)
    """Paths of passwords, private keys and certificates."""
    inputs: list[tuple[Steps, str]] = field(default_factory=list)
    """Paths of the files, folders and patterns that sources read, and their positions in the document."""
    lacking: list[str] = field(default_factory=list)
    """Paths of files that could not be used."""

    @property
    def folder(self) -> Path:
        """Return the folder of the configuration, where relative paths begin."""
        return Path(self.document.file).absolute().parent

    @property
    def private(self) -> tuple[str, ...]:
        """Return the configuration file and the files with its secrets. No model may name one of these files."""
        files = (self.document.file, *(home.file for home in self.document.homes.values()))
        return tuple(dict.fromkeys((*(str(Path(file).absolute()) for file in files), *self.secrets)))

    @property
    def guarded(self) -> tuple[str, ...]:
        """Return the `private` files and the folder with parts of the configuration. No source may read them."""
        return (*self.private, str(self.folder / FOLDER))

    def absolute(self, path: str) -> str:
        """Return the absolute path, because processes receive only absolute paths."""
        return str(self.folder / path)

    def file(self, steps: Steps, path: str) -> str:
        """Check that a file can be read; return its absolute path."""
        found = self.absolute(path)
        self._open(steps, found, found)
        return found

    def input(self, steps: Steps, path: str) -> str:
        """Check a file, a named pipe, or ``-``; return the absolute path, or ``-``."""
        if path == STDIN:
            return path
        found = self.absolute(path)
        if is_pipe(found):
            if not os.access(found, os.R_OK | os.W_OK, effective_ids=True):
                text = f"{user()} needs read and write access to the pipe {found}"
                remedy = f"; let its group have it: {for_the_group(found, 0o660)}" if Path(found).is_fifo() else ""
                self._unfit(steps, found, f"{text}{remedy}")
        else:
            self._open(steps, found, found, f"; to create a named pipe, run: mkfifo {shlex.quote(found)}")
        return found

    def secret(self, steps: Steps, path: str) -> str:
        """Check a file that holds a password; return its path."""
        found = self._credential(path)
        self.secrets += [found, self.absolute(path)]
        data = self._open(steps, found, "this file", why=self._why_not_the_copy(path, found))
        if data is None:
            return found
        if len(data) > MOST_SECRET:
            self._unfit(steps, found, f"this file is longer than {MOST_SECRET} bytes; expected only the password")
        elif not data.splitlines() or not data.splitlines()[0].strip():
            self._unfit(steps, found, "this file is empty; expected the password")
        elif b"\n" in data.removesuffix(b"\n"):
            self._unfit(steps, found, "this file has several lines; expected only the password")
        elif (word := data.splitlines()[0]) != word.strip():
            text = "the password in this file begins or ends with a space, which is part of the password"
            self.warnings.append(self.document.problem(steps, text))
        elif self._is_outdated(found, path):
            text = (
                "the service uses an older copy of this file (LoadCredential); to update the copy, run: systemctl "
                "restart edge-infer"
            )
            self.warnings.append(self.document.problem(steps, text))
        elif Path(found).stat().st_mode & stat.S_IROTH:
            text = f"every user of this machine can read this file; {for_the_group(found, path=found)}"
            self.warnings.append(self.document.problem(steps, text))
        elif self._is_found_by_name(found, path):
            text = (
                "the service finds its copy of this file by the file name alone, and another file may have the same "
                "name; to write a drop-in with unique names, run: edge-infer unit"
            )
            self.warnings.append(self.document.problem(steps, text))
        return found

    def _credential(self, path: str) -> str:
        """Return the copy that systemd made for the service (``LoadCredential=NAME:PATH``), or the file itself.

        A credential with only the file name comes from a drop-in of an older version, or from the operator. It is used
        only if all keys with this file name mean the same file. Otherwise a client could send the password of one host
        to another host.
        """
        if (copy := _copy(credential_name(self.absolute(path)))) is not None:
            return copy
        copy = _copy(Path(path).name)
        return copy if copy is not None and not self._namesakes(path) else self.absolute(path)

    def _namesakes(self, path: str) -> list[str]:
        """Return the keys of different files that have the same name as ``path``; empty if all name the same file."""
        name = Path(path).name
        named = {spell(steps): value for steps, value in _secrets(self.document.value) if Path(value).name == name}
        return list(named) if len({self.absolute(value) for value in named.values()}) > 1 else []

    def _why_not_the_copy(self, path: str, found: str) -> str:
        """Return why a credential with the name of this file is not used, as the end of a sentence; else empty."""
        if found != self.absolute(path) or _copy(Path(path).name) is None:
            return ""
        keys = ", ".join(self._namesakes(path))
        return (
            f"; the service has a credential of this name but does not use it, because {keys} name different files of "
            "one name; edge-infer unit writes a drop-in that tells them apart"
        )

    def _is_found_by_name(self, found: str, path: str) -> bool:
        """Return whether the file exists, and its credential was found only by the file name."""
        original = self.absolute(path)
        return found != original and Path(found).name == Path(path).name and os.path.exists(original)  # noqa: PTH110

    def _is_outdated(self, found: str, path: str) -> bool:
        """Return whether the copy that systemd made is older than its file.

        Return False if this cannot be determined.
        """
        original = Path(self.absolute(path))
        try:
            return found != str(original) and original.stat().st_mtime > Path(found).stat().st_mtime
        except OSError:
            return False

    def authorities(self, steps: Steps, path: str) -> str:
        """Check a file of trusted certificates; return its path."""
        found = self.file(steps, self._credential(path))
        self.secrets += [found, self.absolute(path)]
        try:
            if os.access(found, os.R_OK, effective_ids=True):
                ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT).load_verify_locations(found)
        except ssl.SSLError:
            self._unfit(steps, found, f"{found} contains no readable certificate; expected PEM format")
        return found

    def identity(self, steps: Steps, cert_file: str, key_file: str | None) -> tuple[str, str | None]:
        """Check that this device's certificate and private key belong together; return their paths."""
        cert = self.file((*steps, "cert_file"), self._credential(cert_file))
        key = self.file((*steps, "key_file"), self._credential(key_file)) if key_file else None
        self.secrets += [found for found in (cert, key) if found is not None]
        self.secrets += [self.absolute(path) for path in (cert_file, key_file) if path]  # originals of the credentials
        last = (*steps, "key_file" if key else "cert_file")
        if not all(os.access(path, os.R_OK, effective_ids=True) for path in (cert, key or cert)):
            return cert, key
        try:
            ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT).load_cert_chain(cert, key, password=lambda: b"-")
        except ssl.SSLError as error:
            if error.reason == "KEY_VALUES_MISMATCH":
                self._unfit(last, key or cert, "this key does not belong to the certificate in cert_file")
            else:
                text = "this file contains no certificate with an unencrypted private key in PEM format"
                self._unfit(last, key or cert, text)
        return cert, key

    def check_inputs(self) -> None:
        """Report sources that would read the configuration or its secrets; call it when all secrets are known.

        The process that reads a folder of pictures may read everything below that folder.
        """
        guarded = KnownFiles(self.guarded if self.inputs else ())
        for steps, path in self.inputs:
            place = without_wildcards(path) if steps[-1] == "path" else path
            if (found := guarded.first_within(place)) is None:
                continue
            if os.path.isdir(place):  # noqa: PTH112 - `Path.is_dir` raises in a closed folder
                text = (
                    f"the folder {place} contains {found}, which belongs to the configuration or its secrets, and the "
                    "process that reads the source may read the whole folder; use a folder that contains only its files"
                )
            else:
                text = f"{path} belongs to the configuration or its secrets; name another file"
            self.wrong(steps, text)

    def pictures(self, steps: Steps, path: str) -> str:
        """Check a folder, or a pattern that matches at least one file; return its absolute path."""
        found = self.absolute(path)
        is_folder = Path(found).is_dir()
        if is_folder and not os.access(found, os.R_OK | os.X_OK, effective_ids=True):
            self._unfit(steps, found, f"the folder {found} {denied(found, found)}")
        elif not is_folder and not any(glob.iglob(found, recursive=True)):  # noqa: PTH207 - an absolute pattern
            self.wrong(steps, f"{found} is not a folder, and no file matches it as a pattern")
        else:
            self._check_pictures(steps, found)
        return found

    def _check_pictures(self, steps: Steps, path: str) -> None:
        """Report a picture that cannot be read: as a problem if none can be read, otherwise as a warning.

        A folder without a picture is a warning, because pictures may come later. A link is never a problem, because
        a user with write access to the folder could then prevent the use of the configuration. `checks.idle` warns of
        links that leave the folder.
        """
        from edge_infer.readers.sources import link_out  # the source's class has already loaded OpenCV
        from edge_infer.readers.sources.images import find_pictures

        try:
            files = [str(file) for file in find_pictures(path)]
        except OSError as error:
            self.wrong(steps, f"{error.filename or path} cannot be read: {error.strerror}")
            return
        if not files:
            self.warnings.append(self.document.problem(steps, f"{path} contains no picture"))
        closed = [file for file in files if not os.access(file, os.R_OK, effective_ids=True)]
        links = {file for file in closed if os.path.islink(file)}  # noqa: PTH114 - never raises
        if closed and len(closed) == len(files) and not links:
            self._unfit(steps, closed[0], f"{closed[0]} {denied(closed[0], closed[0])}")
            return
        for file in closed:
            if file not in links or not link_out(file, source_folder(path)):
                self.warnings.append(self.document.problem(steps, f"{file} {_why_closed(file)}"))
                return

    def program(self, steps: Steps, name: str) -> str:
        """Check a program, by path or by name in ``PATH``; return its path or name."""
        found = self.absolute(name) if "/" in name else name
        if shutil.which(found) is None:
            where = "" if "/" in name else " in the folders of PATH"
            real = os.path.realpath(found)  # the interpreter is often a link into the home folder of a user
            if "/" in name and (closed := closed_folder(real)):
                self.wrong(steps, f"{user()} cannot run {found}, because it may not enter the folder {closed}")
                return found
            self.wrong(steps, f"there is no program {found}{where}; install it, or give its full path")
        return found

    def _open(self, steps: Steps, path: str, shown: str, remedy: str = "", why: str = "") -> bytes | None:
        try:
            descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
            try:
                if stat.S_ISREG(os.fstat(descriptor).st_mode):
                    return os.read(descriptor, MOST_SECRET + 1)
                self.wrong(steps, f"{shown} is not a regular file")
            finally:
                os.close(descriptor)
        except PermissionError:
            self.lacking.append(path)
            named = path if shown == path or os.path.isfile(path) else "FILE"  # noqa: PTH113 - false in a closed folder
            self.wrong(steps, f"{shown} {why_gone(path) or denied(path, named)}{why}")
        except FileNotFoundError:
            self.lacking.append(path)
            where = "" if shown == path else f"; relative paths begin at {self.folder}"
            text = why_gone(path) or f"does not exist{where}{remedy}{why}{_why_not_here(path)}"
            self.wrong(steps, f"{shown} {text}")
        except (OSError, ValueError) as error:
            self.wrong(steps, f"{shown} cannot be read: {getattr(error, 'strerror', None) or 'not a path'}")
        return None

    def _unfit(self, steps: Steps, path: str, text: str) -> None:
        """Record a problem of a file that exists. Once that file changes, the configuration is read again."""
        self.lacking.append(path)
        self.wrong(steps, text)

    def wrong(self, steps: Steps, text: str) -> None:
        """Record a problem with a file or program that the document names."""
        problem = self.document.problem(steps, text)
        self.problems.append(Problem(problem.file, problem.line, problem.path, text, outside=True))


def private_files(document: Document) -> tuple[str, ...]:
    """Return the paths of `NamedFiles.guarded` for all secrets and certificates, without a check of any file."""
    files = NamedFiles(document)
    files.secrets += [files.absolute(value) for _, value in _secrets(document.value)]
    return files.guarded


def _why_closed(path: str) -> str:
    """Return why a picture cannot be read, as the end of a sentence."""
    if os.path.islink(path) and not os.path.lexists(os.path.realpath(path)):  # noqa: PTH114 - never raises
        return f"is a link to {os.path.realpath(path)}, which does not exist; remove the link"
    return denied(path, path)


def _copy(name: str) -> str | None:
    """Return the path of the credential of this name; None if the service has none."""
    folder = os.environ.get("CREDENTIALS_DIRECTORY")
    path = Path(folder, name) if folder else None
    return str(path) if path is not None and path.exists() else None


def _why_not_here(path: str) -> str:
    """Return a hint, as the end of a sentence, why a file that the user has created may not exist for this process.

    It may be in the real ``/tmp``, which the service does not see, or it may be a credential of the service.
    """
    if in_service() and any(Path(path).is_relative_to(top) for top in _TEMPORARY):
        return "; the service has a private /tmp and /var/tmp: keep the file in /etc/edge-infer"
    if "CREDENTIALS_DIRECTORY" in os.environ:
        return ""
    if not Path(path).is_relative_to(CREDENTIALS) and not {credential_name(path), Path(path).name} & _loaded():
        return ""
    return (
        "; it seems to be a credential, which only the service and the commands in its place get (check, doctor): this "
        "command needs the plain file there while it runs"
    )


def _loaded() -> set[str]:
    """Return the names of the credentials in the unit's drop-ins, except drop-ins that this user cannot read."""
    found: set[str] = set()
    for file in _DROP_INS.glob("*.conf"):
        with suppress(OSError, UnicodeDecodeError):
            found.update(_LOADED.findall(file.read_text(encoding="utf-8")))
    return found


def _secrets(value: object, steps: Steps = ()) -> Iterator[tuple[Steps, str]]:
    """Yield the position and the path of each file with a secret or a certificate that a document names."""
    for key, part in value.items() if isinstance(value, dict) else ():
        if isinstance(part, str) and key in _SECRET_KEYS:
            yield (*steps, key), part
        else:
            yield from _secrets(part, (*steps, key))
