"""Chooses the version of MQTT: 5, or 3.1.1 for a broker that knows no other."""

from __future__ import annotations

from typing import Final

from paho.mqtt.enums import MQTTProtocolVersion

from edge_infer.publisher.mqtt.connection_failure import ConnectionFailure

V5, V311 = MQTTProtocolVersion.MQTTv5, MQTTProtocolVersion.MQTTv311
NAMES: Final = {V5: "MQTT 5", V311: "MQTT 3.1.1"}


class VersionChoice:
    """The version for the next attempt, from the outcomes of the earlier ones.

    Some brokers end a connection with MQTT 5 without an answer. So does a forwarder of TCP connections whose broker is
    away. Therefore a broker that accepts 3.1.1 after such an end is asked for 5 once more, since it is there now.
    """

    def __init__(self) -> None:
        self.version = V5
        self._knows_no_other = False
        self._is_repeated = False

    def accepted(self) -> bool:
        """Return whether to keep a connection that the broker has accepted; else close it and connect again at once."""
        if self.version == V5 or self._knows_no_other:
            return True
        self.version, self._is_repeated = V5, True
        return False

    def failed(self, failure: ConnectionFailure) -> bool:
        """Take the end of an attempt or a connection into account; return whether it changes the version to 3.1.1."""
        if self.version == V5:
            self._knows_no_other = failure.other_version and (failure.refused or self._is_repeated)
            self._is_repeated = False
            self.version = V311 if failure.other_version else V5
            return failure.other_version
        if failure.other_version or not self._knows_no_other:
            self.version = V5
        return False
