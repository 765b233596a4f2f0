"""Signatures of manifests: ``<file>.sig``, base64 of Ed25519 over the canonical JSON of the manifest.

The manifest names the digests of the model file and of every file beside it, so that a signature covers them all. This
module needs the package ``cryptography`` (extra ``signatures``), which is imported when a signature is made or checked.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, cast

from edge_infer.contract.codec import replace
from edge_infer.errors import ConfigError, ModelError, ModelKey, StartError
from edge_infer.models.packages.package import Package
from edge_infer.models.packages.read_files import read_whole
from edge_infer.models.packages.versions import older
from edge_infer.models.request import Applied, ModelRequest, Policy, TrustedKey
from edge_infer.platform.extras import install_command

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey


LARGEST: Final = 16384
"""Maximum size in bytes of a key or signature file."""
LENGTH: Final = 64
"""Length of a signature in bytes."""


REQUIRED: Final = ", and security.require_signature is true"


def check_signature(package: Package, keys: Sequence[TrustedKey], why: str = "") -> TrustedKey:
    """Return the key that signed the manifest; raises `ModelError` without such a key, or if a file is not covered.

    ``why`` completes the error about a package without a signature: the reason why it needs one. Raises `StartError` if
    signatures cannot be checked on this machine.
    """
    place = signature_place(package)
    if package.manifest_path is None:
        raise ModelError(
            f"it has no manifest, so it cannot be signed{why}; add {package.file.with_suffix('.yaml')} and {place}"
        )
    _check_coverage(package)
    return check_signed(package.written, _signature(package, place, why), keys, str(package.manifest_path), str(place))


def check_signed(written: bytes, signature: bytes, keys: Sequence[TrustedKey], what: str, place: str) -> TrustedKey:
    """Return the key that made ``signature`` (bytes of a signature file) over ``written``; else raise `ModelError`.

    Error texts name the signed object, ``what``, and the path of the signature, ``place``.
    """
    try:
        raw = base64.b64decode(b"".join(signature.split()), validate=True)
    except binascii.Error:
        raw = b""
    if len(raw) != LENGTH:
        raise ModelError(f"{place} is not a signature; expected the base64 of {LENGTH} bytes")
    signer = next((key for key in keys if _holds(key, raw, written)), None)
    if signer is None:
        names = ", ".join(key.name for key in keys) or "there is none"
        raise ModelError(
            f"{place} is not valid: {what} was changed after it was signed, or no trusted key ({names}) made the "
            "signature"
        )
    return signer


def signature_place(package: Package) -> Path:
    """Return the path of a package's signature, which lies beside its file."""
    return package.file.with_name(package.file.name + ".sig")


def uncovered(package: Package) -> list[str]:
    """Return the keys that a signature requires and the manifest lacks: name, version, file, digests of all files."""
    manifest = package.manifest
    missing = [key for key in ("name", "version", "file", "sha256") if getattr(manifest, key) is None]
    return missing + [f"digests: {name}" for name in package.named_files() if name not in manifest.digests]


def sign(written: bytes, key: Ed25519PrivateKey) -> str:
    """Return the content of a signature file."""
    return base64.b64encode(key.sign(written)).decode() + "\n"


def trusted_keys(path: Path) -> list[TrustedKey]:
    """Return the public key of a PEM file, or all keys of a folder (``*.pem``).

    Raises `ConfigError`, also if there is no key.
    """
    files = sorted(path.glob("*.pem")) if path.is_dir() else [path]
    if not files:
        raise ConfigError(f"{path} contains no key (*.pem)")
    return [trusted_key(file) for file in files]


def trusted_key(path: Path) -> TrustedKey:
    """Return the public key of a PEM file; raises `ConfigError` if invalid, `StartError` without ``cryptography``."""
    serialization, ed25519 = _cryptography()
    data = _key_file(path)
    if b"PRIVATE KEY" in data:
        raise ConfigError(
            f"{path} is a private key, which stays with the releaser; expected the public key that openssl pkey -in "
            f"{path.name} -pubout prints"
        )
    try:
        key = serialization.load_pem_public_key(data)
    except (ValueError, _unsupported()) as error:
        raise ConfigError(f"{path} contains no public key in PEM format") from error
    if not isinstance(key, ed25519.Ed25519PublicKey):
        raise ConfigError(f"{path} is a public key, but not of the kind Ed25519")
    return TrustedKey(path.name, key.public_bytes_raw().hex())


