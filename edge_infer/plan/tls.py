"""Builds the TLS context of a connection to a broker from the files that a plan names."""

from __future__ import annotations

import os
import ssl
from pathlib import Path

from edge_infer.errors import EdgeInferError
from edge_infer.plan.credentials import why_gone
from edge_infer.plan.records import TlsPlan
from edge_infer.platform.permissions import denied


def tls_context(plan: TlsPlan, where: str, failure: type[EdgeInferError]) -> ssl.SSLContext:
    """Return the TLS context that verifies the broker and presents the client certificate.

    Raises ``failure`` for a file that cannot be used; ``where`` is the part of the configuration that names the files.
    """
    for key, path in (("ca_file", plan.ca_file), ("cert_file", plan.cert_file), ("key_file", plan.key_file)):
        file = path or os.devnull
        try:
            Path(file).open("rb").close()
        except OSError as error:
            refused = isinstance(error, PermissionError)
            why = why_gone(file) or (denied(file, file) if refused else f"cannot be used: {error.strerror}")
            raise failure(f"{where}.{key} {path} {why}") from error
    try:
        context = ssl.create_default_context(cafile=plan.ca_file)
    except OSError as error:
        raise failure(f"{where}.ca_file {plan.ca_file} cannot be used: {error.strerror or error}") from error
    if plan.ca_file is not None:
        # Since Python 3.13 the default rejects authorities without a key usage, which openssl creates by default.
        # Chain, name and validity are checked as before.
        context.verify_flags &= ~ssl.VERIFY_X509_STRICT
    if plan.cert_file is not None:
        try:
            context.load_cert_chain(plan.cert_file, plan.key_file, password=_no_password)
        except (OSError, ValueError) as error:
            files = " and ".join(name for name in (plan.cert_file, plan.key_file) if name)
            raise failure(f"{where}.cert_file and key_file ({files}) cannot be used: {error}") from error
    return context


def _no_password() -> str:
    raise ValueError("the key is encrypted, and a daemon cannot ask for its password; remove the password from the key")
