"""Entry point of ``python -m edge_infer.publisher``.

The supervisor starts this process and passes the channels as open file descriptors.
"""

from __future__ import annotations

import argparse
import json
import logging
import os
import sys
from collections.abc import Sequence
from contextlib import ExitStack, closing

from edge_infer.platform.logs import configure
from edge_infer.publisher.resolver import LookUp, addresses_of, start
from edge_infer.sandbox import Fence, lock, lock_thread


def main(words: Sequence[str] | None = None) -> int:
    """Apply the sandbox before anything else is loaded, then publish. Return 0 after an orderly end."""
    parser = argparse.ArgumentParser(prog="edge-infer publisher")
    parser.add_argument("--control", type=int, required=True)
    parser.add_argument("--results", type=int, required=True)
    parser.add_argument("--slate", type=int, required=True, help="a file in memory: the state for the next publisher")
    parser.add_argument(
        "--delivered", type=int, required=True, help="a file in memory: the numbers that the broker has acknowledged"
    )
    parser.add_argument("--fence", required=True, help="a Fence as JSON")
    parser.add_argument("--merged", action="store_true", help="run in a thread of the supervisor (rooms: merged)")
    parser.add_argument("--rates", type=int, help="a file in memory: the unused part of the message rates")
    parser.add_argument("--log-level", default="info")
    args = parser.parse_args(words)
    if not args.merged:
        configure("publisher", args.log_level)
    look_up: LookUp = addresses_of
    if names := json.loads(args.fence).get("names"):  # before the sandbox, and while this process is small
        look_up = start(names)
    from edge_infer.contract.codec import decode_json
    from edge_infer.ipc.channel import MAX_PLAN_BYTES, MAX_RESULT_BYTES, Channel

    fence = decode_json(Fence, args.fence.encode())
    sandbox = lock_thread("publisher", fence) if args.merged else lock("publisher", fence=fence)
    from edge_infer.ipc.crash_safe_note import CrashSafeNote
    from edge_infer.ipc.delivered_numbers import DeliveredNumbers
    from edge_infer.platform.child_process import leave_stops_to_supervisor
    from edge_infer.publisher.health import Board
    from edge_infer.publisher.outbox.stored_outbox import StoredOutbox
    from edge_infer.publisher.process import FROM_ENGINE, FROM_SUPERVISOR, Publisher

    if not args.merged:
        leave_stops_to_supervisor()
    try:
        with ExitStack() as stack:  # with --merged this process lives on: leave nothing open
            control = stack.enter_context(closing(Channel(args.control, FROM_SUPERVISOR, MAX_PLAN_BYTES)))
            results = stack.enter_context(closing(Channel(args.results, FROM_ENGINE, MAX_RESULT_BYTES)))
            slate = stack.enter_context(CrashSafeNote(args.slate))
            delivered = stack.enter_context(DeliveredNumbers(args.delivered))
            rates = None if args.rates is None else stack.enter_context(CrashSafeNote(args.rates))
            outbox = stack.enter_context(StoredOutbox(delivered=delivered))
            publisher = Publisher(
                control, results, outbox, Board(),
                sandbox=sandbox, slate=slate, look_up=look_up, rates=rates,
            )  # fmt: skip
            stack.enter_context(closing(publisher)).run()
    except Exception as error:  # outermost loop: the supervisor starts a new publisher
        logging.getLogger(__name__).exception("publisher stops: unexpected exception")
        return os.EX_IOERR if isinstance(error, OSError) else 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