def private_key(path: Path) -> Ed25519PrivateKey:
    """Return the private key of an unencrypted PEM file; raises `ConfigError`, and `StartError` as `trusted_key`."""
    serialization, ed25519 = _cryptography()
    data = _key_file(path)
    try:
        key = serialization.load_pem_private_key(data, password=None)
    except TypeError as error:
        raise ConfigError(
            f"{path} is encrypted; decrypt it to a file that only you can read: openssl pkey -in {path} -out KEY"
        ) from error
    except (ValueError, _unsupported()) as error:
        raise ConfigError(
            f"{path} contains no private key in PEM format; openssl genpkey -algorithm ed25519 creates one"
        ) from error
    if not isinstance(key, ed25519.Ed25519PrivateKey):
        raise ConfigError(f"{path} is a private key, but not of the kind Ed25519")
    return cast("Ed25519PrivateKey", key)


def _unsupported() -> type[Exception]:
    from cryptography.exceptions import UnsupportedAlgorithm

    return UnsupportedAlgorithm


def available() -> bool:
    """Return whether signatures can be made and checked on this machine."""
    try:
        _cryptography()
    except StartError:
        return False
    return True


def _check_coverage(package: Package) -> None:
    missing = uncovered(package)
    if missing:
        raise ModelError(
            f"{package.manifest_path} does not cover the whole package: it lacks {', '.join(missing)}; edge-infer "
            "models sign adds digests"
        )


def _signature(package: Package, place: Path, why: str) -> bytes:
    if not place.exists() and not place.is_symlink():
        raise ModelError(f"it is not signed{why}: there is no {place}")
    return package.content(place, LARGEST)


def _holds(key: TrustedKey, signature: bytes, written: bytes) -> bool:
    from cryptography.exceptions import InvalidSignature

    _, ed25519 = _cryptography()
    try:
        ed25519.Ed25519PublicKey.from_public_bytes(bytes.fromhex(key.hex)).verify(signature, written)
    except InvalidSignature:
        return False
    return True


def _key_file(path: Path) -> bytes:
    try:
        return read_whole(path, LARGEST)
    except ModelError as error:
        raise ConfigError(str(error)) from error


def _cryptography() -> tuple[Any, Any]:
    """Import the modules for keys; raises `StartError`, which names the optional dependency."""
    try:
        from cryptography.hazmat.primitives import serialization
        from cryptography.hazmat.primitives.asymmetric import ed25519
    except ImportError as error:
        raise StartError(
            f"signatures need the package cryptography; install it with: {install_command('signatures')}"
        ) from error
    return serialization, ed25519


# Requirements of the configuration for a model, checked before the model is parsed: digest, signature, no downgrade.


def check_trust(package: Package, sha256: str, request: ModelRequest) -> str:
    """Return the key (in hexadecimal) that signed the package; empty if no signature is required.

    ``sha256`` is the digest of its model file. Raises `ModelError` unless the request allows the package.
    """
    try:
        _check_digest(sha256, request.sha256, "the configuration", "sha256")
        _check_digest(sha256, package.manifest.sha256, str(package.manifest_path), "file")
        return check_policy(request.policy, package, sha256, asked=request.sha256)
    except ModelError as error:
        raise ModelError(f"{package.file}: {error}", key=error.key) from error


def _check_digest(found: str, wanted: str | None, where: str, key: ModelKey) -> None:
    if wanted is not None and wanted.lower() != found:
        raise ModelError(f"its SHA-256 is {found}, but {where} lists {wanted.lower()}", key=key)


def check_policy(policy: Policy, package: Package, sha256: str, *, asked: str | None) -> str:
    """Return the key that signed the package, as `check_trust` does; raises `ModelError` unless the policy allows it.

    ``asked`` is the digest in the configuration. The caller has already checked ``asked`` and the manifest's digest.
    """
    if policy.require_digest and asked is None and package.manifest.sha256 is None:
        raise ModelError(
            "neither the configuration nor the manifest contains its digest, and security.require_digest is true; "
            f"add this to the model in the configuration: sha256: {sha256}",
            key="sha256",
        )
    signer = check_signature(package, policy.keys, REQUIRED).hex if policy.require_signature else ""
    _check_version(policy, package, sha256)
    return signer


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
    """Return whether this exact package is in use.

    The digest of its model file is not enough, because two versions may share it.
    """
    found = Applied(package.title, sha256, package.manifest_digest)
    return found in policy.applied or replace(found, manifest="") in policy.applied
