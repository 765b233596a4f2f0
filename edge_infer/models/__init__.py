"""Model files and what is said about them: manifests, metadata inside the file, labels, the probe."""
