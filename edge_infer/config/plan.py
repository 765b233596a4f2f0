"""Public import path of `edge_infer.plan.records` for plug-ins and programs."""

from edge_infer.plan.records import *  # noqa: F403 - the same names, for programs of others
