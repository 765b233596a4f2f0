"""Keys of a connection to a broker, common to the ``mqtt`` section and to sources of kind ``mqtt``."""

from __future__ import annotations

from typing import Annotated, Any, Final

from pydantic import Field, model_validator

from edge_infer.yamlfile.error_text import ProblemAtError, wrong
from edge_infer.yamlfile.fields import PATH, Kind, text
from edge_infer.yamlfile.section import Section, Short


def _host(value: Any) -> str:
    """Return a host name or address; it must not contain a port, which has its own key."""
    if isinstance(value, str) and ("://" in value or (value.count(":") == 1 and "[" not in value)):
        raise ValueError("expected only a host name or address; set the port with port: and encryption with tls:")
    found: str = text("a host name or address", r"[^\s/@]+", 253).parse(value)
    return found


def _tls(value: Any) -> Any:
    """Convert the short forms: ``true`` encrypts and trusts the system's authorities, ``false`` does not encrypt."""
    if isinstance(value, bool):
        return {} if value else None
    if not isinstance(value, (dict, Tls)):
        raise ValueError(wrong("true, false, or the keys ca_file, cert_file, key_file", value))  # noqa: TRY004
    return value


class Tls(Section):
    """Files of an encrypted connection."""

    ca_file: Annotated[str | None, PATH, Field(examples=["ca.pem"])] = None
    """Certificates of the authorities to trust; without it those of the system."""
    cert_file: Annotated[str | None, PATH, Field(examples=["device.pem"])] = None
    """Certificate by which this device identifies itself."""
    key_file: Annotated[str | None, PATH, Field(examples=["device.key"])] = None
    """Private key of `cert_file`; without it the key is in `cert_file`."""

    @model_validator(mode="after")
    def _belongs_together(self) -> Tls:
        if self.key_file and not self.cert_file:
            raise ProblemAtError(("key_file",), "needs cert_file, the certificate that this key belongs to")
        return self


HOST: Final = Kind(_host, {"type": "string"})
TLS: Final = Short(_tls, {"type": "boolean"})
