"""The connection to the broker: attempts, reconnect policy, in-flight window, causes of failures."""
