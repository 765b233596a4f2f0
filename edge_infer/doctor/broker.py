"""The broker: reached, spoken to and left again, under a name of the examination's own and without a word published."""

from __future__ import annotations

import time
from typing import Any, Final

from paho.mqtt.client import Client
from paho.mqtt.enums import MQTTErrorCode, MQTTProtocolVersion
from paho.mqtt.reasoncodes import ReasonCode

from edge_infer.codec import replace
from edge_infer.config.plan import MqttPlan
from edge_infer.doctor.finding import Finding, ok, warn
from edge_infer.messages import timestamp
from edge_infer.publisher.client import KEEPALIVE, hang_up, prepare
from edge_infer.publisher.trouble import Trouble, address, explain, refusal

_PATIENCE: Final = 5.0


def broker(plan: MqttPlan) -> Finding:
    """Whether the broker takes us. The daemon works without one and keeps what it has to say, so this is no failure."""
    plan = replace(plan, client_id=f"{plan.client_id}-doctor")  # the daemon's own name would throw the daemon out
    name, trouble = "MQTT 5", _greet(plan, MQTTProtocolVersion.MQTTv5)
    if trouble and trouble.other_version:
        name, trouble = "MQTT 3.1.1", _greet(plan, MQTTProtocolVersion.MQTTv311)
    if trouble is None:
        return ok("broker", f"{address(plan)} accepts us ({name}, {'TLS' if plan.tls else 'not encrypted'})")
    fact, colon, remedy = trouble.text.rpartition(": ")
    return warn("broker", fact, remedy) if colon else warn("broker", trouble.text, "check mqtt.host and mqtt.port")


def _greet(plan: MqttPlan, version: MQTTProtocolVersion) -> Trouble | None:
    """Connects and leaves again; why that failed, or None."""
    try:
        client = prepare(plan, version)
        answer = _Answer(client)
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


class _Answer:
    """The broker's answer to the greeting."""

    def __init__(self, client: Client) -> None:
        self.reason: ReasonCode | None = None
        self._client = client
        client.on_connect = self._hear

    def _hear(self, _client: Client, _data: Any, _flags: Any, reason: ReasonCode, _properties: Any) -> None:
        self.reason = reason

    def wait(self) -> None:
        """Returns when the broker has answered, hung up, or let the time pass."""
        end = time.monotonic() + _PATIENCE
        while self.reason is None and time.monotonic() < end:
            if self._client.loop(timeout=0.2) != MQTTErrorCode.MQTT_ERR_SUCCESS:
                return
        if self.reason is not None and not self.reason.is_failure:
            self._client.disconnect()
