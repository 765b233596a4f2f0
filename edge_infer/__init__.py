"""Runs quantized TFLite models on cameras at the edge and publishes only compact results over MQTT."""

__version__ = "0.1.0"
