"""One source, one small killable process that owns its device."""
