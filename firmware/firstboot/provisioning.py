"""The provisioning exchange (ThingsBoard's device provisioning, JSON form): requests and answers."""

import json

from firstboot import credentials, memory
from firstboot.errors import NetworkError, NotFound, ProtocolError
from firstboot.settings import Settings, loads

SUCCESS = "SUCCESS"
NOT_FOUND = "NOT_FOUND"
FAILURE = "FAILURE"
# Of this project's server only: the answer to a request that asks for a nonce.
NONCE = "NONCE"


def request(
    settings: Settings, name: str, own: dict[str, str] | None, held: list[dict[str, str]]
) -> tuple[str, dict[str, str] | None]:
    """Request credentials from the server.

    Args:
        settings: the board's own.
        name: the device's name.
        own: the credential that the device brings; None: the server chooses one.
        held: all credentials in the vault.

    Returns:
        `(status, credential or None)`: `SUCCESS` with one, `NOT_FOUND` or `FAILURE`.

    Raises:
        NetworkError: no valid answer, which says nothing about what the server did.
        NotFound: the server does not know proofs.
        PlaintextRefused, SettingsError: as the transport does, before anything is sent.
    """
    exchange = _exchange(settings.text("provision.transport"))
    fields = {"deviceName": name, "provisionDeviceKey": settings.text("provision.key"), "provisionDeviceSecret": ""}
    if own:
        fields.update(credentials.request_fields(own))
    if settings.flag("provision.proof"):
        _prove(settings, name, fields, exchange)
    else:
        fields["provisionDeviceSecret"] = settings.text("provision.secret")
    status, answer = _query(settings, name, fields, exchange)
    if status == NONCE:
        raise ProtocolError("the server answered with a nonce that was not asked for")
    return status, credentials.from_answer(answer, held) if status == SUCCESS else None


def _exchange(transport: str) -> object:
    # only the one that is needed: each costs heap
    if transport == "http":
        from firstboot.transports import http

        return http.exchange
    if transport == "coap":
        from firstboot.transports import coap

        return coap.exchange
    from firstboot.transports import mqtt

    return mqtt.exchange


def _query(settings: Settings, name: str, fields: dict[str, str], exchange: object) -> tuple[str, dict[str, object]]:
    """Return the answer to one request. Raises as the transport does, with the port for provisioning in it."""
    try:
        return read_answer(exchange(settings, name, json.dumps(fields)))  # type: ignore[operator]
    except NetworkError as error:
        from firstboot import address

        raise address.of_provisioning(error, settings)


def _prove(settings: Settings, name: str, fields: dict[str, str], exchange: object) -> None:
    """Put a proof of the secret into the request in place of the secret."""
    from firstboot import proof

    nonce_request = {
        "deviceName": name,
        "provisionDeviceKey": fields["provisionDeviceKey"],
        "provisionDeviceSecret": "",
        "proof": "nonce",
    }
    status, answer = _query(settings, name, nonce_request, exchange)
    nonce = answer.get("nonce")
    if status == NOT_FOUND:
        raise NotFound("the server does not know proofs: unset provision.proof, or use a server that does")
    if status != NONCE or not isinstance(nonce, str):
        raise ProtocolError("the server did not answer with a nonce")
    fields["provisionDeviceNonce"] = nonce
    fields["provisionDeviceProof"] = proof.make(settings.text("provision.secret"), nonce, fields)


def read_answer(payload: bytes | memoryview) -> tuple[str, dict[str, object]]:
    """Return `(status, the whole answer)`.

    Raises:
        ProtocolError: for an invalid answer. The message never quotes the payload: it may hold a secret.
    """
    if not memory.is_affordable(payload):
        raise ProtocolError("the answer is too large, or nested too deep (%d bytes)" % len(payload))
    try:
        answer = loads(payload)
    except (ValueError, UnicodeError):
        raise ProtocolError("the answer is not JSON (%d bytes)" % len(payload))
    if not isinstance(answer, dict):
        raise ProtocolError("the answer is not a JSON object")
    status = answer.get("status")
    if status not in (SUCCESS, NOT_FOUND, FAILURE, NONCE):
        raise ProtocolError("the answer has an unknown status")
    return str(status), answer
