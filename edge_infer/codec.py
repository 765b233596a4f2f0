"""The path under which plug-ins and programs import `edge_infer.contract.codec`."""

from edge_infer.contract.codec import *  # noqa: F403 - the same names, for programs of others
