"""The machine: board, clock, files, logs, and small tools that every process uses."""
