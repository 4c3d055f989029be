"""A server under check: devices' requests for credentials, and the means that checks share."""

import json
import re
import secrets
from collections.abc import Awaitable, Callable, Iterable, Iterator
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

from bench.conformance import check
from bench.conformance.check import Broken, NotHere
from bench.conformance.server.addresses import CheckedAddresses
from bench.conformance.server.answers import FAILURE, NOT_FOUND, SUCCESS, Answer, is_token, parsed
from bench.conformance.server.transports import TRANSPORTS, DeviceTransport, Exchange
from bench.conformance.server.verdict import ReleaseVerdict
from bench.contract.releases import Release
from bench.errors import BenchError
from bench.rest_client import ThingsBoard

_SECRETS = ("provisionDeviceSecret", "token", "password", "hash", "credentialsValue")
# Possibly a token that the server made, in a text that is not a valid answer.
_LONG_WORD = re.compile(r"[A-Za-z0-9_-]{16,}")


Operator = Callable[[Callable[[ThingsBoard], Awaitable[Any]]], Any]
"""Runs an operation with an operator's account on the server, and returns its result."""


@dataclass(frozen=True)
class _Found:
    """Findings of the first requests. Checks judge a server that answers with none of the statuses."""

    creates: bool = True
    device: str = ""
    """The token of a device that was made; empty: none was."""
    trouble: str = ""
    """The reason for which nothing can be checked; empty: there is no such reason."""


