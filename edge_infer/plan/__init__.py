"""The plan that every process receives, and what follows from it: files, credentials, limits, plug-ins."""
