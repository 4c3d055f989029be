"""Carries an update out: from the attributes that assign it to the restart that tries it.

Attributes, telemetry and states are ThingsBoard's (`fw_title`, ..., `fw_state`). What is in force is compared with what
is assigned, at each login and each change: so nothing has to be assigned twice, and a power cut costs a restart.
"""

import json
import os

from micropython import const

from firstboot import board, events, memory, temporary
from firstboot.errors import VaultError
from firstboot.mqtt import Mqtt
from firstboot.settings import Settings
from firstboot.update import install, package, trees
from firstboot.update.chunks import Chunks
from firstboot.update.errors import Delayed, Refused

_TELEMETRY = "v1/devices/me/telemetry"
# A version that failed so often is not tried again until it is assigned anew.
_TRIES = const(2)
# Longer than any update.
_LONG_MS = const(86400000)
_MEMORY_MS = const(600000)
_STEP = const(10)  # of progress, percent


def run(client: Mqtt, settings: Settings, handler: object) -> None:
    """Do what the attributes ask for, or have it tried again later; the board restarts at the end of an update.

    Args:
        client: the session.
        settings: the board's own.
        handler: `rpc.Handler`, with the attributes; it gets each message that comes meanwhile.

    Raises:
        NetworkError: as every use of `client`.
        SystemExit: where a restart is that.
    """
    wanted = handler.wanted  # type: ignore[attr-defined]
    handler.update_ms = events.uptime_ms() + _LONG_MS  # type: ignore[attr-defined]

    def handle(topic: bytes, payload: memoryview | None, size: int) -> None:
        handler.handle(client, topic, payload, size)  # type: ignore[attr-defined]
        if handler.wanted != wanted:  # type: ignore[attr-defined]
            raise Delayed("something else is assigned", 0)

    wait_ms = 0
    try:
        for kind in trees.KINDS:
            update = _Update(client, settings, kind, wanted, handle)
            wait_ms = max(wait_ms, update.attempt(handler.is_new))  # type: ignore[attr-defined]
    finally:
        handler.update_ms = events.uptime_ms() + wait_ms  # type: ignore[attr-defined]
    if handler.wanted == wanted:  # type: ignore[attr-defined]
        handler.is_new = False  # type: ignore[attr-defined]
        if not wait_ms:
            handler.wanted = None  # type: ignore[attr-defined]


