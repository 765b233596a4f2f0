"""The engine process: it sees every frame and has no network access."""
