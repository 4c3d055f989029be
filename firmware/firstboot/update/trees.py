"""The files that are in force: those of the flash, or the tree of an update, on trial until it has proved itself.

`bench flash` and `bench deploy` write to the root of the file system, and updates never do. Each kind of update (`fw`,
the firmware; `sw`, the application) has two trees, `/fw.a` and `/fw.b`. One of them at most is in force: it is before
the root in `sys.path`. The other is what the next update is written to. A record, stored as the vault's, has which; it
has these entries:

- `fw`, `sw`: the tree in force, with its title, version and number.
- `trial`: the tree to be tried, with the boots that it had; the one in force stays so until `keep`.
- `failed`: the last version that failed, why and how often, and whether the server knows.
- `update`: the highest number accepted so far, and the key that replaced that of the settings.
"""

import sys

from micropython import const

from firstboot import __version__, board, events
from firstboot.errors import VaultError
from firstboot.vault import Vault

RECORD = ("/trees.0", "/trees.1")
KINDS = ("fw", "sw")
# Boots that an update has to prove itself.
_BOOTS = const(3)
# The longest cause that is kept, in characters.
_CAUSE_LIMIT = const(120)


def load() -> Vault:
    """Return the record; `record` of it is empty if there never was an update."""
    return Vault(RECORD)


def begin() -> None:
    """Put the trees in force before the root in `sys.path`, and count a boot of the one on trial. Called by boot.py.

    The root's own code does this, which no update replaces. It unloads itself, for the code of the tree.
    """
    trees = load()
    try:
        _count(trees)
        trial = entry(trees, "trial")
    except VaultError as error:  # what cannot be counted is not tried
        events.emit("error", kind=error.kind, detail=str(error))
        trial = {}
    if trial:
        board.start_watchdog(int(trial["trial_s"]))
    for kind in KINDS:
        chosen = trial if trial.get("kind") == kind else entry(trees, kind)
        if chosen:
            sys.path.insert(0, path(kind, chosen["tree"]))
    for name in list(sys.modules):
        if name.split(".")[0] == "firstboot":
            del sys.modules[name]


def _count(trees: Vault) -> None:
    """Count a boot of the tree on trial, or put an end to the trial. Raises VaultError."""
    trial = dict(entry(trees, "trial"))
    if not trial:
        return
    boots = int(trial["boots"])
    if boots and board.reset_cause() == "wdt":
        fail(trees, "the watchdog had to reset the board")
    elif boots == _BOOTS:
        fail(trees, "%d boots without a login" % boots)
    else:
        trial["boots"] = str(boots + 1)
        trees.update(trial=[trial])


def entry(trees: Vault, name: str) -> dict[str, str]:
    """Return an entry of the record, {} if there is none."""
    found = trees.record.get(name)
    return found[0] if found else {}


def current(trees: Vault, kind: str) -> tuple[str, str]:
    """Return title and version of what is in force; of an application that was not an update, empty ones."""
    found = entry(trees, kind)
    if found:
        return found["title"], found["version"]
    return ("firstboot", __version__) if kind == "fw" else ("", "")


def logged_in() -> None:
    """Put an update on trial in force: it has logged in, and its telemetry was acknowledged."""
    trees = load()
    trial = entry(trees, "trial")
    if trial:
        try:
            keep(trees)
        except VaultError as error:  # the trial goes on, and ends as if it had failed
            events.emit("error", kind=error.kind, detail=str(error))
        else:
            events.emit("update", step="updated", kind=trial["kind"], title=trial["title"], version=trial["version"])


def path(kind: str, tree: str) -> str:
    """Return the folder of a tree."""
    return "/%s.%s" % (kind, tree)


def keep(trees: Vault) -> None:
    """Put the tree on trial in force for good. Raises VaultError."""
    trial = entry(trees, "trial")
    known = dict(entry(trees, "update"))
    if "key" in trial:
        known["key"] = trial["key"]
    if "downgrade" in trial or int(trial["number"]) > int(known.get("number", "0")):
        known["number"] = trial["number"]
    kept = {name: trial[name] for name in ("tree", "title", "version")}
    changes = {trial["kind"]: [kept], "trial": [], "failed": []}
    if known:
        changes["update"] = [known]
    trees.update(**changes)


def fail(trees: Vault, cause: str) -> None:
    """Put an end to the trial: what was in force before is again, from the next boot on. Raises VaultError."""
    trial = entry(trees, "trial")
    kind, title, version = trial["kind"], trial["title"], trial["version"]
    trees.update(trial=[], failed=[failure(trees, kind, title, version, cause)])
    events.emit("update", step="failed", kind=kind, title=title, version=version, detail=cause)


def failure(trees: Vault, kind: str, title: str, version: str, cause: str) -> dict[str, str]:
    """Return the entry of a failure, which counts those before it of the same version."""
    before = entry(trees, "failed")
    same = (before.get("kind"), before.get("title"), before.get("version")) == (kind, title, version)
    return {
        "kind": kind,
        "title": title,
        "version": version,
        "count": str(int(before["count"]) + 1 if same else 1),
        "error": cause[:_CAUSE_LIMIT],
    }


def end_trial(error: Exception) -> bool:
    """End the trial, if there is one, that an exception came in the way of; return whether there was one."""
    trees = load()
    if not entry(trees, "trial"):
        return False
    fail(trees, "%s: %s" % (type(error).__name__, error))
    return True


def crashed(error: Exception) -> None:
    """Go on after a main.py that raised: back to what was in force before a trial; else without an application.

    Called by the main.py of the flash, with nothing but the flash's own code in force.
    """
    sys.print_exception(error)
    if end_trial(error):
        board.reset()
    events.emit("safe_mode", detail="main.py: %s" % type(error).__name__)
    from firstboot import app

    app.main()
