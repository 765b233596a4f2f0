"""The walls between the rooms, as the kernel holds them.

`lock` is the first thing that a room does: before numpy, before any input. It needs no root. What it returns was tried
in the locked process, not assumed.
"""

from __future__ import annotations

import logging

from edge_infer.sandbox import privileges, seccomp, selftest
from edge_infer.sandbox.rules import Room, rules

__all__ = ["Room", "lock"]

_log = logging.getLogger(__name__)


def lock(room: Room, *, network: bool = False) -> dict[str, str]:
    """Gives up what ``room`` does not need, for ever and in all threads; says which walls hold.

    ``network`` is for a reader whose source is on the network. Each wall has a text: ``enforced`` (perhaps with an
    exception), ``not enforced: why`` or ``unavailable: why``. A wall that the kernel lacks does not stop the room; it
    is logged.
    """
    privileges.forbid_core_dumps()
    # `sudo edge-infer check` has to open models that lie in the state directory of another user, the service.
    privileges.drop_capabilities(privileges.READ_SEARCH if room == "probe" else 0)
    privileges.forbid_new_privileges()
    privileges.forbid_dumping()
    filtered = selftest.ENFORCED
    try:
        seccomp.install(rules(room, network=network))
    except OSError as error:
        filtered = f"unavailable: {error.strerror}"
    walls = {"seccomp": filtered, **selftest.walls(room, network=network)}
    for wall, text in walls.items():
        if not text.startswith(selftest.ENFORCED):
            _log.warning("the sandbox of the %s: %s: %s", room, wall, text)
    return walls
