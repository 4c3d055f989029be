"""The room that each device has for its attributes and series: how many keys, and how much text in all.

Whoever has a device's token may store what they like under as many names as they like, and every read of all of it,
the device's own and an operator's, has to load it.
"""

import uuid
from collections.abc import Mapping

from sqlalchemy import Connection, func, select, tuple_

from bench.errors import Refused
from bench.registry.model import Attribute, EntityAttribute, EntityTelemetry, Telemetry
from bench.registry.statements import parts

KEYS = 10_000
"""Keys of one device: of attributes (all scopes together), and as many of series."""
SIZE = 4 << 20
"""Characters of their keys and values, as JSON, in all; of the series only the latest values count."""

# Devices whose room is known without a look into the database.
_KNOWN = 4096

Key = tuple[str, ...]
Table = type[Attribute] | type[Telemetry] | type[EntityAttribute] | type[EntityTelemetry]


class Full(Refused):
    """A device has no room for what it was to store."""

    def __init__(self) -> None:
        super().__init__(f"a device has room for {KEYS} keys, and for {SIZE} characters of keys and values")


class DeviceRoom:
    """Knows how much room devices have left, or less: only a device that may have none is looked up."""

    def __init__(self) -> None:
        self._left: dict[tuple[uuid.UUID, Table], tuple[int, int]] = {}

    def acquire(
        self, connection: Connection, table: Table, device_id: uuid.UUID, sizes: Mapping[Key, int]
    ) -> Full | None:
        """Take room for what is about to be stored.

        Args:
            connection: In the transaction that stores it.
            table: The table.
            device_id: The device.
            sizes: The number of characters by key: the columns of the table's primary key after the device.

        Returns:
            Why it must not be stored; None if there was room.
        """
        place = device_id, table
        keys, size = self._left.pop(place, (0, 0))
        if keys < len(sizes) or size < sum(sizes.values()):
            had_keys, had_size = _stored(connection, table, device_id)
            old = _old_sizes(connection, table, device_id, list(sizes))
            new_keys = had_keys + len(sizes) - len(old)
            new_size = had_size + sum(sizes.values()) - sum(old.values())
            # What older releases stored beyond the bounds may still change, as long as it does not grow
            if new_keys > max(KEYS, had_keys) or new_size > max(SIZE, had_size):
                return Full()
            keys, size = KEYS - new_keys, SIZE - new_size
        else:
            keys, size = keys - len(sizes), size - sum(sizes.values())
        while len(self._left) >= _KNOWN:
            del self._left[next(iter(self._left))]
        self._left[place] = keys, size
        return None


def _stored(connection: Connection, table: Table, device_id: uuid.UUID) -> tuple[int, int]:
    """Return the number of keys, and of characters."""
    size = func.coalesce(func.sum(func.length(table.key) + func.length(table.value)), 0)
    row = connection.execute(select(func.count(), size).where(table.owner == device_id)).one()
    return int(row[0]), int(row[1])


def _old_sizes(connection: Connection, table: Table, device_id: uuid.UUID, keys: list[Key]) -> dict[Key, int]:
    """Return the sizes of those that are stored already."""
    columns = (table.scope, table.key) if table in {Attribute, EntityAttribute} else (table.key,)
    size = func.length(table.key) + func.length(table.value)
    found: dict[Key, int] = {}
    for part in parts(keys):
        wanted = tuple_(*columns).in_(part)
        for *key, length in connection.execute(select(*columns, size).where(table.owner == device_id, wanted)):
            found[tuple(key)] = length
    return found
