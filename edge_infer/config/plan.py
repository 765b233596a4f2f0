"""The path under which plug-ins and programs import `edge_infer.plan.records`."""

from edge_infer.plan.records import *  # noqa: F403 - the same names, for programs of others
