"""What a configuration demands of a model before anybody parses it: a digest, a signature, no older version."""

from __future__ import annotations

from edge_infer.errors import ModelError
from edge_infer.models.package import Package
from edge_infer.models.request import Policy
from edge_infer.models.signature import check_signature
from edge_infer.models.versions import older


def check_policy(policy: Policy, package: Package, sha256: str, *, asked: str | None) -> None:
    """Raises `ModelError` unless a package, whose file has the digest ``sha256``, may serve.

    ``asked`` is the digest that the configuration names; that it and the manifest's are right was checked before.
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
    if highest is None or version is None or sha256 in policy.applied:
        return
    if older(version, highest):
        raise ModelError(
            f"{name} {version} is older than {highest}, which has served here; to go back, use edge-infer models "
            "rollback or set security.allow_downgrade: true"
        )
