"""Model files and their descriptions: manifests, metadata inside the file, labels, and the probe that tries them."""
