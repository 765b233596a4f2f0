"""The announcement to Home Assistant: entities and templates."""
