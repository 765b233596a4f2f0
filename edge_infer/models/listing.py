"""Catalogue of the packages in ``NAME/VERSION/`` below one folder, for a server or a USB stick."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any, Final

import yaml

from edge_infer.durable import write_durably
from edge_infer.errors import ConfigError
from edge_infer.models.files import LARGEST_MODEL
from edge_infer.models.library import Library, Stored, belonging
from edge_infer.models.package import MANIFEST, Package, find_package
from edge_infer.models.release import check_digests

CATALOGUE: Final = "catalogue.yaml"


def write_listing(folder: Path) -> tuple[Path, list[str]]:
    """Write the catalogue of a folder; return its path and the titles of its packages.

    Raises `ConfigError`, and `ModelError` if a file differs from its manifest.
    """
    packages = Library(folder).packages()
    if not packages:
        raise ConfigError(f"{folder} holds no package: there is no NAME/VERSION/{MANIFEST} below it")
    models = {stored.title: _entry(stored, folder) for stored in packages}
    place = folder / CATALOGUE
    text = yaml.safe_dump({"models": models}, sort_keys=False, allow_unicode=True, width=110)
    try:
        write_durably(place, text.encode(), 0o644)
    except OSError as error:
        raise ConfigError(f"{place} cannot be written: {error.strerror}") from error
    return place, list(models)


def _entry(stored: Stored, folder: Path) -> dict[str, Any]:
    if stored.manifest is None:
        raise ConfigError(stored.problem)
    package = find_package(stored.folder)
    if package.title != stored.title:
        raise ConfigError(f"{package.manifest_path} says that it is {package.title}; its folder should be called so")
    check_digests(package)
    model = _facts(package, package.file)
    beside = sorted({MANIFEST, *belonging(package)} - {package.file.name})
    entry = {
        "version": stored.manifest.version,
        "about": stored.manifest.task or "",
        "url": package.file.relative_to(folder).as_posix(),
        **model,
        "licence": stored.manifest.licence or "",
        "files": {name: _facts(package, package.folder / name) for name in beside},
    }
    return {key: value for key, value in entry.items() if value != ""}


def _facts(package: Package, path: Path) -> dict[str, Any]:
    data = package.content(path, LARGEST_MODEL)
    return {"bytes": len(data), "sha256": hashlib.sha256(data).hexdigest()}
