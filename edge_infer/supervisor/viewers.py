"""Authorization of pictures over the control socket, for users who may connect to it."""

from __future__ import annotations

import grp
import os
from typing import Final

from edge_infer.supervisor.peer import Peer

GROUP: Final = "edge-infer-pictures"


def refusal(peer: Peer) -> str | None:
    """Return why ``peer`` may not have pictures; None for root, the daemon's own user and members of `GROUP`."""
    if peer.uid in (0, os.geteuid()):
        return None
    try:
        number = grp.getgrnam(GROUP).gr_gid
    except KeyError:
        return f"there is no group {GROUP}, so only root may have pictures; ask with sudo"
    if number in peer.groups:
        return None
    return (
        f"only members of the group {GROUP} may have pictures: sudo usermod -aG {GROUP} {peer.user}, then log in again"
    )
