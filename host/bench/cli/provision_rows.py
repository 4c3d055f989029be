"""The devices that `bench provision` makes, a row each, with their secrets."""

import uuid
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

from bench.cli.provision_output import ASSOCIATION, COLUMNS, DERIVED_COLUMNS, SERIAL
from bench.contract import association_codes
from bench.contract.issued import IssuedCredentials, username
from bench.contract.naming import NumberedNames
from bench.contract.templates import Value
from bench.errors import UsageError


@dataclass(frozen=True, kw_only=True)
class Wanted:
    """The devices to make, named after the pattern of their profile's template, or by UUIDs."""

    device_type: str
    prefix: str
    count: int
    is_derived: bool = False
    """Their names are UUIDs, and their tokens follow from the profile's group key."""
    written: Mapping[str, str] = field(default_factory=dict)
    """The texts of `--field`, by the names of the fields."""
    naming: str = ""
    values: Mapping[str, Value] = field(default_factory=dict)
    """Their own values of the template's fields."""
    serials: Iterator[str] | None = None
    """Their serial numbers; None if they have none."""

    code_days: int = 0
    """How long their association codes are valid; 0 if they have none."""

    @property
    def columns(self) -> tuple[str, ...]:
        """The columns of their rows."""
        own = DERIVED_COLUMNS if self.is_derived else COLUMNS
        more = (SERIAL, self.serials is not None), (ASSOCIATION, self.code_days > 0)
        return (*own, *(column for column, is_wanted in more if is_wanted))

    @property
    def names(self) -> NumberedNames:
        """The devices' names."""
        return NumberedNames(self.naming, self.device_type, self.prefix)

    def row(self, number: int) -> dict[str, str]:
        """Return a device with new secrets; one whose token is derived lacks them, as they are the server's."""
        more = {} if self.serials is None else {SERIAL: self._serial()}
        if self.code_days:
            more[ASSOCIATION] = association_codes.random()
        if self.is_derived:
            name = str(uuid.uuid4())
            label = f"{self.device_type} {more.get(SERIAL) or name[:8]}"
            return {"device_id": name, "name": label, "device_type": self.device_type, **more}
        name = self.names.name(number)
        issued = IssuedCredentials.random(username(self.device_type, name))
        return {
            "device_id": name,
            "name": f"{self.device_type} {self.names.number(number)}",
            "device_type": self.device_type,
            "mqtt_username": issued.mqtt_username,
            "mqtt_password": issued.mqtt_password,
            "api_key": issued.api_key,
            **more,
        }

    def _serial(self) -> str:
        assert self.serials
        if found := next(self.serials, None):
            return found
        raise UsageError("there are fewer serial numbers than devices: --serials names too few")

    def skip_to(self, last: str) -> None:
        """Leave out serial numbers up to the last one that is in the output."""
        while self._serial() != last:
            pass
