"""Public import path of `edge_infer.frames.frame` for plug-ins and programs."""

from edge_infer.frames.frame import *  # noqa: F403 - the same names, for programs of others
