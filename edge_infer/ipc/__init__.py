"""Communication between processes: channels, the messages on channels, and memory that outlives a process."""
