"""Check of the broker: connects with a separate client id and disconnects, without publishing."""

from __future__ import annotations

import time
from typing import Any, Final

from paho.mqtt.client import Client
from paho.mqtt.enums import MQTTErrorCode, MQTTProtocolVersion
from paho.mqtt.reasoncodes import ReasonCode

from edge_infer.contract.codec import replace
from edge_infer.contract.messages import timestamp
from edge_infer.doctor.finding import Finding, ok, warn
from edge_infer.plan.credentials import plain_broker
from edge_infer.plan.records import MqttPlan
from edge_infer.publisher.mqtt.connection_failure import ConnectionFailure, address, explain, refusal
from edge_infer.publisher.mqtt.paho_client import KEEPALIVE, hang_up, prepare

_PATIENCE: Final = 5.0


def broker(plan: MqttPlan) -> Finding:
    """Check whether the broker accepts a connection.

    A failure is only a warning, because the daemon works without a broker and queues its messages.
    """
    plan = replace(plan, client_id=f"{plan.client_id}-doctor")  # the daemon's own client id would disconnect the daemon
    name, trouble = "MQTT 5", _greet(plan, MQTTProtocolVersion.MQTTv5)
    if trouble and trouble.other_version:
        name, trouble = "MQTT 3.1.1", _greet(plan, MQTTProtocolVersion.MQTTv311)
    if trouble is None and (plain := plain_broker(plan)):
        sent, _, remedy = plain.partition(": ")
        return warn("broker", f"{address(plan)} accepts us ({name}), and {sent}", remedy)
    if trouble is None:
        return ok("broker", f"{address(plan)} accepts this device ({name}, {'TLS' if plan.tls else 'not encrypted'})")
    fact, colon, remedy = trouble.text.rpartition(": ")
    return warn("broker", fact, remedy) if colon else warn("broker", trouble.text, "check mqtt.host and mqtt.port")


def _greet(plan: MqttPlan, version: MQTTProtocolVersion) -> ConnectionFailure | None:
    """Connect and disconnect; return the reason of a failure, or None."""
    try:
        client = prepare(plan, version)
        answer = _ConnectAnswer(client)
        client.connect(plan.host, plan.port, KEEPALIVE)
        try:
            answer.wait()
        finally:
            hang_up(client)
    except (OSError, ValueError) as error:
        return explain(error, plan, timestamp(time.time()))
    if answer.reason is None:
        return explain(client.fault or TimeoutError(), plan, timestamp(time.time()))
    if answer.reason.is_failure:
        return refusal(answer.reason.value, answer.reason.getName(), plan)
    return None


class _ConnectAnswer:
    """The broker's answer to CONNECT."""

    def __init__(self, client: Client) -> None:
        self.reason: ReasonCode | None = None
        self._client = client
        client.on_connect = self._hear

    def _hear(self, _client: Client, _data: Any, _flags: Any, reason: ReasonCode, _properties: Any) -> None:
        self.reason = reason

    def wait(self) -> None:
        """Return when the broker has answered or disconnected, or after a timeout of 5 s."""
        end = time.monotonic() + _PATIENCE
        while self.reason is None and time.monotonic() < end:
            if self._client.loop(timeout=0.2) != MQTTErrorCode.MQTT_ERR_SUCCESS:
                return
        if self.reason is not None and not self.reason.is_failure:
            self._client.disconnect()
