"""The routes of WebSockets: `/api/ws`, and as older clients have it."""

from starlette.routing import BaseRoute, WebSocketRoute
from starlette.websockets import WebSocket

from bench.server.http.operator.authorization import Operators
from bench.server.http.operator.live.session import LiveSession
from bench.server.http.operator.schemas.websocket import Commands, OldCommands
from bench.server.http.websocket_connection import EXTENSION

PATH = "/api/ws"
_BAD_DATA = 1007


def routes(operators: Operators) -> list[BaseRoute]:
    """Return the routes of WebSockets."""

    async def live(websocket: WebSocket) -> None:
        await LiveSession(websocket, operators, Commands).run()

    async def telemetry(websocket: WebSocket) -> None:
        await LiveSession(websocket, operators, OldCommands).run()

    return [
        WebSocketRoute(PATH, live),
        WebSocketRoute(f"{PATH}/plugins/telemetry", telemetry),
        WebSocketRoute(f"{PATH}/{{kind:path}}", _unknown),
    ]


async def _unknown(websocket: WebSocket) -> None:
    await websocket.accept()
    websocket.scope["extensions"][EXTENSION].end(_BAD_DATA, "Unknown session type")
