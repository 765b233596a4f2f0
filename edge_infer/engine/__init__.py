"""The room that sees every frame and has no network."""