class _Update:
    """One update of one kind."""

    def __init__(self, client: Mqtt, settings: Settings, kind: str, wanted: dict[str, object], handle: object) -> None:
        self._client = client
        self._settings = settings
        self._kind = kind
        self._handle = handle
        values = [wanted.get("%s_%s" % (kind, name)) for name in ("title", "version", "size", "url")]
        self._title, self._version = str(values[0] or ""), str(values[1] or "")
        size = values[2]
        self._size = size if isinstance(size, int) else 0
        self._has_url = bool(values[3])
        self._trees = trees.load()

    def attempt(self, is_new: bool) -> int:
        """Install what is assigned, if it is not; return the milliseconds after which to try again, 0 for never.

        Args:
            is_new: whether it was assigned just now: what failed before is tried again.
        """
        try:
            if self._is_due(is_new):
                self._run()
        except Delayed as error:
            self._event("delayed", str(error))
            return error.retry_ms
        except MemoryError:
            memory.report("update")
            return _MEMORY_MS
        except (Refused, VaultError) as error:
            self._fail(str(error))
        except OSError as error:
            memory.check(error)
            self._fail("the flash does not take it (%s): full or worn out?" % error)
        return 0

    def _is_due(self, is_new: bool) -> bool:
        """Return whether there is something to install; report what is in force, or why it is not installed."""
        failed = trees.entry(self._trees, "failed")
        is_its = failed.get("kind") == self._kind
        is_same = is_its and (failed["title"], failed["version"]) == (self._title, self._version)
        if is_its and (is_new or not is_same):
            self._trees.update(failed=[])
            is_same = False
        if not self._title or not self._version:
            return False
        if (self._title, self._version) == trees.current(self._trees, self._kind):
            self._publish("UPDATED")
            return False
        if is_same and int(failed["count"]) >= _TRIES:
            self._publish("FAILED", failed["error"])
            return False
        return True

    def _run(self) -> None:
        """Fetch, write, and restart with the new tree on trial."""
        if self._has_url:
            raise Refused("packages at a URL are not fetched")
        self._step("DOWNLOADING", "downloading")
        chunks = Chunks(self._client, self._kind, self._size, self._handle)
        if self._size < package.PREFIX:
            raise Refused("the package has no size, or too small a one")
        values = self._read_head(chunks)
        tree = self._write(chunks, values)
        self._step("VERIFIED", "verified")
        trial = {
            "kind": self._kind,
            "tree": tree,
            "title": self._title,
            "version": self._version,
            "number": values.get("number", "0"),
            "boots": "0",
            "trial_s": str(self._settings.number("update.trial_s")),
        }
        for name in ("downgrade", "key"):
            if name in values:
                trial[name] = values[name]
        self._step("UPDATING", "trial")
        self._trees.update(trial=[trial])
        self._client.close()
        board.reset()

    def _read_head(self, chunks: Chunks) -> dict[str, str]:
        """Return what a package has to say about itself, if this board takes it. Raises Refused."""
        known = trees.entry(self._trees, "update")
        key = known.get("key") or self._settings.text("update.key")
        with temporary.Imports():
            from firstboot.update import head

            prefix = chunks.part(0, package.PREFIX)
            values = head.read(prefix, chunks.part(package.PREFIX, head.length(prefix)), key)
            if not key:
                events.emit("update", step="unverified", kind=self._kind)
            if (values["kind"], values["title"], values["version"]) != (self._kind, self._title, self._version):
                raise Refused("the package is %(kind)s %(title)s %(version)s, and another is assigned" % values)
            head.check(values, int(known.get("number", "0")))
            return values

    def _write(self, chunks: Chunks, values: dict[str, str]) -> str:
        """Return the letter of the tree that has all of the package now."""
        in_force = trees.entry(self._trees, self._kind).get("tree", "")
        letter = "b" if in_force == "a" else "a"
        tree = trees.path(self._kind, letter)
        sources = (trees.path(self._kind, in_force), "") if in_force else ("",)
        install.store_list(chunks, values)
        total = install.check(tree, values, self._size)
        install.clear(tree, values, self._size)
        done = shown = 0
        for entry in package.files(install.LIST, values, self._size):  # type: ignore[attr-defined]
            install.file(tree, sources, chunks, entry)
            done += entry[1]
            progress = done * 100 // max(total, 1) // _STEP * _STEP
            if progress != shown:
                shown = progress
                events.emit("update", step="downloading", kind=self._kind, progress=progress)
        events.emit("update", step="downloaded", kind=self._kind, fetched=chunks.fetched)
        self._publish("DOWNLOADED")
        os.remove(install.LIST)
        return letter

    def _fail(self, cause: str) -> None:
        """Report a failure, and remember it."""
        entry = trees.failure(self._trees, self._kind, self._title, self._version, cause)
        try:
            self._trees.update(failed=[entry])
        except VaultError as error:
            events.emit("error", kind=error.kind, detail=str(error))
        self._event("failed", entry["error"])
        self._publish("FAILED", entry["error"])

    def _event(self, step: str, detail: str) -> None:
        title, version = self._title, self._version
        events.emit("update", step=step, kind=self._kind, title=title, version=version, detail=detail)

    def _publish(self, state: str, error: str = "") -> None:
        """Send a state as telemetry, with what is in force."""
        title, version = trees.current(self._trees, self._kind)
        values = {
            "current_%s_title" % self._kind: title,
            "current_%s_version" % self._kind: version,
            "%s_state" % self._kind: state,
        }
        if error:
            values["%s_error" % self._kind] = error
        self._client.publish(_TELEMETRY, json.dumps(values), qos=1)

    def _step(self, state: str, step: str) -> None:
        events.emit("update", step=step, kind=self._kind, title=self._title, version=self._version)
        self._publish(state)
