"""Reports about a model for people: advice, inspection, draft of a manifest."""
