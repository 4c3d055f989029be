"""HTTP, CoAP and operators: content of packages, as devices fetch it and operators store it."""

import asyncio
import json
import time
from collections.abc import Awaitable
from typing import Any
from urllib.parse import urlencode

from aiocoap import GET

from bench.conformance.check import Broken, NotHere
from bench.conformance.server import coap_wire, http_wire
from bench.conformance.server.check_list import CheckList
from bench.conformance.server.package_cases import PARTS, SIZE, SOURCE, PackageCase, with_package
from bench.conformance.server.subject import CheckedServer
from bench.rest_client import Declined, ThingsBoard, id_of

_OK, _BAD_REQUEST, _UNAUTHORIZED, _NOT_FOUND = 200, 400, 401, 404
_PAUSE_S = 0.05

checks = CheckList()


@checks.add("http.package.content", SOURCE)
def _http_content(server: CheckedServer) -> None:
    """The content comes whole and in chunks to who names title and version; of another version it is 400."""

    async def fetch(case: PackageCase) -> None:
        await case.assign()
        for query, code, content in (
            ({}, _OK, case.content),
            ({"size": SIZE, "chunk": 0}, _OK, case.part(0)),
            ({"size": SIZE, "chunk": PARTS - 1}, _OK, case.part(PARTS - 1)),
            ({"version": "another"}, _BAD_REQUEST, None),
        ):
            named = {"title": case.package["title"], "version": case.package["version"], **query}
            path = f"/api/v1/{case.token}/firmware?{urlencode(named)}"
            found = await asyncio.to_thread(http_wire.request, server.addresses, "GET", path, content_type=None)
            _expect_content(_what(query), found.code, found.body, code, content)

    with_package(server, fetch, "http", "https")


@checks.add("http.package.none", SOURCE)
def _http_none(server: CheckedServer) -> None:
    """Without a package it is 404, without title and version 400, with an unknown token 401."""
    named = "?" + urlencode({"title": server.new_name(), "version": "1"})
    for token, what, code in (
        (server.token, f"firmware{named}", _NOT_FOUND),
        (server.token, f"software{named}", _NOT_FOUND),
        (server.token, "firmware", _BAD_REQUEST),
        (server.new_token(), f"firmware{named}", _UNAUTHORIZED),
    ):
        found = http_wire.request(server.addresses, "GET", f"/api/v1/{token}/{what}", content_type=None).code
        if (found, code) == (_BAD_REQUEST, _NOT_FOUND):
            raise NotHere("the profile's devices have a package already")
        if found != code:
            raise Broken(f"it is {found} instead of {code}")


@checks.add("coap.package.content", SOURCE)
def _coap_content(server: CheckedServer) -> None:
    """The content comes in chunks, with 2.05, also to who names title and version; of another version it is 4.00."""

    async def fetch(case: PackageCase) -> None:
        await case.assign()
        named = (f"title={case.package['title']}", f"version={case.package['version']}")
        with coap_wire.peer(server.addresses) as peer:
            for query, code, content in (
                ((f"size={SIZE}", "chunk=0"), "2.05", case.part(0)),
                ((*named, f"size={SIZE}", f"chunk={PARTS - 1}"), "2.05", case.part(PARTS - 1)),
                (("version=another", f"size={SIZE}", "chunk=0"), "4.00", None),
            ):
                found = peer.exchange(peer.request(GET, f"fw/{case.token}", uri_query=query))
                _expect_content(", ".join(query[-2:]), found.code.dotted, bytes(found.payload), code, content)

    with_package(server, fetch, "coap")


@checks.add("coap.package.none", SOURCE)
def _coap_none(server: CheckedServer) -> None:
    """Without a package it is 4.04, with an unknown token 4.01."""
    with coap_wire.peer(server.addresses) as peer:
        for token, kind, code in (
            (server.token, "fw", "4.04"),
            (server.token, "sw", "4.04"),
            (server.new_token(), "fw", "4.01"),
        ):
            found = peer.exchange(peer.request(GET, f"{kind}/{token}", uri_query=(f"size={SIZE}", "chunk=0")))
            if code == "4.04" and found.payload and found.code.is_successful():
                raise NotHere("the profile's devices have a package already")
            if found.code.dotted != code:
                raise Broken(f"it is {found.code.dotted} instead of {code}")


@checks.add("operator.package", SOURCE)
def _operators_package(server: CheckedServer) -> None:
    """A wrong checksum is refused, so is deleting what a device has; its telemetry says which, and INITIATED."""

    async def look(case: PackageCase) -> None:
        form = {"type": "FIRMWARE", "title": server.new_name(), "version": "1"}
        empty = await case.operator.post("/api/otaPackage", form)
        try:
            if not await _is_refused(_upload(case.operator, empty, case.content, "0" * 64)):
                raise Broken("content was stored with a wrong checksum")
        finally:
            await case.operator.delete_package(id_of(empty))
        await case.assign()
        if not await _is_refused(case.operator.delete_package(id_of(case.package))):
            raise Broken("a package was deleted that a device is assigned")
        expected = {
            "target_fw_title": case.package["title"],
            "target_fw_version": case.package["version"],
            "fw_state": "INITIATED",
        }
        deadline = time.monotonic() + server.addresses.patience_s
        while True:
            latest = await case.operator.latest(id_of(case.device))
            found = {key: value for key, (_, value) in latest.items() if key in expected}
            if found == expected:
                return
            if time.monotonic() > deadline:
                raise Broken(f"the telemetry is {json.dumps(found)} instead of {json.dumps(expected)}")
            await asyncio.sleep(_PAUSE_S)

    with_package(server, look, "http", "https")


async def _upload(operator: ThingsBoard, package: dict[str, Any], content: bytes, checksum: str) -> None:
    await operator.request(
        "POST",
        f"/api/otaPackage/{id_of(package)}",
        params={"checksumAlgorithm": "SHA256", "checksum": checksum},
        files={"file": ("check.bin", content, "application/octet-stream")},
    )


async def _is_refused(request: Awaitable[None]) -> bool:
    try:
        await request
    except Declined:
        return True
    return False


def _expect_content(what: str, found: object, body: bytes, code: object, content: bytes | None) -> None:
    if found != code:
        raise Broken(f"{what} is {found} instead of {code}")
    if content is not None and body != content:
        raise Broken(f"{what} has {len(body)} bytes, not the {len(content)} of the content")


def _what(query: dict[str, Any]) -> str:
    return " and ".join(f"{name} {value}" for name, value in query.items()) or "the whole content"
