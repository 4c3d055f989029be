"""The route of imports: many devices at once, from CSV."""

from fastapi import APIRouter
from sqlalchemy.orm import Session

from bench.errors import BenchError
from bench.registry import imports
from bench.registry.batching import Conflict
from bench.registry.imports import ImportColumn, ImportedDevice, ImportLine
from bench.server.http.operator.authorization import Caller, LargeRoute, Operator
from bench.server.http.operator.schemas.imports import ImportForm, ImportResult
from bench.server.presence import SessionEnd

router = APIRouter(route_class=LargeRoute, tags=["devices"])


@router.post("/device/bulk_import", summary="Create or change devices from CSV, each line for itself")
async def bulk_import(form: ImportForm, caller: Operator) -> ImportResult:
    mapping = form.mapping
    columns = [ImportColumn(each.type, each.key or "") for each in mapping.columns]
    counts = {True: 0, False: 0}
    errors = []
    for line in imports.lines(form.file, columns, delimiter=mapping.delimiter, header=mapping.header):
        try:
            done = await _store(caller, line, update=mapping.update)
        except (BenchError, Conflict) as error:
            reason = error if isinstance(error, BenchError) else "somebody else changed this device at the same time"
            errors.append(f"Line {line.number}: {reason}")
        else:
            counts[done.created] += 1
    return ImportResult(created=counts[True], updated=counts[False], errors=len(errors), errors_list=errors)


async def _store(caller: Caller, line: ImportLine, *, update: bool) -> ImportedDevice:
    def change(session: Session) -> tuple[str, ImportedDevice]:
        done = imports.store(session, line, update=update)
        return done.name, done

    done = await caller.change("device.imported", line.fields.get("NAME", ""), change)
    if done.new_credentials:
        caller.api.presence.notify_session_end(done.device_id, SessionEnd.CREDENTIALS_CHANGED)
    if done.shared:
        caller.api.presence.notify_attributes(done.device_id, done.shared, [])
    return done
