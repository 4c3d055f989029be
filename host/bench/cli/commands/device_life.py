"""`bench device deactivate`, `activate`, `decommission` and `serial`; the options by which devices are found."""

from collections.abc import Awaitable, Callable, Mapping
from enum import StrEnum
from typing import Annotated, Any

import typer

from bench.cli.options import keyboard
from bench.cli.options.operator_session import with_server
from bench.cli.render import tables
from bench.cli.render.tables import Json
from bench.registry.device_states import Status
from bench.rest_client import ThingsBoard, id_of


class State(StrEnum):
    """A step of a device's life, or what ended it."""

    DEFINED = "defined"
    ACTIVATED = "activated"
    PROVISIONED = "provisioned"
    ASSOCIATED = "associated"
    DEACTIVATED = "deactivated"
    DECOMMISSIONED = "decommissioned"


_ACCESS = (State.DEACTIVATED, State.DECOMMISSIONED)
_TIMES = ("activated", "provisioned", "associated", "deactivated", "decommissioned")

StateOption = Annotated[State | None, typer.Option(help="Only devices that have come so far, and no farther.")]
StatusOption = Annotated[Status | None, typer.Option(help="Only devices with this connectivity status.")]
SerialOption = Annotated[str, typer.Option("--serial", help="Only devices with this serial number.")]
Names = Annotated[list[str], typer.Argument(metavar="NAME...", help="The devices.", show_default=False)]


async def rows(
    server: ThingsBoard,
    search: str,
    *,
    state: State | None,
    status: Status | None,
    serial_number: str,
    fields: Mapping[str, str],
) -> list[dict[str, Any]]:
    """Return what a list shows of the devices that options ask for."""
    custom = {f"field.{name}": value for name, value in fields.items()}
    wanted = {
        "access" if state in _ACCESS else "provisioningState": state,
        "connectivityStatus": status,
        "serialNumber": serial_number,
    }
    found = await server.devices_with({**{key: str(value) for key, value in wanted.items() if value}, **custom}, search)
    return [
        {
            "name": each["name"],
            "profile": each["type"],
            "serial_number": each["serialNumber"],
            "state": each["provisioningState"],
            "access": each["access"],
            "status": each["connectivityStatus"],
            **{name: each[f"field.{name}"] for name in fields},
            "created": tables.utc_time(int(each["createdTime"])),
        }
        for each in found
    ]


async def view(server: ThingsBoard, device_id: str) -> dict[str, Any]:
    """Return how far a device has come, for output; nothing if the server keeps no such thing."""
    record = await server.lifecycle(device_id)
    if record is None:
        return {}
    times = {each: record[f"{each}Time"] for each in _TIMES}
    pending = {"wipe_pending": record["wipePending"]} if record["decommissionedTime"] else {}
    return {
        "id": device_id,
        "serial_number": record["serialNumber"] or "",
        "state": record["provisioningState"],
        "access": record["access"],
        "status": record["connectivityStatus"],
        **{each: tables.utc_time(at) for each, at in times.items() if at is not None},
        **pending,
    }


@with_server()
async def serial(server: ThingsBoard, name: str, serial_number: str) -> None:
    """Set the serial number of a device: the maker's own, which two devices may share. "" removes it."""
    await server.set_serial_number(await server.device_id(name), serial_number)
    tables.echo(f"{name} has the serial number {serial_number}" if serial_number else f"{name} has no serial number")


async def _change(
    devices: list[dict[str, Any]], change: Callable[[str], Awaitable[Any]], done: str, effect: str, *, as_json: bool
) -> None:
    """Change devices one after the other, and say of each that it is done."""
    for each in devices:
        await change(id_of(each))
        if not as_json:
            tables.echo(f"{done} {each['name']}: {effect}")
    if as_json:
        tables.print_json({done: [each["name"] for each in devices]})


async def _named(server: ThingsBoard, names: list[str]) -> list[dict[str, Any]]:
    return [await server.device(each) for each in dict.fromkeys(names)]


@with_server()
async def deactivate(server: ThingsBoard, names: Names, as_json: Json = False) -> None:
    """Have devices neither log in nor provision, until they are activated; their sessions end at once."""
    effect = "it is refused as an unknown device is"
    await _change(await _named(server, names), server.deactivate, "deactivated", effect, as_json=as_json)


@with_server()
async def activate(server: ThingsBoard, names: Names, as_json: Json = False) -> None:
    """Let devices in again that were deactivated.

    The state `activated` is another thing: a device with credentials.
    """
    await _change(await _named(server, names), server.activate, "activated", "it may log in", as_json=as_json)


@with_server()
async def decommission(
    server: ThingsBoard,
    names: Names,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask for confirmation.")] = False,
    as_json: Json = False,
) -> None:
    """End the life of devices: for ever, no device gets their names and credentials again.

    Each is ordered to wipe itself when it logs in the next time, over MQTT; then it is refused, too.
    """
    devices = await _named(server, names)
    if not yes:
        what = ", ".join(each["name"] for each in devices)
        keyboard.confirm(f"Decommission {what}, for ever?", "nothing was decommissioned")
    effect = "it is ordered to wipe itself when it logs in the next time"
    await _change(devices, server.decommission, "decommissioned", effect, as_json=as_json)
