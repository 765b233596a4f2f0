"""Code of somebody else inside a process of a daemon: a thread that begins once the process has locked itself."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

CUSTOMIZE = """
import os, sys, threading
words = sys.orig_argv
module = words[words.index("-m") + 1] if "-m" in words[:-1] else ""
code = os.environ.get("PYTHON_ATTACK_" + module.replace(".", "_"))
def option(name):
    return int(words[words.index(name) + 1])
class Hook:
    armed = bool(code)
    def find_spec(self, name, path=None, target=None):
        if self.armed and name in ("numpy", "cv2", "paho"):  # which a process imports after its lock
            Hook.armed = False
            threading.Thread(target=exec, args=(code, {"option": option}), daemon=True).start()
        return None
sys.meta_path.insert(0, Hook())
"""


@contextmanager
def attacking(folder: Path, codes: Mapping[str, str]) -> Iterator[None]:
    """The environment of a daemon in whose processes, by module, this code runs; it finds `option` of the command line.

    A thread from before the lock would not be behind Landlock, and an import hook is the first moment after it.
    """
    (folder / "attack").mkdir()
    (folder / "attack" / "sitecustomize.py").write_text(CUSTOMIZE)
    # A command of root on another user's configuration keeps only general variables, such as Python's.
    names = {f"PYTHON_ATTACK_{re.sub('[.]', '_', module)}": code for module, code in codes.items()}
    before = dict(os.environ)
    path = [str(folder / "attack"), *filter(None, [before.get("PYTHONPATH")])]
    os.environ.update(names, PYTHONPATH=os.pathsep.join(path))
    try:
        yield
    finally:
        os.environ.clear()
        os.environ.update(before)
