"""Motion gate: selects the parts of a frame on which the model runs."""
