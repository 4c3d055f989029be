"""The route of imports: many devices at once, from CSV."""

from fastapi import Request
from sqlalchemy.orm import Session

from bench.errors import BenchError, Refused
from bench.registry import import_cells, imports
from bench.registry.batching import Conflict
from bench.registry.credentials import RefusedCredentials
from bench.registry.import_cells import ImportColumn, ImportLine
from bench.registry.imports import ImportedDevice
from bench.registry.model import Device
from bench.server import json_reader
from bench.server.http.operator.api_router import ApiRouter
from bench.server.http.operator.authorization import AuthenticatedRoute, Caller, Operator
from bench.server.http.operator.errors import Failed
from bench.server.http.operator.schemas.imports import ImportForm, ImportResult
from bench.server.presence import SessionEnd

router = ApiRouter(AuthenticatedRoute, "devices")


LINES = 50_000
"""Lines of one import."""
# Whether the client is still there is looked up once in so many lines.
_LOOK = 16


@router.post("/device/bulk_import", summary="Create or change devices from CSV, each line for itself")
async def bulk_import(form: ImportForm, caller: Operator, request: Request) -> ImportResult:
    """Import line by line. It ends when its client leaves: nobody would learn the result."""
    if form.file.count("\n") > LINES:
        raise Refused(f"An import may have at most {LINES} lines: split it")
    mapping = form.mapping
    if not form.file.strip():
        raise Failed("the file is empty")
    columns = [ImportColumn(each.type, each.key or "") for each in mapping.columns]
    counts = {True: 0, False: 0}
    errors = []
    release = caller.api.registry.release
    lines = import_cells.lines(form.file, columns, delimiter=mapping.delimiter, header=mapping.header, release=release)
    for line in lines:
        if line.number % _LOOK == 0 and await request.is_disconnected():
            caller.api.log("import_stopped", caller.source, user=caller.user.email, line=line.number)
            break
        line.values = {column: json_reader.stored(value) for column, value in line.values.items()}
        try:
            done = await _store(caller, line, update=mapping.update)
        except (BenchError, Conflict) as error:
            errors.append(f"Line {line.number}: {_reason(error)}")
        else:
            counts[done.created] += 1
    return ImportResult(created=counts[True], updated=counts[False], errors=len(errors), errors_list=errors)


def _reason(error: BenchError | Conflict) -> str:
    """Return why a line was not stored, as ThingsBoard writes it: with the name of its exception."""
    if isinstance(error, Conflict):
        return "EntityVersionMismatchException: somebody else changed this device at the same time"
    kind = "DeviceCredentials" if isinstance(error, RefusedCredentials) else "Data"
    return f"{kind}ValidationException: {error}"


async def _store(caller: Caller, line: ImportLine, *, update: bool) -> ImportedDevice:
    def change(session: Session) -> tuple[Device, ImportedDevice]:
        done = imports.store(session, line, update=update)
        return done.device, done

    done = await caller.change("device.imported", line.fields.get("NAME", ""), change)
    if done.new_credentials:
        caller.api.presence.notify_session_end(done.device.id, SessionEnd.CREDENTIALS_CHANGED)
    return done
