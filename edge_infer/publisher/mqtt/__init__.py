"""The connection to the broker: connecting, reconnect policy, in-flight window, and causes of failures."""
