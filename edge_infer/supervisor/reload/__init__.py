"""A configuration edit: watch the file, compile it in a child, apply or reject it."""
