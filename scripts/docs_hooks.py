"""Hooks of MkDocs, which adapt a page of the repository for the site without a change to its file.

- A fence keeps only the name of its language: the words after the name are for `tests/test_docs.py`.
- A link that leaves ``docs/`` becomes the path in the repository, because the site holds no other files.
- A nested list, and a further paragraph of a list item, get the indentation that Python-Markdown expects.
"""

from __future__ import annotations

import posixpath
import re
from typing import Any, Final

_FENCE: Final = re.compile(r"^( *)(`{3,})([\w-]*)(.*)$")
_LINK: Final = re.compile(r"(?<!!)\[([^\]]+)\]\(((?:\.\./)+[^)#\s]+)(?:#[^)]*)?\)")
_NESTED: Final = re.compile(r"^ {2,3}(?=(?:[-*]|\d+\.) )")
_PARAGRAPH: Final = re.compile(r"^ {2,3}(?=\S)")


def on_page_markdown(markdown: str, *, page: Any, **_: Any) -> str:
    """Return the text of a page in the dialect of Python-Markdown."""
    return adapted(markdown, posixpath.dirname(f"docs/{page.file.src_uri}"))


def adapted(markdown: str, folder: str) -> str:
    """Return the adapted text of a page in ``folder``, a path in the repository."""
    lines, fence = [""], ""
    for line in markdown.split("\n"):
        mark = _FENCE.match(line)
        if mark and not fence:
            fence = mark[2]
            lines.append(f"{mark[1]}{mark[2]}{mark[3]}")
        elif fence:
            fence = "" if line.strip() == fence else fence
            lines.append(line)
        else:
            lines.append((_NESTED if lines[-1] else _PARAGRAPH).sub("    ", line))
    return _LINK.sub(lambda link: _inside(link, folder), "\n".join(lines[1:]))


def _inside(link: re.Match[str], folder: str) -> str:
    """Return a link unchanged if its target is a page; otherwise its text with the path in the repository."""
    path = posixpath.normpath(posixpath.join(folder, link[2]))
    if path.startswith("docs/"):
        return link[0]
    return link[1] if link[1].strip("`") == path else f"{link[1]} (`{path}`)"
