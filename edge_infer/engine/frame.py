"""The path under which plug-ins and programs import `edge_infer.frames.frame`."""

from edge_infer.frames.frame import *  # noqa: F403 - the same names, for programs of others
