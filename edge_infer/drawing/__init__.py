"""The writer of drawings of the local page: masks, zones, lines, thresholds and tracking, nothing else."""
