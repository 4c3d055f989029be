"""MQTT: how devices are notified of packages, and fetch them chunk by chunk."""

import asyncio
import json
from typing import Any

from bench.conformance.check import Broken, NotHere
from bench.conformance.server import mqtt_wire
from bench.conformance.server.answers import parsed
from bench.conformance.server.check_list import CheckList
from bench.conformance.server.mqtt import expect_granted
from bench.conformance.server.mqtt_devices import ATTRIBUTES
from bench.conformance.server.mqtt_wire import PUBACK, PUBLISH, MqttConnection
from bench.conformance.server.package_cases import PARTS, SIZE, SOURCE, PackageCase, new_package, with_package
from bench.conformance.server.subject import CheckedServer
from bench.mqtt.client_packets import publish

_ERROR = "v2/fw/error"
_GIVEN = {f"fw_{key}" for key in ("title", "version", "size", "checksum_algorithm", "checksum")}
_MISSING = {"fw_tag", "fw_url"}
_KEYS = {*_GIVEN, *_MISSING, "fw_ts", "fw_state"}
_TOO_LARGE = b"65537"
# A session that has just subscribed may miss what changes at that moment.
_SETTLED_S = 0.1

checks = CheckList()


@checks.add("mqtt.package.notified", SOURCE)
def _notified(server: CheckedServer) -> None:
    """A device that is assigned a package gets its title, version, size and checksum as attributes, and no others."""

    async def assign(case: PackageCase) -> None:
        expected = {
            "fw_title": case.package["title"],
            "fw_version": case.package["version"],
            "fw_size": len(case.content),
            "fw_checksum_algorithm": "SHA256",
            "fw_checksum": case.package["checksum"],
        }
        with mqtt_wire.session(server.addresses, case.token) as line:
            await _listen(line)
            await case.assign()
            found: dict[str, Any] = {}
            while not expected.keys() <= found.keys():
                change = _change(line, f"{', '.join(sorted(expected.keys() - found.keys()))} of the package")
                if "deleted" not in change:
                    found |= change
        if found != expected:
            raise Broken(f"the attributes are {json.dumps(found)} instead of {json.dumps(expected)}")

    with_package(server, assign, "mqtt", "mqtts")


@checks.add("mqtt.package.keys_that_do_not_apply", SOURCE)
def _keys_that_do_not_apply(server: CheckedServer) -> None:
    """With a package comes, before its attributes or after, that keys which do not apply are deleted: tag or URL."""

    async def assign(case: PackageCase) -> None:
        with mqtt_wire.session(server.addresses, case.token) as line:
            await _listen(line)
            await case.assign()
            found = _deleted(line)
        if not found & _MISSING or found & _GIVEN:
            raise Broken(f"deleted are {', '.join(sorted(found))} instead of {' or '.join(sorted(_MISSING))}")

    with_package(server, assign, "mqtt", "mqtts")


@checks.add("mqtt.package.taken_away", SOURCE)
def _taken_away(server: CheckedServer) -> None:
    """A package that is taken away is one notification of nine keys that are deleted."""

    async def unassign(case: PackageCase) -> None:
        await case.assign()
        with mqtt_wire.session(server.addresses, case.token) as line:
            await _listen(line)
            await case.unassign()
            found = _deleted(line)
        if found != _KEYS:
            raise Broken(f"deleted are {', '.join(sorted(found))} instead of {', '.join(sorted(_KEYS))}")

    with_package(server, unassign, "mqtt", "mqtts")


@checks.add("mqtt.package.chunks", SOURCE)
def _chunks(server: CheckedServer) -> None:
    """Each chunk follows its PUBACK; the size counts for those after it, the last is short, those past it are empty."""

    async def fetch(case: PackageCase) -> None:
        with mqtt_wire.session(server.addresses, case.token) as line:
            _subscribe(line, "fw")
            await case.assign()
            for number in range(PARTS + 1):
                _expect_chunk(line, 1, number, str(SIZE).encode() if not number else b"", case.part(number))

    with_package(server, fetch, "mqtt", "mqtts")


@checks.add("mqtt.package.whole", SOURCE)
def _whole(server: CheckedServer) -> None:
    """Without a size, and with 0, all of the content comes at once."""

    async def fetch(case: PackageCase) -> None:
        with mqtt_wire.session(server.addresses, case.token) as line:
            _subscribe(line, "fw")
            await case.assign()
            for request, size in enumerate((b"", b"0")):
                _expect_chunk(line, request, 0, size, case.content)

    with_package(server, fetch, "mqtt", "mqtts")


