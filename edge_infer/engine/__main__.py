"""Entry point of ``python -m edge_infer.engine``.

The supervisor starts this process and passes the channels as open file descriptors.
"""

from __future__ import annotations

import argparse
import logging
import os
import sys

from edge_infer.contract.codec import decode_json
from edge_infer.ipc.channel import MAX_PLAN_BYTES, Channel
from edge_infer.ipc.drift import DriftAccept, DriftQuestion, DriftReference
from edge_infer.ipc.messages import (
    Acked,
    ApplyPlan,
    AttachReader,
    EventsQuestion,
    Grab,
    ModelFile,
    PublisherHello,
    Restrain,
    ScoresQuestion,
    SetLogLevel,
    Stop,
    WhyQuestion,
)
from edge_infer.platform.child_process import leave_stops_to_supervisor
from edge_infer.platform.logs import configure
from edge_infer.platform.memory import usable_memory
from edge_infer.readers.environment import most_pixels
from edge_infer.sandbox import Fence, lock


def main() -> int:
    """Lock the sandbox before anything else is loaded, then run the engine; return 0 after an orderly end."""
    parser = argparse.ArgumentParser(prog="edge-infer engine")
    parser.add_argument("--control", type=int, required=True)
    parser.add_argument("--results", type=int, required=True)
    parser.add_argument("--lights", type=int, required=True, help="a file in memory: the current step of each pipeline")
    parser.add_argument("--boot", required=True, help="the id of this start, which the supervisor sets")
    parser.add_argument(
        "--empty-budgets", action="store_true", help="start with empty message budgets, which fill from now on"
    )
    parser.add_argument("--fence", required=True, help="a Fence as JSON")
    parser.add_argument("--log-level", default="info")
    args = parser.parse_args()
    configure("engine", args.log_level)
    os.environ["OPENCV_IO_MAX_IMAGE_PIXELS"] = str(most_pixels(usable_memory()))  # before OpenCV is loaded
    sandbox = lock("engine", fence=decode_json(Fence, args.fence.encode()), owners={0})
    from edge_infer.engine.process import Engine
    from edge_infer.engine.threads import leave_to_models
    from edge_infer.ipc.activity_table import ActivityTable
    from edge_infer.platform.rate_limits import MessageBudget

    if args.empty_budgets:
        MessageBudget.start_empty()
    leave_to_models()
    leave_stops_to_supervisor()
    questions = (Grab, WhyQuestion, EventsQuestion, ScoresQuestion, DriftQuestion)
    accepted = (
        ModelFile,
        ApplyPlan,
        AttachReader,
        *questions,
        DriftReference,
        DriftAccept,
        Restrain,
        SetLogLevel,
        Stop,
    )
    control = Channel(args.control, accepted, MAX_PLAN_BYTES, files=True)
    results = Channel(args.results, (PublisherHello, Acked))
    try:
        Engine(control, results, sandbox, args.boot, ActivityTable(args.lights)).run()
    except Exception:  # the outermost handler: the process ends, and the supervisor starts a new engine
        logging.getLogger(__name__).exception("engine stops: unexpected exception")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
