"""The path under which plug-ins and programs import `edge_infer.platform.closing`."""

from edge_infer.platform.closing import *  # noqa: F403 - the same names, for programs of others
