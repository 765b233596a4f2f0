"""From a model file and its manifest to a plan, with the reason for every decision."""
