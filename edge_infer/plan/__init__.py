"""The plan that every process receives, and values derived from it: files, credentials, limits, plug-ins."""
