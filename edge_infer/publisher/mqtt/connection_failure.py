"""Connection failures between this device and the broker, described in a sentence with the remedy."""

from __future__ import annotations

import errno
import shlex
import socket
import ssl
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from edge_infer.contract.codec import Record, ShortText
from edge_infer.errors import StartError
from edge_infer.plan.records import MqttPlan
from edge_infer.platform.mqtt_guard import FloodError
from edge_infer.sandbox.name_look_up import closed_look_up

UNSUPPORTED_VERSION: Final = 0x84
TAKEN_OVER: Final = 0x8E
UNSUPPORTED_QOS: Final = 0x9B
_REFUSALS: Final[Mapping[int, str]] = {
    0x82: "protocol error: is this an MQTT broker?",
    0x84: "it does not accept this version of MQTT: edge-infer needs 5 or 3.1.1",
    0x85: "it does not accept the client id {client_id!r}: change mqtt.client_id",
    0x86: "bad user name or password: compare mqtt.username and {secret} with the broker's",
    0x87: "not authorised: check mqtt.username and {secret}, and the broker's access rules for {topic}/status",
    0x88: "it is unavailable now",
    0x89: "it is busy",
    0x8A: "this client is banned: ask the broker's operator",
    0x8B: "it is shutting down",
    0x8C: "it requires another authentication method than user name and password",
    0x8D: "it received no packet from this client for too long",
    0x8E: "another client took over the client id {client_id!r}: give each device its own mqtt.client_id or device.id",
    0x90: "it does not accept the topic {topic}/status: check mqtt.prefix and the broker's access rules",
    0x93: "this client exceeded its receive maximum",
    0x95: "a message was too large: raise its max_packet_size",
    0x96: "this client publishes too fast: lower fps or use publish: change",
    0x97: "a quota is used up: ask the broker's operator",
    0x98: "its operator ended the connection",
    0x9A: "it does not support retained messages, which subscribers need: turn on retain_available",
    0x9B: "it supports only QoS 0, not the QoS of the will",
    0x9C: "it redirects this client to another server: change mqtt.host",
    0x9D: "the server has moved: change mqtt.host",
    0x9F: "this client exceeded its connection rate",
}
_PASSING: Final = frozenset({0x88, 0x89, 0x8B, 0x8D, 0x93})
_CERTIFICATES: Final[Mapping[int, str]] = {
    9: "the broker's certificate is not valid yet: is the clock of this device right ({now})?",
    10: "the broker's certificate has expired: renew it at the broker (if the clock of this device is right: {now})",
    18: "the broker's certificate is self-signed: put it into mqtt.tls.ca_file if it is the right one",
    19: "an authority of the broker's certificate is unknown: put it into mqtt.tls.ca_file",
    20: "the authority of the broker's certificate is unknown: put it into mqtt.tls.ca_file",
    21: "the authority of the broker's certificate is unknown: put it into mqtt.tls.ca_file",
    23: "the broker's certificate is revoked: renew it at the broker",
    62: "the broker's certificate is not for {host}: use the name in it as mqtt.host, or renew it with this name",
    64: "the broker's certificate is not for the address {host}: use the name in it as mqtt.host",
}
_OF_THE_CLOCK: Final = (9, 10)
_ALERTS: Final[Mapping[str, str]] = {
    "CERTIFICATE_REQUIRED": "it requires a client certificate: set mqtt.tls.cert_file and key_file",
    "HANDSHAKE_FAILURE": "it refuses the TLS handshake: does it require a client certificate (mqtt.tls.cert_file)?",
    "UNKNOWN_CA": "it does not know the authority of the client certificate: renew mqtt.tls.cert_file",
    "CERTIFICATE_EXPIRED": "the client certificate has expired: renew mqtt.tls.cert_file",
    "BAD_CERTIFICATE": "it does not accept the client certificate: renew mqtt.tls.cert_file",
    "CERTIFICATE_UNKNOWN": "it does not accept the client certificate: renew mqtt.tls.cert_file",
    "WRONG_VERSION_NUMBER": "it does not use TLS on this port: change mqtt.port or remove mqtt.tls",
    "RECORD_LAYER_FAILURE": "it does not use TLS on this port: change mqtt.port or remove mqtt.tls",
}


@dataclass(frozen=True, slots=True)
class ConnectionFailure:
    """The cause of a missing connection. ``refused``: an operator has to act, so the next attempt waits longer.

    - ``other_version``: the broker may support only another version of MQTT.
    - ``lower_will``: the broker supports only QoS 0.
    - ``taken``: another client uses the client id.
    - ``clock``: the wrong clock of this device may be the cause.
    """

    text: str
    refused: bool = False
    other_version: bool = False
    lower_will: bool = False
    taken: bool = False
    clock: bool = False


class BrokerAddress(Record, frozen=True):
    """The broker of an earlier plan, for a command that the operator may need. It may have a user and TLS."""

    host: ShortText
    port: int
    user: bool = False
    tls: bool = False

    @classmethod
    def of(cls, plan: MqttPlan) -> BrokerAddress:
        """Return the broker of a plan."""
        return cls(plan.host, plan.port, user=plan.username is not None, tls=plan.tls is not None)


def address(plan: MqttPlan | BrokerAddress) -> str:
    """Return ``host:port`` for people."""
    return f"[{plan.host}]:{plan.port}" if ":" in plan.host else f"{plan.host}:{plan.port}"


