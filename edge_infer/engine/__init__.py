"""The engine process: the only process that runs the models. The engine reads every frame and has no network access."""
