"""What processes share: the channel, the messages on it, and memory that outlives a process."""
