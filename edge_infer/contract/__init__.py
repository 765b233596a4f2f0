"""The data that leaves the device: messages, their topics, limits and JSON form, and the AsyncAPI document."""
