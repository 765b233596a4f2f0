"""The engine process: the only process that runs the models. It reads every frame and has no network access."""
