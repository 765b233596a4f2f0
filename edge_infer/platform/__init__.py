"""The machine below: board, clock, files, logs, and small tools that every process uses."""
