"""The motion gate: which parts of a frame the model looks at."""