@dataclass(kw_only=True)
class CheckedServer:
    """A server under check, and the provisioning key and secret of one of its profiles."""

    addresses: CheckedAddresses
    key: str
    secret: str = field(repr=False)
    names: list[str] = field(default_factory=list)
    """The names of devices that were made ahead of their first boot; the checks use them up."""
    release: Release | None = None
    """The release whose rules are to be kept; None: it is unknown, and found out as far as the answers differ."""
    operator: Operator | None = None
    """An operator's account; None: what only operators see is not checked."""
    run_id: str = field(default_factory=lambda: secrets.token_hex(3))
    made: list[str] = field(default_factory=list)
    """The names of devices that were made, as far as the server answered so."""
    _hidden: set[str] = field(default_factory=set, repr=False)
    _count: int = 0

    def __post_init__(self) -> None:
        self._hidden.add(self.secret)
        self.as_release = ReleaseVerdict(self.release)

    @property
    def prefix(self) -> str:
        """The prefix of the names of all devices that are made here."""
        return f"conformance-{self.run_id}-"

    # Requests and their answers.

    def new_name(self) -> str:
        """Return a new name, which no device has."""
        self._count += 1
        return f"{self.prefix}{self._count}"

    def new_token(self) -> str:
        """Return a new token: twenty hex digits, 80 bits."""
        token = secrets.token_hex(10)
        self._hidden.add(token)
        return token

    def request(self, name: str, **fields: Any) -> bytes:
        """Return a provisioning request with the key and secret of the profile.

        Args:
            name: The device's name.
            **fields: More fields, or other values; a field that is `...` is left out.

        Returns:
            The request as JSON.
        """
        usual = {"provisionDeviceKey": self.key, "provisionDeviceSecret": self.secret, "deviceName": name}
        request = {each: value for each, value in {**usual, **fields}.items() if value is not ...}
        self._hide(request)
        return json.dumps(request).encode()

    def read(self, raw: bytes, name: str) -> Answer:
        """Read the answer to a provisioning request.

        Args:
            raw: The answer.
            name: The device's name in the request; it is added to `made` if the answer is SUCCESS.

        Raises:
            Broken: The answer is not a JSON object.
        """
        found = parsed(raw)
        if not isinstance(found, dict):
            text = _LONG_WORD.sub("***", raw.decode(errors="replace"))
            raise Broken(f"the answer is not a JSON object: {text or 'it is empty'}")
        self._hide(found)
        if found.get("status") == SUCCESS and name.strip().startswith(self.prefix) and name.strip() not in self.made:
            self.made.append(name.strip())
        return Answer(found)

    def provision(self, transport: DeviceTransport, name: str, **fields: Any) -> Answer:
        """Request credentials over a transport.

        Args:
            transport: The transport, for which a new connection is opened.
            name: The device's name.
            **fields: As for `request`.

        Returns:
            The answer, of any status.

        Raises:
            Broken: No answer comes, or not a JSON object.
            BenchError: The server is not reached, or not available now.
            NotHere: There is no address for the transport.
        """
        with transport.open(self.addresses) as exchange:
            return self.provision_over(exchange, name, **fields)

    def provision_over(self, exchange: Exchange, name: str, **fields: Any) -> Answer:
        """Request credentials on an open connection.

        Args:
            exchange: The connection, from `DeviceTransport.open`.
            name: The device's name.
            **fields: As for `request`.

        Returns:
            The answer, of any status.

        Raises:
            Broken: No answer comes, or not a JSON object.
            BenchError: The server is not reached, or not available now.
        """
        return self.read(exchange(self.request(name, **fields)), name)

    def operate(self, operation: Callable[[ThingsBoard], Awaitable[None]]) -> None:
        """Run an operation with an operator's account.

        Raises:
            NotHere: There is no account. Besides, whatever the operation raises.
        """
        if self.operator is None:
            raise NotHere("it needs an operator's account: --user and --password-file")
        self.operator(operation)

    # Means of the checks: transports, names and devices.

    @cached_property
    def transports(self) -> list[DeviceTransport]:
        """The transports for which there is an address."""
        return [each for each in TRANSPORTS if self._has(each)]

    @property
    def first(self) -> DeviceTransport:
        """The transport of checks that need any one. Raises NotHere if there is no address for one."""
        if not self.transports:
            raise NotHere("no --url of a transport to provision over was given")
        return self.transports[0]

    @property
    def creates(self) -> bool:
        """True if the profile makes devices. Raises BenchError: no transport answers, or each name is NOT_FOUND."""
        if self._found.trouble:
            raise BenchError(self._found.trouble)
        return self._found.creates

    def expect_creating(self) -> None:
        """Check that the profile makes devices.

        Raises:
            NotHere: It does not: a new name is FAILURE.
            BenchError: No transport answers, or each new name is NOT_FOUND.
        """
        if not self.creates:
            raise NotHere("the profile makes no devices (a new name is FAILURE: CHECK_PRE_PROVISIONED_DEVICES)")

    def newcomer(self) -> str:
        """Return a name whose first request has to succeed: a new one, or one of `names`, which is used up.

        Raises:
            NotHere: The profile makes no devices, and no name is left.
            BenchError: No transport answers, or each new name is NOT_FOUND.
        """
        if self.creates:
            return self.new_name()
        if not self.names:
            raise NotHere("the profile makes no devices, and of those made ahead (--device-name) none is left")
        return self.names.pop(0)

    @cached_property
    def token(self) -> str:
        """The token of one device, for all checks that log in with one; the device is made at the first use.

        Raises NotHere if no name is left for it, BenchError if it cannot be made.
        """
        if self._found.device:
            return self._found.device
        name, errors = self.newcomer(), []
        for transport in self.transports:
            try:
                return self.provision(transport, name).expect_token()
            except (Broken, BenchError) as error:
                errors.append(f"{transport.name}: {error}")
        raise BenchError(f"no device could be had to check this with: {'; '.join(errors)}")

    @cached_property
    def _found(self) -> _Found:
        """Findings of requests for a new device, over one transport after the other until one makes it.

        Raises BenchError if no transport answers; the next check tries again.
        """
        seen: list[Any] = []
        trouble: BenchError | None = None
        for transport in self.transports:
            try:
                answer = self.provision(transport, self.new_name(), token=self.new_token())
            except Broken:
                seen.append(None)
            except BenchError as error:
                trouble = error
            else:
                if answer.status == SUCCESS and is_token(answer.value):
                    return _Found(device=answer.value)
                seen.append(answer.status)
        if FAILURE in seen:
            return _Found(creates=False)
        if NOT_FOUND in seen:
            return _Found(trouble="the server answers NOT_FOUND: are key and secret right, or is the profile DISABLED?")
        if trouble and not seen:
            raise trouble
        return _Found()

    def _has(self, transport: DeviceTransport) -> bool:
        try:
            self.addresses.at(*transport.schemes)
        except NotHere:
            return False
        return True

    # Texts to be shown.

    def shown(self, text: str) -> str:
        """Return a text fit to be shown, without the secrets of the checks."""
        return check.shown(text, self._hidden)

    def _hide(self, fields: dict[str, Any]) -> None:
        self._hidden.update(_texts(fields.get(each) for each in _SECRETS))


def _texts(values: Iterable[Any]) -> Iterator[str]:
    """Yield all texts in these values, also as JSON escapes them, and the digits of numbers."""
    for value in values:
        if isinstance(value, dict):
            yield from _texts(value.values())
        elif isinstance(value, int):
            yield str(value)
        elif isinstance(value, str) and value:
            yield value
            yield json.dumps(value)[1:-1]
