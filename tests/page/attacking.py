"""Code of somebody else in the page's process."""

from __future__ import annotations

HOOK = """
import gc, os, selectors, socket, sys
if "edge_infer.page" in sys.orig_argv:
    class Attacking(selectors.DefaultSelector):
        def __init__(self):
            super().__init__()
            selectors.DefaultSelector = type(self).__bases__[0]
            attack()
    selectors.DefaultSelector = Attacking
"""
"""Python imports this at its start; the page makes its selector once it has locked itself. ``attack`` then runs."""
