"""The commands of the serial console: `firstboot status`, `set`, `reset` and the others (docs/console.md).

Loaded for each such line, and not kept. Answers are for people. A command that changes the board writes the flash,
reports it and restarts: there is no state between the old board and the new one. No secret is shown
without `--show`, and no value that was typed is repeated.
"""

import json

from firstboot import __version__, board, claim, events, factory_reset, memory, settings, settings_checks
from firstboot.errors import FirstbootError, SettingsError
from firstboot.vault import Vault

_HELP = """\
  status [--json]            the state of the board
  set [NAME] [--show]        the settings, or one; secrets only with --show
  set NAME VALUE             change a setting, and restart
  set NAME --default         back to its default, and restart
  credentials [--show]       the credentials for its login; secrets only with --show
  credentials token VALUE    store an access token to be tried, and restart
  credentials basic CLIENT_ID USER PASSWORD    the same; "" for an empty part
  claim                      make or show the secret to claim the device with
  provision --yes            delete the credentials, and request new ones
  reset credentials|wifi|all --yes    delete them, and restart
Each after the word firstboot. A value with spaces goes in double quotes; in these, write \\" and \\\\.
Certificates cannot be entered here: they are flashed."""

_CONSEQUENCES = {
    factory_reset.CREDENTIALS: "the credentials; the board then requests new ones, as on its first boot",
    factory_reset.WIFI: "the Wi-Fi networks",
    factory_reset.ALL: "the credentials and the Wi-Fi networks; all other settings stay",
}
_STATUS = ("state", "fix", "name", "server", "address", "uptime_s", "next_attempt_ms", "active", "pending")
_STATUS_LAST = ("free_heap", "idf_free", "idf_least", "firmware", "micropython")
_MASKED = "(set)"
_RESTART = "Stored in flash. The board restarts."


class _UsageError(FirstbootError):
    """A command that is not valid; the message is the cure."""

    kind = "usage"


class Commands:
    """The commands of the console.

    Args:
        vault: the board's own.
        status: a function that returns the board's state as a dict.
    """

    def __init__(self, vault: Vault, status: object) -> None:
        self._vault = vault
        self._state = status

    def run(self, line: str) -> None:
        """Run the command of a line.

        Raises:
            FirstbootError: with a message for the person at the console.
        """
        commands = {
            "status": self._status,
            "set": self._set,
            "credentials": self._credentials,
            "claim": self._claim,
            "provision": self._provision,
            "reset": self._reset,
        }
        words = split(line)[1:]
        if words in ([], ["help"]):
            print(_HELP)
        elif words[0] in commands:
            commands[words[0]](words[1:])
        else:
            raise _UsageError("there is no such command; see: firstboot help")

    def _status(self, words: list[str]) -> None:
        plain, options = _options(words, "--json")
        if plain:
            raise _UsageError("status takes nothing but --json")
        found: dict[str, object] = self._state()  # type: ignore[operator]
        found["firmware"] = __version__
        found["micropython"] = board.version()
        found.update(memory.facts())
        found["uptime_s"] = events.uptime_ms() // 1000
        for place in ("active", "pending"):
            found[place] = ", ".join(each["type"] for each in self._vault.record.get(place, [])) or "none"
        if options:
            print(json.dumps(found))
        else:
            for name in _STATUS + _STATUS_LAST:
                if name in found:
                    print("  %-16s %s" % (name, _escaped(found[name])))

    def _set(self, words: list[str]) -> None:
        plain, options = _options(words, "--show", "--default")
        if len(plain) > 2 or len(options) > 1 or (options and len(plain) > 1):
            raise _UsageError("write: firstboot set NAME VALUE (in double quotes if it has spaces)")
        sections = _sections()
        if "--default" in options:
            if not plain:
                raise _UsageError("write: firstboot set NAME --default")
            _change(sections, plain[0], None)
        elif len(plain) > 1:
            _change(sections, plain[0], settings_checks.parsed(plain[0], plain[1]))
        else:
            _show(sections, plain[0] if plain else "", "--show" in options)

    def _reset(self, words: list[str]) -> None:
        plain, options = _options(words, "--yes")
        if len(plain) != 1 or plain[0] not in _CONSEQUENCES:
            raise _UsageError("write: firstboot reset credentials, wifi or all, and --yes")
        if not options:
            print("This deletes %s. To do it, add --yes." % _CONSEQUENCES[plain[0]])
            return
        factory_reset.reset(self._vault, plain[0], "console")
        print("Wiped from the flash. The board restarts.")
        board.reset()

    def _provision(self, words: list[str]) -> None:
        self._reset([factory_reset.CREDENTIALS] + words)

    def _credentials(self, words: list[str]) -> None:
        plain, options = _options(words, "--show")
        if not plain:
            self._list_credentials(bool(options))
        elif plain[0] == "token" and len(plain) == 2 and plain[1]:
            self._store({"type": "ACCESS_TOKEN", "token": plain[1]})
        elif plain[0] == "basic" and len(plain) == 4 and (plain[1] or plain[2]):
            self._store({"type": "MQTT_BASIC", "clientId": plain[1], "userName": plain[2], "password": plain[3]})
        else:
            raise _UsageError("write: credentials token VALUE, or credentials basic CLIENT_ID USER PASSWORD")

    def _list_credentials(self, secrets: bool) -> None:
        held = [(place, each) for place in ("active", "pending") for each in self._vault.record.get(place, [])]
        for place, credential in held:
            print("  %-8s %s" % (place, credential["type"]))
            for part in sorted(credential):
                if part != "type":
                    # a private key never leaves the board
                    shown = secrets and part != "key"
                    text = _MASKED if credential[part] else "(empty)"
                    print("    %-12s %s" % (part, _escaped(credential[part]) if shown else text))
        if not held:
            print("The board has no credentials.")

    def _store(self, credential: dict[str, str]) -> None:
        """Store a credential to be tried first of those not proved; the active one stays until this one logged in."""
        others = [each for each in self._vault.record.get("pending", []) if each != credential]
        pending = [credential] + others[:1]
        self._vault.update(pending=pending)
        events.emit("pending_stored", count=len(pending))
        if "active" in self._vault.record:
            print("The active credentials are tried before it. To try only it: reset credentials, then enter it again.")
        print(_RESTART)
        board.reset()

    def _claim(self, words: list[str]) -> None:
        if words:
            raise _UsageError("claim takes nothing more")
        waiting = self._vault.record.get("claim")
        secret = waiting[0]["secretKey"] if waiting else claim.make(settings.load(), self._vault)
        print("Claim the device with this secret: %s" % _escaped(secret))
        print("The board sends it to the server as soon as it is online.")


