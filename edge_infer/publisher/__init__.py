"""The publisher process: the only process that connects to the broker. It never receives a frame."""
