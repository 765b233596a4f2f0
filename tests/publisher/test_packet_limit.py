"""The limit of a broker that does not report it."""

from __future__ import annotations

from edge_infer.publisher.mqtt.inflight_window import ATTEMPTS, FORGOTTEN_SECONDS, NO_LIMIT, PacketLimit


def test_a_message_at_which_connections_end_is_too_large() -> None:
    now = [100.0]
    limit = PacketLimit(lambda: now[0])
    limit.acked(300)
    for _ in range(ATTEMPTS - 1):
        assert limit.ended([200, 900]) is None
    assert limit.most == NO_LIMIT
    assert limit.ended([200, 900]) == 900
    assert limit.most == 899
    assert limit.ended([700]) == 700, "one attempt is enough now"
    assert limit.most == 699
    now[0] += FORGOTTEN_SECONDS
    assert limit.most == NO_LIMIT, "the limit may have been raised"


def test_connections_that_end_for_another_reason_teach_nothing() -> None:
    limit = PacketLimit(lambda: 0.0)
    limit.acked(900)
    for sizes in ([900], [], [500, 900], [901], [902], [903], [904], [900], [904], [904]):
        assert limit.ended(sizes) is None
    assert limit.most == NO_LIMIT
