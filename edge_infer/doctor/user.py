"""The user under which models, sources and plug-ins run if root starts the daemon."""

from __future__ import annotations

import os
from collections.abc import Iterator

from edge_infer.doctor.finding import Finding, ok, warn
from edge_infer.sandbox.identity import Identity


def user(identity: Identity | None) -> Iterator[Finding]:
    """Report the user that root has become (``identity``), or warn if root cannot; nothing for any other user."""
    if identity is not None:
        yield ok("user", f"started by root, the daemon runs as {identity.name} (uid {identity.uid})")
    elif os.geteuid() == 0:
        yield warn(
            "user",
            "root cannot become another user here, so models run as uid 0, without capabilities",
            "start the container with more users (podman run --userns=auto), or as a user of its own (--user)",
        )
