"""Root works in the folder of a service as the service would: what that could be led to, root must not write."""

from __future__ import annotations

import os
from pathlib import Path

from edge_infer.sandbox import privileges


def act_as_owner_of(folder: Path) -> None:
    """For the rest of this process and all that it starts; nothing changes for another user, or in root's own folders.

    ``folder`` has to be one that nobody but root can replace: of what is inside, the service decides where it leads.

    The service's folder lies behind one that only root may enter (``/var/lib/private``), so the one power that is kept
    is to read. Before any thread.
    """
    if os.geteuid() != 0:
        return
    found = next(path for path in (folder, *folder.parents) if path.exists()).stat()
    if found.st_uid != 0:
        privileges.become(found.st_uid, found.st_gid, privileges.READ_SEARCH)
