"""Writes ``deploy/requirements.lock`` and the other lock files; `scripts/lock` runs and describes this script."""

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
PRODUCT: Final = "deploy/requirements.lock"
LISTS: Final = (
    "benchmarks/others.txt",
    "scripts/default_model.txt",
    "scripts/demo_broker.txt",
    "scripts/docs.txt",
    "tests/deploy/ansible.txt",
)
"""Requirements that the scripts install into environments of their own; each has a lock file beside it."""
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
# {what}, on x86-64 and arm64, for Python {first} to {last}, with the SHA-256 of the wheels.
# {taker} these versions and no other bytes. scripts/lock writes this file anew.
"""


def wanted(extra: str | None = None) -> list[str]:
    """Return the requirements of the product on 64-bit processors and of its build, and those of ``extra``."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    parts = [each.partition(";") for each in project["project"]["dependencies"]]
    found = [name.strip() for name, _, marker in parts if "== 'armv7l'" not in marker]
    more = project["project"]["optional-dependencies"][extra] if extra else []
    return [*found, *project["build-system"]["requires"], *more]


def listed(name: str) -> list[str]:
    """Return the requirements of a list."""
    lines = (ROOT / name).read_text(encoding="utf-8").splitlines()
    return [line for line in lines if line and not line.startswith("#")]


def resolved(python: str, minor: int, machine: str, packages: list[str]) -> list[dict[str, Any]] | None:
    """Return the packages that pip would install for this Python and processor; None if there are no such wheels."""
    with tempfile.TemporaryDirectory() as folder:
        report = Path(folder, "report.json")
        words = [python, "-m", "pip", "install", "--quiet", "--dry-run", "--ignore-installed", "--report", str(report)]
        words += ["--only-binary", ":all:", "--target", folder, "--implementation", "cp"]
        words += ["--python-version", f"3.{minor}", "--abi", f"cp3{minor}", "--abi", "abi3", "--abi", "none"]
        words += [word for tag in TAGS for word in ("--platform", f"{tag}_{machine}")]
        if subprocess.run([*words, *packages], check=False).returncode:
            return None
        found: list[dict[str, Any]] = json.loads(report.read_text(encoding="utf-8"))["install"]
    return found


def runnable(name: str) -> str | None:
    """Return the path of a Python that has pip; None if there is none."""
    path = shutil.which(name)
    tried = path and subprocess.run([path, "-c", "import pip"], capture_output=True, check=False).returncode
    return path if tried == 0 else None


def write(name: str, what: str, taker: str, packages: list[str]) -> None:
    """Write a lock file: a requirement for each version of each package."""
    minors: dict[tuple[str, str], set[int]] = defaultdict(set)
    hashes: dict[tuple[str, str], set[str]] = defaultdict(set)
    known = []
    python = sys.executable
    for minor in MINORS:
        python = runnable(f"python3.{minor}") or python
        print(f"{name}: Python 3.{minor}".ljust(79), end="\r", file=sys.stderr, flush=True)
        every = [resolved(python, minor, machine, packages) for machine in MACHINES]
        if None in every:
            if name == PRODUCT:
                sys.exit(f"there are no wheels of the product for Python 3.{minor}")
            continue
        known.append(minor)
        for item in (item for each in every if each is not None for item in each):
            package = (
                item["metadata"]["name"].lower().replace("_", "-").replace(".", "-"),
                item["metadata"]["version"],
            )
            minors[package].add(minor)
            hashes[package].add(item["download_info"]["archive_info"]["hashes"]["sha256"])
    lines = [HEAD.format(what=what, taker=taker, first=f"3.{known[0]}", last=f"3.{known[-1]}").rstrip()]
    for package in sorted(minors, key=lambda each: (each[0], min(minors[each]))):
        first, last = min(minors[package]), max(minors[package])
        limits = [f"python_version >= '3.{first}'"] if first > known[0] else []
        limits += [f"python_version <= '3.{last}'"] if last < known[-1] else []
        marker = f" ; {' and '.join(limits)}" if limits else ""
        lines.append(
            "==".join(package) + marker + "".join(f" \\\n    --hash=sha256:{each}" for each in sorted(hashes[package]))
        )
    (ROOT / name).write_text("\n".join(lines) + "\n", encoding="utf-8")
    print(f"{name} is written".ljust(79))


def main() -> None:
    """Write the lock files whose names were given, or all."""
    sets = {PRODUCT: ("Dependencies of the product", "deploy/install and the scripts take", wanted())}
    sets["scripts/dev.lock"] = ("Dependencies of the product and of its development", "The scripts take", wanted("dev"))
    for each in LISTS:
        sets[each.replace(".txt", ".lock")] = (f"What {each} needs", "The scripts take", listed(each))
    for name in sys.argv[1:] or sets:
        if name not in sets:
            sys.exit(f"{name} is none of {', '.join(sets)}")
        write(name, *sets[name])


if __name__ == "__main__":
    main()
