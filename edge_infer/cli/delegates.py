"""Status text about delegates, the libraries that run a model instead of the processor."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from edge_infer.codec import ABSENT
from edge_infer.messages import ModelStatus


def delegate_lines(status: ModelStatus) -> Iterator[str]:
    """Yield a sentence for each pipeline of a model that has a delegate."""
    for pipeline, each in status.delegate.items() if isinstance(status.delegate, Mapping) else ():
        if each.reason is not ABSENT:
            yield f"delegate in {pipeline}: {each.library} does not run it, the processor does: {each.reason}"
        else:
            yield f"delegate in {pipeline}: {each.library} runs {each.share:.0%} of the operators"