@checks.add("mqtt.package.keeps_to_its_request", SOURCE)
def _keeps_to_its_request(server: CheckedServer) -> None:
    """A request's id goes on with the package that it began with, though another was assigned; a new id has that."""

    async def fetch(case: PackageCase) -> None:
        async with new_package(case.operator, server) as (other, content):
            try:
                with mqtt_wire.session(server.addresses, case.token) as line:
                    _subscribe(line, "fw")
                    await case.assign()
                    _expect_chunk(line, 1, 0, str(SIZE).encode(), case.part(0))
                    await case.assign(other)
                    _expect_chunk(line, 1, 1, b"", case.part(1))
                    _expect_chunk(line, 2, 0, str(SIZE).encode(), content[:SIZE])
            finally:  # the other one is deleted before the device
                await case.assign()

    with_package(server, fetch, "mqtt", "mqtts")


@checks.add("mqtt.package.none", SOURCE)
def _none(server: CheckedServer) -> None:
    """A chunk of a package that the device does not have is NOT_FOUND on v2/fw/error, also for sw, and the end."""
    for kind in ("fw", "sw"):
        _expect_error(server, kind, str(SIZE).encode(), b"NOT_FOUND")


@checks.add("mqtt.package.large_chunk", SOURCE)
def _large_chunk(server: CheckedServer) -> None:
    """A chunk of more than 65536 bytes is PAYLOAD_TOO_LARGE on v2/fw/error, and the end."""
    _expect_error(server, "fw", _TOO_LARGE, b"PAYLOAD_TOO_LARGE")


@checks.add("mqtt.package.subscriptions", SOURCE)
def _subscriptions(server: CheckedServer) -> None:
    """Subscriptions to chunks and errors are granted as they are written in the documentation, others refused."""
    wanted = [(f"v2/{kind}/{rest}", 0) for kind in ("fw", "sw") for rest in ("response/+/chunk/+", "error")]
    refused = [("v2/fw/response/#", 0)]
    with mqtt_wire.session(server.addresses, server.token) as line:
        expect_granted(line, 1, wanted + refused, [0] * len(wanted) + [0x80])


async def _listen(line: MqttConnection) -> None:
    """Subscribe to attributes, whose changes come from then on."""
    expect_granted(line, 1, [(ATTRIBUTES, 0)], [0])
    await asyncio.sleep(_SETTLED_S)


def _subscribe(line: MqttConnection, kind: str) -> None:
    expect_granted(line, 1, [(f"v2/{kind}/response/+/chunk/+", 0), (_ERROR, 0)], [0, 0])


def _change(line: MqttConnection, wanted: str) -> dict[str, Any]:
    """Return the next notification of attributes. Raises Broken, which names what is waited for."""
    try:
        found = line.receive()
    except Broken as error:
        raise Broken(f"{wanted} never came: {error}") from error
    if found is None or found.kind != PUBLISH or found.message[0] != ATTRIBUTES:
        raise Broken(f"{found or 'the end'} came instead of {wanted}")
    change = parsed(found.message[1])
    if not isinstance(change, dict):
        raise Broken("a notification of attributes is not a JSON object")
    return change


def _deleted(line: MqttConnection) -> set[str]:
    """Return the keys of the next notification of deleted ones. Raises Broken."""
    while "deleted" not in (change := _change(line, "a notification of deleted keys")):
        pass
    found = change["deleted"]
    if not isinstance(found, list):
        raise Broken("the keys that are deleted are not a list")
    return set(map(str, found))


def _expect_chunk(line: MqttConnection, request: int, number: int, size: bytes, part: bytes) -> None:
    """Ask for a chunk, and expect PUBACK and then this part. Raises Broken."""
    packet_id = 1 + request * (PARTS + 1) + number
    line.send(publish(f"v2/fw/request/{request}/chunk/{number}", size, packet_id=packet_id))
    found = line.expect(PUBACK).packet_id
    if found != packet_id:
        raise Broken(f"PUBACK for {found:#x} instead of {packet_id:#x}")
    topic, payload = line.expect(PUBLISH).message
    if topic != f"v2/fw/response/{request}/chunk/{number}":
        raise Broken(f"chunk {number} of request {request} came on {topic}")
    if payload != part:
        raise Broken(f"chunk {number} has {len(payload)} bytes, not the {len(part)} of the content")


def _expect_error(server: CheckedServer, kind: str, size: bytes, error: bytes) -> None:
    """Ask for a chunk of no package, and expect this on the topic of errors, and the end. Raises Broken."""
    with mqtt_wire.session(server.addresses, server.token) as line:
        _subscribe(line, kind)
        line.send(publish(f"v2/{kind}/request/1/chunk/0", size))
        while (found := line.receive()) is not None and found.kind != PUBLISH:
            pass
        if found is None:
            raise Broken(f"the end came for {kind} without a word on {_ERROR}")
        topic, payload = found.message
        if topic == f"v2/{kind}/response/1/chunk/0" and payload and size != _TOO_LARGE:
            raise NotHere("the profile's devices have a package already")
        if (topic, payload) != (_ERROR, error):
            raise Broken(f"{len(payload)} bytes came on {topic} instead of {error.decode()} on {_ERROR}")
        line.expect_closed()
