"""`bench profile template` and `bench device fields`: what devices have by their profile, and of their own."""

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

import typer

from bench.cli import file_kinds, template_files
from bench.cli.file_kinds import FileKind
from bench.cli.options import text_files
from bench.cli.options.operator_session import with_server
from bench.cli.render import tables
from bench.cli.render.tables import Json
from bench.contract.templates import Field, Template, Value, ValueType
from bench.errors import NotFound, UsageError
from bench.rest_client import ThingsBoard, id_of

_ELSEWHERE = "this server keeps no templates: only bench serve does"

FieldOption = Annotated[
    list[str],
    typer.Option("--field", metavar="NAME=VALUE", help="A field of its profile's template. Repeatable."),
]


@with_server()
async def template(
    server: ThingsBoard,
    name: str,
    file: Annotated[
        Path | None,
        typer.Option(help="A TOML file with another template, as this command prints it; - for standard input."),
    ] = None,
    as_json: Json = False,
) -> None:
    """Show what devices of a profile inherit, as TOML, after replacing it if there is a file.

    A template has fields (each with a type: text, number or boolean, and a default or required = true), telemetry (each
    key with a type and a unit, for people to read), the topics of devices at a broker, and the naming of new ones. A
    change shows at once; the values that devices have of their own stay.
    """
    if file:
        file_kinds.check(file, FileKind.TEMPLATE)
    wanted = template_files.parse(text_files.read(file), str(file)) if file else None
    profile_id = id_of(await server.profile(name))
    if wanted is not None:
        await server.set_template(profile_id, wanted)
    found = await server.template(profile_id)
    if found is None:
        raise NotFound(_ELSEWHERE)
    if as_json:
        tables.print_json(found.to_json())
        return
    if wanted is not None:
        tables.echo(f"# changed the template of {name}")
    tables.write(template_files.text(found))


@with_server()
async def fields(
    server: ThingsBoard,
    name: str,
    assign: Annotated[list[str], typer.Option("--set", metavar="NAME=VALUE", help="A field to set. Repeatable.")] = [],  # noqa: B006
    delete_names: Annotated[
        list[str],
        typer.Option("--delete", metavar="NAME", help="A field to have the template's value again. Repeatable."),
    ] = [],  # noqa: B006
    as_json: Json = False,
) -> None:
    """Set and delete a device's own values of its profile's fields, and show them all.

    A value of a field that the template does not have any more is hidden: it is back as soon as the field is.
    """
    changes = assignments("--set", assign)
    device_id = await server.device_id(name)
    found = await server.inherited(device_id)
    if found is None:
        raise NotFound(_ELSEWHERE)
    if changes or delete_names:
        known = {each: Field(type=ValueType(field["type"])) for each, field in found["fields"].items()}
        values = Template(fields=known).read(changes)
        found = await server.change_fields(device_id, {**values, **dict.fromkeys(delete_names)})
    rows = [
        {"name": each, "value": field["value"], "from": "device" if field["own"] else "template", "type": field["type"]}
        for each, field in found["fields"].items()
    ]
    rows += [{"name": each, "value": value, "from": "hidden", "type": ""} for each, value in found["hidden"].items()]
    shown = rows if as_json else [{**row, "value": "" if row["value"] is None else row["value"]} for row in rows]
    tables.table(shown, as_json=as_json, empty=f"{name} has no fields: see bench profile template.")


def view(found: dict[str, Any] | None) -> dict[str, Any]:
    """Return what a device has by its template, for output; nothing if the server keeps no such thing."""
    if found is None:
        return {}
    return {
        "fields": {name: each["value"] for name, each in found["fields"].items()},
        "telemetry_types": {key: f"{each['type']} {each['unit']}".strip() for key, each in found["telemetry"].items()},
        "topics": found["topics"],
    }


async def values_for(server: ThingsBoard, profile: str, assign: Sequence[str]) -> dict[str, Value]:
    """Return the values that `--field` gives a new device of a profile.

    Raises:
        Refused: They do not fit the profile's template, or lack a required field.
        NotFound: The server keeps no templates.
    """
    written = assignments("--field", assign)
    found = await server.template(id_of(await server.profile(profile)))
    if found is None and written:
        raise NotFound(_ELSEWHERE)
    return (found or Template()).read_new(written)


def assignments(option: str, texts: Sequence[str]) -> dict[str, str]:
    """Return the texts of an option by their names. Raises UsageError for one that has no value."""
    found: dict[str, str] = {}
    for each in texts:
        name, equals, value = each.partition("=")
        if not name or not equals:
            raise UsageError(f"{option} {each}: write NAME=VALUE")
        found[name] = value
    return found
