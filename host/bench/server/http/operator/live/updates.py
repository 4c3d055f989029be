"""JSON that is sent over a WebSocket, as ThingsBoard has it."""

from collections.abc import Iterable, Mapping, Sequence
from enum import IntEnum
from typing import Any

from bench.server.http.operator.schemas.common import PageData
from bench.server.http.operator.schemas.entity_query import EntityData
from bench.server.json_writer import compact

ENTITIES = 1000
"""Devices that one subscription follows; of a larger page the others are left out."""


class ErrorCode(IntEnum):
    """ThingsBoard's SubscriptionErrorCode."""

    INTERNAL_ERROR = 1
    BAD_REQUEST = 2
    UNAUTHORIZED = 3


class CommandRefused(Exception):
    """A command that is answered with an error."""

    def __init__(self, message: str, code: ErrorCode = ErrorCode.BAD_REQUEST) -> None:
        super().__init__(message)
        self.code = code


Values = Mapping[str, Sequence[tuple[int, str]]]
"""`(ms since the epoch, text)` by key."""


def values(command: int, found: Values) -> str:
    """Return the values of a subscription, or their changes."""
    data = {key: found[key] for key in sorted(found)}
    latest = {key: entries[-1][0] for key, entries in data.items()}
    return _json(subscriptionId=command, errorCode=0, errorMsg=None, data=data, latestValues=latest)


def error(command: int, why: CommandRefused) -> str:
    """Return the refusal of a command, of whatever kind."""
    return _json(subscriptionId=command, errorCode=why.code, errorMsg=str(why), data=None, latestValues={})


def entities(command: int, page: PageData[EntityData] | None, changed: Iterable[Mapping[str, Any]] | None) -> str:
    """Return devices that a query found, or changes of them."""
    return _json(
        cmdId=command,
        data=None if page is None else page.model_dump(mode="json", by_alias=True),
        update=None if changed is None else list(changed),
        errorCode=0,
        errorMsg=None,
        allowedEntities=ENTITIES,
        cmdUpdateType="ENTITY_DATA",
    )


def count(command: int, number: int) -> str:
    """Return the number of devices that a query found."""
    return _json(cmdId=command, count=number, errorCode=0, errorMsg=None, cmdUpdateType="COUNT_DATA")


def no_alarms(command: int, kind: str) -> str:
    """Return the answer to a command for alarms: this server has none."""
    shared = {"cmdId": command, "errorCode": 0, "errorMsg": None}
    if kind == "ALARM_COUNT":
        return _json(**shared, count=0, cmdUpdateType="ALARM_COUNT_DATA")
    if kind == "ALARM_STATUS":
        return _json(**shared, active=False, cmdUpdateType="ALARM_STATUS")
    page = {"data": [], "totalPages": 0, "totalElements": 0, "hasNext": False}
    return _json(**shared, data=page, update=None, allowedEntities=0, totalEntities=0, cmdUpdateType="ALARM_DATA")


def _json(**content: Any) -> str:
    return compact(content)
