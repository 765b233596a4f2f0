"""The configuration writer for the local page: it saves masks, zones, lines, thresholds and tracking, nothing else."""
