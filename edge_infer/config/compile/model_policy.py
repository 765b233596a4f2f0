"""Converts the section ``security`` into the policy for models: trusted keys, and versions that have served here."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Final

from edge_infer.config.schema.file import Security
from edge_infer.errors import ConfigError, StartError
from edge_infer.models.packages.signature import available, trusted_key
from edge_infer.models.packages.versions import FILE, highest_versions
from edge_infer.models.request import Applied, Policy, TrustedKey
from edge_infer.models.serving_record import read_record, remembered
from edge_infer.plan.records import Problem
from edge_infer.platform.environment import with_taken
from edge_infer.platform.extras import install_command
from edge_infer.yamlfile.load import Document, Steps, read_document

KEYS: Final[Steps] = ("security", "keys")


@dataclass(frozen=True, slots=True)
class PolicyReading:
    """The policy for all models, and problems and warnings about the files that its checks need.

    ``keys`` are the trusted keys. They are None if no signature is required, or if some keys could not be read, because
    the list would be incomplete.
    """

    policy: Policy
    problems: list[Problem]
    warnings: list[Problem]
    keys: tuple[TrustedKey, ...] | None


def read_policy(security: Security, document: Document, state_dir: str) -> PolicyReading:
    """Return the policy of a configuration."""
    reading = _PolicyReader(document)
    keys = reading.keys(security.keys) if security.require_signature else None
    highest = {} if security.allow_downgrade else reading.highest(Path(state_dir))
    policy = Policy(
        require_digest=security.require_digest,
        require_signature=security.require_signature,
        keys=keys or (),
        highest=highest,
        applied=_applied(Path(state_dir)) if highest else (),
    )
    return PolicyReading(policy, reading.problems, reading.warnings, None if reading.incomplete else keys)


def key_folder(config: Path) -> Path:
    """Return the folder of public keys that a configuration names, or the default folder.

    The file need not be valid.
    """
    value = read_document(config, with_taken()).value
    security = value.get("security") if isinstance(value, dict) else None
    said = security.get("keys") if isinstance(security, dict) else None
    return config.absolute().parent / (said if isinstance(said, str) else Security.model_fields["keys"].default)


def _applied(state_dir: Path) -> tuple[Applied, ...]:
    """Return the models of the previous configuration and those committed last, perhaps by a rollback."""
    plan, slots = remembered(state_dir), read_record(state_dir).slots.values()
    models = (*(plan.models() if plan else ()), *(slot.committed.model for slot in slots))
    return tuple(Applied(model.title, model.sha256, model.manifest) for model in models)


class _PolicyReader:
    """Reads the files that the section refers to."""

    def __init__(self, document: Document) -> None:
        self.problems: list[Problem] = []
        self.warnings: list[Problem] = []
        self.incomplete = False
        self._document = document

    def keys(self, said: str) -> tuple[TrustedKey, ...]:
        """Return the trusted public keys in a folder."""
        folder = Path(self._document.file).absolute().parent / said
        try:
            found = sorted(path for path in folder.iterdir() if path.name.endswith(".pem")) if folder.is_dir() else []
        except OSError as error:
            return self._unread(KEYS, f"{folder} cannot be read: {error.strerror}")
        if not available():
            return self._unread(
                ("security", "require_signature"),
                f"the check of signatures needs the package cryptography; install it: {install_command('signatures')}",
            )
        if not found:
            self.incomplete = not folder.is_dir()
            what = "does not exist" if self.incomplete else "contains no key (*.pem)"
            text = f"the folder {folder} {what}; put the public keys of the trusted releasers there"
            return self._wrong(KEYS, text)
        keys = []
        for path in found:
            try:
                keys.append(trusted_key(path))
            except ConfigError as error:
                self._unread(KEYS, str(error))
        return tuple(keys)

    def highest(self, state_dir: Path) -> dict[str, str]:
        """Return the lowest permitted version of each package.

        If only the daemon's user may read these versions, add a warning and return an empty mapping.
        """
        try:
            return dict(highest_versions(state_dir))
        except StartError as error:
            path = state_dir / FILE  # the fault is in that file and has no line in the configuration
            text = f"it {str(error).removeprefix(f'{path} ')}"
            if isinstance(error.__cause__, PermissionError):
                self.warnings.append(Problem(str(path), 1, "", f"{text}; versions are not compared"))
            else:
                self.problems.append(Problem(str(path), 1, "", text, outside=True))
        return {}

    def _unread(self, steps: Steps, text: str) -> tuple[TrustedKey, ...]:
        self.incomplete = True
        return self._wrong(steps, text)

    def _wrong(self, steps: Steps, text: str) -> tuple[TrustedKey, ...]:
        problem = self._document.problem(steps, text)
        self.problems.append(Problem(problem.file, problem.line, problem.path, text, outside=True))
        return ()
