"""Liveness, readiness and metrics endpoints."""

import time

from sqlalchemy import delete, func, insert, select, update
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.orm import Session
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from bench.registry.model import Device, KeyCheck
from bench.server.device_api import DeviceApi
from bench.server.metrics import CONTENT_TYPE

# A commit that succeeded answers for so long: whoever requests it often must not wear the disk out.
_FRESH_S = 5.0
# The id and the size of a row that is there within a transaction only.
_PROBE, _PROBE_BYTES = 2, 64 << 10


def routes(api: DeviceApi) -> list[Route]:
    """Return the routes `/healthz`, `/readyz` and `/metrics`."""
    committed_s = -_FRESH_S

    async def alive(_request: Request) -> Response:
        return JSONResponse({"status": "UP"})

    async def ready(_request: Request) -> Response:
        """Answer whether the database can commit: on a full disk it can be read, but no device can be served."""
        nonlocal committed_s
        now = time.monotonic()
        try:
            if now - committed_s >= _FRESH_S:
                await api.registry.write(_touch)
                committed_s = now
        except (SQLAlchemyError, OSError) as error:
            api.journal.failure(error, transport="http")
            return JSONResponse({"status": "DOWN", "reason": _reason(error)}, status_code=503)
        return JSONResponse({"status": "UP"})

    async def metrics(_request: Request) -> Response:
        api.metrics.devices(await api.registry.read(_count_devices))
        return Response(api.metrics.text(), media_type=CONTENT_TYPE)

    return [Route("/healthz", alive), Route("/readyz", ready), Route("/metrics", metrics)]


def _touch(session: Session) -> None:
    """Write, and have the database grow for a moment: it must have room for that, and the disk for the log."""
    session.execute(update(KeyCheck).values(sealed=KeyCheck.sealed))
    session.execute(insert(KeyCheck).values(id=_PROBE, sealed=bytes(_PROBE_BYTES)))
    session.execute(delete(KeyCheck).where(KeyCheck.id == _PROBE))


def _count_devices(session: Session) -> int:
    return session.scalar(select(func.count()).select_from(Device)) or 0


def _reason(error: Exception) -> str:
    """Return the database's name for an error, and nothing of its text."""
    name = getattr(getattr(error, "orig", None), "sqlite_errorname", "")
    return (
        "the disk is full"
        if name == "SQLITE_FULL"
        else f"the database does not commit ({name or type(error).__name__})"
    )
