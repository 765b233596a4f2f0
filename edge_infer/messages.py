"""The path under which plug-ins and programs import `edge_infer.contract.messages`."""

from edge_infer.contract.messages import *  # noqa: F403 - the same names, for programs of others
