"""Analysis of model outputs: from boxes and scores to tracks, events and results."""
