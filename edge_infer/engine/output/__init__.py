"""From findings to messages: byte limits, publish intervals, numbering, sending, health."""
