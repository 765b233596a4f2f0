"""From findings to messages: byte limits, publish intervals, numbering, hand-over, health."""
