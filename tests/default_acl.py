"""A folder whose default ACL lets another user read all new files: in such a folder the kernel ignores the umask."""

from __future__ import annotations

import os
import struct
from pathlib import Path

_USER_OBJ, _USER, _GROUP_OBJ, _MASK, _OTHER = 0x01, 0x02, 0x04, 0x10, 0x20
_NOBODY = 0xFFFFFFFF


def share_new_files(folder: Path, user: int = 12345) -> None:
    """Do as ``setfacl --default --modify u:USER:rwx FOLDER``."""
    entries = [(_USER_OBJ, 7, _NOBODY), (_USER, 7, user), (_GROUP_OBJ, 5, _NOBODY), (_MASK, 7, _NOBODY)]
    value = struct.pack("<I", 2) + b"".join(struct.pack("<HHI", *each) for each in [*entries, (_OTHER, 5, _NOBODY)])
    os.setxattr(folder, "system.posix_acl_default", value)


def mode(path: Path) -> int:
    """The permissions of a file; the bits of the group are the mask of its ACL."""
    return path.stat().st_mode & 0o777
