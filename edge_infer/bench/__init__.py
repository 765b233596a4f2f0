"""How fast a model is here by itself, and how fast the pipeline makes of frames what a subscriber gets."""