def stays(topic: str, broker: BrokerAddress) -> str:
    """Return the warning that retained messages remain under the old topic, with the command to clear them there."""
    place = f"-h {shlex.quote(broker.host)} -p {broker.port}"
    command = f"mosquitto_sub {place} -W 5 --remove-retained -t {shlex.quote(f'{topic}/#')}"
    needs = ["its user and password (-u, -P)"] if broker.user else []
    needs += ["its authority (--cafile)"] if broker.tls else []
    more = f", and add {' and '.join(needs)}" if needs else ""
    return f"the broker {address(broker)} keeps the retained messages below {topic}/#; clear them with {command}{more}"


def refusal(code: int, name: str, plan: MqttPlan) -> ConnectionFailure:
    """Return the failure for the reason code with which the broker refused the connection."""
    secret = "mqtt.password_file" if plan.password_file else "mqtt.password_file (not set)"
    known = _REFUSALS.get(code, f"{name.lower()} (reason 0x{code:02X})")
    text = known.format(client_id=plan.client_id, topic=plan.topic, secret=secret)
    return ConnectionFailure(
        f"the broker {address(plan)} refuses the connection: {text}",
        refused=code not in _PASSING,
        other_version=code == UNSUPPORTED_VERSION,
        lower_will=code == UNSUPPORTED_QOS,
        taken=code == TAKEN_OVER,
    )


def denial(code: int, name: str, topic: str, plan: MqttPlan) -> str:
    """Return the warning that the broker does not accept messages on this topic."""
    if code == 0x87:
        who = f"user {plan.username!r}" if plan.username else "clients without a user name"
        wanted = f"{plan.topic}/#" if topic.startswith(f"{plan.topic}/") else topic
        return f"the broker denies {topic} to {who}: allow publishing to {wanted} in its access rules"
    return f"the broker does not accept messages on {topic}: {name.lower()} (reason 0x{code:02X})"


def silent(plan: MqttPlan) -> ConnectionFailure:
    """Return the failure for a peer that accepted the connection and did not answer CONNECT."""
    return ConnectionFailure(
        f"{address(plan)} accepts connections and sends nothing: is it an MQTT broker, does it hang?"
    )


def closed(plan: MqttPlan) -> ConnectionFailure:
    """Return the failure for a peer that closed the connection without a reason before it accepted the client."""
    where = address(plan)
    if plan.tls is not None:
        text = "it closes the connection: does it use TLS on this port, does it require another mqtt.tls.cert_file?"
        return ConnectionFailure(f"no TLS with {where}: {text}", refused=True)
    return ConnectionFailure(
        f"{where} closes the connection without an answer: is it an MQTT broker, or does it need mqtt.tls?",
        other_version=True,
    )


def flooding(plan: MqttPlan, how: FloodError) -> ConnectionFailure:
    """Return the failure for a broker that sends messages although this client subscribes to none."""
    return ConnectionFailure(
        f"the broker {address(plan)} sends a flood of packets: {how}: check mqtt.host", refused=True
    )


def explain(error: BaseException, plan: MqttPlan, now: str) -> ConnectionFailure:
    """Return the failure for the error that ended an attempt or a connection; ``now`` is the time of this device."""
    where = address(plan)
    if isinstance(error, StartError):
        return ConnectionFailure(str(error), refused=True)
    if isinstance(error, ssl.SSLCertVerificationError):
        known = _CERTIFICATES.get(error.verify_code, f"cannot verify the broker's certificate: {error.verify_message}")
        text = f"no TLS with {where}: " + known.format(host=plan.host, now=now)
        return ConnectionFailure(text, refused=True, clock=error.verify_code in _OF_THE_CLOCK)
    if isinstance(error, ssl.SSLEOFError):
        return closed(plan)
    if isinstance(error, ssl.SSLError):
        return _explain_tls(error, where)
    if isinstance(error, socket.gaierror):
        return ConnectionFailure(
            f"cannot resolve the name {plan.host!r} ({error.strerror}): "
            f"{closed_look_up(plan.host) or 'check mqtt.host and the name server'}"
        )
    if isinstance(error, TimeoutError) and "handshake" in str(error):
        return ConnectionFailure(
            f"no TLS with {where}: no answer to the handshake: does it use TLS on this port?", refused=True
        )
    if isinstance(error, TimeoutError):
        return ConnectionFailure(f"no answer from {where} in time: check mqtt.host, mqtt.port and the network")
    if isinstance(error, ConnectionRefusedError):
        return ConnectionFailure(f"nothing listens on {where}: start the broker, or check mqtt.host and mqtt.port")
    if isinstance(error, (ConnectionResetError, BrokenPipeError)):
        return closed(plan)
    if isinstance(error, OSError) and error.errno in (errno.EHOSTUNREACH, errno.ENETUNREACH, errno.ENETDOWN):
        return ConnectionFailure(f"{where} is not reachable ({error.strerror}): check the network")
    if isinstance(error, OSError):
        return ConnectionFailure(f"the connection to {where} failed: {error.strerror or error}")
    return ConnectionFailure(f"the connection to {where} failed: {error}")


def _explain_tls(error: ssl.SSLError, where: str) -> ConnectionFailure:
    for alert, text in _ALERTS.items():
        if alert in str(error):
            return ConnectionFailure(f"no TLS with {where}: {text}", refused=True)
    return ConnectionFailure(f"no TLS with {where}: {error}", refused=True)
