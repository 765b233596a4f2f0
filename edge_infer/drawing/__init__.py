"""The writer of what is drawn on the local page: masks, zones, lines, thresholds and tracking, nothing else."""
