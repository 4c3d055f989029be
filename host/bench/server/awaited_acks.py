"""Calls that a device has to acknowledge, until it does or takes too long."""

import asyncio

from bench.server.presence import ACKNOWLEDGED_S, Delivery, Report


class AwaitedAcks:
    """Messages that are to be acknowledged, by their ids, and who is told of it.

    As in ThingsBoard, the time runs on when a session ends: a device that is gone does not acknowledge.
    """

    def __init__(self) -> None:
        self._waiting: dict[int, tuple[Report, asyncio.TimerHandle]] = {}

    def expect(self, message_id: int | None, report: Report | None) -> None:
        """Report that a message was sent, and later whether it is acknowledged in time.

        Args:
            message_id: The message's; None if nobody is to acknowledge it, which is as good as delivered.
            report: Who is told; None if nobody asks.
        """
        if report is None:
            return
        if message_id is None:
            report(Delivery.DELIVERED)
            return
        before = self._waiting.pop(message_id, None)
        if before is not None:  # ids are used again
            before[1].cancel()
        report(Delivery.SENT)
        timer = asyncio.get_running_loop().call_later(ACKNOWLEDGED_S, self._end, message_id, Delivery.TIMEOUT)
        self._waiting[message_id] = report, timer

    def acknowledge(self, message_id: int) -> None:
        """Report that a message was acknowledged."""
        if message_id in self._waiting:
            self._waiting[message_id][1].cancel()
            self._end(message_id, Delivery.DELIVERED)

    def _end(self, message_id: int, delivery: Delivery) -> None:
        report, _ = self._waiting.pop(message_id)
        report(delivery)