def split(line: str) -> list[str]:
    """Return the words of a line; one that begins with a double quote may have spaces, up to the next quote.

    Raises:
        FirstbootError: if a quote is not closed, or a word follows it without a space.
    """
    words = []
    at = 0
    while at < len(line):
        if line[at] == " ":
            at += 1
        elif line[at] == '"':
            word, at = _quoted(line, at + 1)
            words.append(word)
        else:
            end = line.find(" ", at)
            words.append(line[at:] if end < 0 else line[at:end])
            at = len(line) if end < 0 else end
    return words


def _quoted(line: str, at: int) -> tuple[str, int]:
    """Return the word after the opening quote that ends at `at`, and the position after its closing one."""
    word = ""
    while at < len(line):
        char, after = line[at], line[at + 1 : at + 2]
        if char == '"':
            if after not in ("", " "):
                raise _UsageError('a closing " must be followed by a space')
            return word, at + 1
        if char == "\\" and after in ('"', "\\"):
            char = after
            at += 1
        word += char
        at += 1
    raise _UsageError('the closing " is missing')


def _options(words: list[str], *known: str) -> tuple[list[str], list[str]]:
    """Return `(the plain words, the options)`."""
    options = [word for word in words if word.startswith("--")]
    for option in options:
        if option not in known:
            raise _UsageError("there is no such option, and no value can begin with --; see: firstboot help")
    return [word for word in words if not word.startswith("--")], options


def _escaped(value: object) -> str:
    """Return a value on one line, whatever it holds."""
    text = json.dumps(value)
    return text[1:-1] if isinstance(value, str) else text


def _sections() -> dict[str, dict[str, object]]:
    try:
        found = settings.read()
    except SettingsError:  # `status` shows it; a setting made now begins a new file
        found = {}
    return found if isinstance(found, dict) else {}


def _show(sections: dict[str, dict[str, object]], only: str, secrets: bool) -> None:
    try:
        known = settings.check(sections)
        values = {name: known.value(name) for name in known.names()}
    except SettingsError as error:
        print("Invalid settings: %s" % error)
        values = {}
        for section, entries in sections.items():
            if isinstance(entries, dict):
                for key, value in entries.items():
                    values["%s.%s" % (section, key)] = value
            else:
                values[section] = entries
    if only and only not in values:
        raise _UsageError("there is no such setting; see: firstboot set")
    for name in [only] if only else sorted(values):
        text = _MASKED if values[name] else "(not set)"
        # an unknown name may be the misspelt one of a secret
        if secrets or settings_checks.is_public(name):
            text = json.dumps(values[name])
        print("  %s = %s" % (_escaped(name), text))


def _change(sections: dict[str, dict[str, object]], name: str, value: object) -> None:
    """Store the settings with another value, or (None) without the entry, and restart if they are valid."""
    valid = _problem(sections) == ""
    section, _, key = name.partition(".")
    entries = sections.get(section)
    if value is not None:
        if not isinstance(entries, dict):
            entries = sections[section] = {}
        entries[key] = value
    elif isinstance(entries, dict) and key in entries:
        del entries[key]
    elif section in sections and not key and not isinstance(entries, dict):
        del sections[section]
    else:
        raise _UsageError("the file has no such entry; see: firstboot set")
    problem = _problem(sections)
    if problem and valid:
        raise SettingsError(problem)
    settings.write(sections)
    events.emit("setting", name=name)
    if problem:
        print("Stored in flash. What is left to do: %s" % problem)
    else:
        print(_RESTART)
        board.reset()


def _problem(sections: dict[str, dict[str, object]]) -> str:
    """Return what is wrong with these settings, "" if nothing is."""
    try:
        settings.check(sections)
    except SettingsError as error:
        return str(error)
    return ""
