"""What processes share: channels, the messages on them, and memory that outlives a process."""
