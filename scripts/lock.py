"""Writes ``deploy/requirements.lock``; `scripts/lock` runs it and describes it."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import tempfile
from collections import defaultdict
from pathlib import Path
from typing import Any, Final

import tomllib

ROOT: Final = Path(__file__).parents[1]
LOCK: Final = ROOT / "deploy/requirements.lock"
MINORS: Final = range(10, 15)
MACHINES: Final = ("x86_64", "aarch64")
TAGS: Final = (
    "manylinux_2_28",
    "manylinux_2_27",
    "manylinux_2_26",
    "manylinux_2_24",
    "manylinux_2_17",
    "manylinux2014",
)
"""Platforms of wheels that run on Debian 11 and later."""
HEAD: Final = """\
# Dependencies of the product on x86-64 and arm64, for Python 3.10 to 3.14, with the SHA-256 of their wheels.
# deploy/install takes these versions and no other bytes. scripts/lock writes this file anew.
"""


def wanted() -> list[str]:
    """Return what the product needs on 64-bit processors, and what builds it."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    parts = [each.partition(";") for each in project["project"]["dependencies"]]
    found = [name.strip() for name, _, marker in parts if "== 'armv7l'" not in marker]
    return [*found, *project["build-system"]["requires"]]


def resolved(python: str, minor: int, machine: str) -> list[dict[str, Any]]:
    """Return what pip would install for this Python and processor."""
    with tempfile.TemporaryDirectory() as folder:
        report = Path(folder, "report.json")
        words = [python, "-m", "pip", "install", "--quiet", "--dry-run", "--ignore-installed", "--report", str(report)]
        words += ["--only-binary", ":all:", "--target", folder, "--implementation", "cp"]
        words += ["--python-version", f"3.{minor}", "--abi", f"cp3{minor}", "--abi", "abi3", "--abi", "none"]
        words += [word for tag in TAGS for word in ("--platform", f"{tag}_{machine}")]
        subprocess.run([*words, *wanted()], check=True)
        found: list[dict[str, Any]] = json.loads(report.read_text(encoding="utf-8"))["install"]
    return found


def lines() -> list[str]:
    """Return a requirement for each version of each package."""
    minors: dict[tuple[str, str], set[int]] = defaultdict(set)
    hashes: dict[tuple[str, str], set[str]] = defaultdict(set)
    python = sys.executable
    for minor in MINORS:
        python = shutil.which(f"python3.{minor}") or python
        for machine in MACHINES:
            for item in resolved(python, minor, machine):
                name = item["metadata"]["name"].lower().replace("_", "-").replace(".", "-")
                package = (name, item["metadata"]["version"])
                minors[package].add(minor)
                hashes[package].add(item["download_info"]["archive_info"]["hashes"]["sha256"])
    found = []
    for package in sorted(minors, key=lambda each: (each[0], min(minors[each]))):
        first, last = min(minors[package]), max(minors[package])
        limits = [f"python_version >= '3.{first}'"] if first > MINORS[0] else []
        limits += [f"python_version <= '3.{last}'"] if last < MINORS[-1] else []
        marker = f" ; {' and '.join(limits)}" if limits else ""
        found.append(
            "==".join(package) + marker + "".join(f" \\\n    --hash=sha256:{each}" for each in sorted(hashes[package]))
        )
    return found


if __name__ == "__main__":
    LOCK.write_text(HEAD + "\n".join(lines()) + "\n", encoding="utf-8")
    print(f"{LOCK.relative_to(ROOT)} is written")
