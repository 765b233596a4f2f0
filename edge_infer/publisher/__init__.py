"""The room that has the network and never sees a frame."""
