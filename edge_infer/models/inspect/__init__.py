"""Reports about a model for people: advice, inspection, and the draft of a manifest."""
