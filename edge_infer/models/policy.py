"""Requirements of the configuration for a model, checked before it is parsed: digest, signature, no older version."""

from __future__ import annotations

from edge_infer.codec import replace
from edge_infer.errors import ModelError, ModelKey
from edge_infer.models.package import Package
from edge_infer.models.request import Applied, ModelRequest, Policy
from edge_infer.models.signature import check_signature
from edge_infer.models.versions import older


def check_trust(package: Package, sha256: str, request: ModelRequest) -> None:
    """Raise `ModelError` unless the request allows the package; ``sha256`` is the digest of its model file."""
    try:
        _check_digest(sha256, request.sha256, "the configuration", "sha256")
        _check_digest(sha256, package.manifest.sha256, str(package.manifest_path), "file")
        check_policy(request.policy, package, sha256, asked=request.sha256)
    except ModelError as error:
        raise ModelError(f"{package.file}: {error}", key=error.key) from error


def _check_digest(found: str, wanted: str | None, where: str, key: ModelKey) -> None:
    if wanted is not None and wanted.lower() != found:
        raise ModelError(f"its SHA-256 is {found}, but {where} wants {wanted.lower()}", key=key)


def check_policy(policy: Policy, package: Package, sha256: str, *, asked: str | None) -> None:
    """Raise `ModelError` unless the policy allows the package; ``sha256`` is the digest of its model file.

    ``asked`` is the digest in the configuration. The caller has already checked it and the manifest's digest.
    """
    if policy.require_digest and asked is None and package.manifest.sha256 is None:
        raise ModelError(
            "nobody names its digest, and security.require_digest is true; put it into the configuration, as sha256: "
            f"{sha256}",
            key="sha256",
        )
    if policy.require_signature:
        check_signature(package, policy.keys)
    _check_version(policy, package, sha256)


def _check_version(policy: Policy, package: Package, sha256: str) -> None:
    name, version = package.manifest.name, package.manifest.version
    highest = dict(policy.highest).get(name or "")
    if highest is None or version is None or _serves(policy, package, sha256):
        return
    if older(version, highest):
        raise ModelError(
            f"{name} {version} is older than {highest}, which has served here; to go back, use edge-infer models "
            "rollback or set security.allow_downgrade: true"
        )


def _serves(policy: Policy, package: Package, sha256: str) -> bool:
    """Return whether this exact package is in use. Its file's digest is not enough: two versions may share the file."""
    found = Applied(package.title, sha256, package.manifest_digest)
    return found in policy.applied or replace(found, manifest="") in policy.applied
