"""Model files and their descriptions: manifests, metadata inside the file, labels, and trials in child processes."""
