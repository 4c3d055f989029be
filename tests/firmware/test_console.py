"""The console: what it echoes, understands and refuses; whatever is typed, no secret is shown and nothing breaks."""

import json
import os
import random
import subprocess

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bench.virtual import unix_port
from tests.support import budget, micropython

HINT = "This board listens to: firstboot help"
SECRETS = {
    "provision": {"key": "the key", "secret": "Secret-of-the-profile"},
    "wifi": {
        "ssid": "home",
        "password": "Secret-of-the-network",
        "networks": [{"ssid": "a", "password": "Secret-two"}],
    },
    "claim": {"secret": "Secret-to-claim"},
}
SETTINGS = {"server": {"host": "10.0.0.1"}, **SECRETS}
SETTINGS_TEXT = json.dumps(SETTINGS)
VAULT = {
    "active": [{"type": "X509_CERTIFICATE", "certificate": "Secret-certificate", "key": "Secret-key"}],
    "pending": [{"type": "MQTT_BASIC", "clientId": "Secret-id", "userName": "", "password": "Secret-password"}],
}

# A flash in RAM; then everything that is typed, until the input ends.
BOARD = """
import gc, json, os, sys, vfs
from firstboot import claim, console, console_commands, events, factory_reset, settings, surrogates
from firstboot.vault import Vault
class Ram:
    def __init__(self):
        self.data = bytearray(64 * 4096)
    def readblocks(self, block, buffer, offset=0):
        at = block * 4096 + offset
        buffer[:] = memoryview(self.data)[at : at + len(buffer)]
    def writeblocks(self, block, buffer, offset=0):
        at = block * 4096 + offset
        self.data[at : at + len(buffer)] = buffer
    def ioctl(self, operation, argument):
        if operation == 6:
            self.writeblocks(argument, b"\\xff" * 4096)
        return {4: 64, 5: 4096, 6: 0}.get(operation)
def begin(text, record):
    ram = Ram()
    vfs.VfsLfs2.mkfs(ram)
    vfs.umount("/")
    vfs.mount(vfs.VfsLfs2(ram), "/")
    os.chdir("/")
    with open("/settings.json", "w") as file:
        file.write(text)
    Vault().save(record)
def start():
    return console.Console(Vault(), lambda: {"state": "online", "name": "press4"})
def live():
    terminal = start()
    while terminal._open:
        try:
            terminal.poll()
        except SystemExit:
            print("RESTART")
            terminal = start()
"""
END = """
live()
print("FLASH")
print(json.dumps([Vault().record, open("/settings.json").read()]))
"""


def board(text=SETTINGS_TEXT, record=VAULT):
    return f"{BOARD}begin({text!r}, {record!r})\n"


def lines(typed, text=SETTINGS_TEXT, record=VAULT):
    """Return the board's output line by line, and the record and the settings in its flash at the end."""
    answer, _, flash = micropython.run(board(text, record) + END, stdin=typed).rpartition("FLASH\n")
    record, text = json.loads(flash)
    return answer.splitlines(), record, text


def answers(typed, **flash):
    """Return the answer to one line, without its echo and without events."""
    answer = lines(typed + b"\n", **flash)[0]
    return [line for line in answer if not line.startswith(("firstboot", '{"event"'))]


@pytest.mark.parametrize(
    ("typed", "shown"),
    [
        (b"hunter2", None),
        (b"set wifi.password hunter22", None),
        (b'{"event": "boot"}', None),
        (b"Firstboot status", None),
        (b" firstboot status", None),
        (b"firstboots status", "firstboot"),
        (b"firstbook status", "firstboo"),
        (b"firstboot nothing", "firstboot nothing"),
        (b"firstboot set wifi.password hunter22", "firstboot set wifi.password ********"),
        (b"firstboot  set   wifi.password  hunter22", "firstboot  set   wifi.password  ********"),
        (b'firstboot set wifi.password "two words" and', "firstboot set wifi.password ***************"),
        ("firstboot set wifi.password grün".encode(), "firstboot set wifi.password ****"),
        ("firstboot nö".encode(), "firstboot n*"),
        (b"firstboot nothim\bng", "firstboot nothim\b \bng"),
        (b"firstboot a\x7f\x7fb", "firstboot a\b \b\b \b"),
        (b"firstboot x y ab\b\b\bcd ef", "firstboot x y **\b \b\b \b\b \bcd **"),
        ("firstboot x y grü\bn".encode(), "firstboot x y ***\b \b*"),
        (b"firstx\b\b\b\b\b\b\bfirstboot n", "first\b \b\b \b\b \b\b \b\b \bfirstboot n"),
        (b"\x00\x01\x1b\tfirst\x0cboot n", "firstboot n"),
        (b"\xff\xfefirstboot", None),
    ],
)
def test_echo_shows_three_words_of_our_own_lines(typed, shown):
    answer = lines(typed + b"\n")[0]
    assert answer[0] == (HINT if shown is None else shown)


@pytest.mark.parametrize(
    ("typed", "answer"),
    [
        (b"nothing hunter22", "no such command"),
        (b"help hunter22", "no such command"),
        (b'"status', "closing"),
        (b'"status"x', "followed by a space"),
        (b"status hunter22", "takes nothing but --json"),
        (b"status --jsom", "no such option"),
        (b"set wifi.pasword hunter22", "unknown setting wifi.pasword"),
        (b"set wifi hunter22", "unknown setting wifi"),
        (b"set nothing", "no such setting"),
        (b"set wifi.password two words", "double quotes"),
        (b"set wifi.password hunter22 --show", "write: firstboot set"),
        (b"set wifi.password hunter22 --default", "write: firstboot set"),
        (b"set wifi.password --hunter22", "no such option"),
        (b"set --default", "set NAME --default"),
        (b"set wifi --default", "no such entry"),
        (b"set wifi.hostname --default", "no such entry"),
        (b"set server.host --default", "server.host is missing"),
        (b'set server.host ""', "server.host is empty"),
        (b"set server.tls yes", "true or false"),
        (b"set server.port 65536", "too small or too large"),
        (b"set server.port hunter22", "whole number"),
        (b"set wifi.networks hunter22", "must be a list"),
        (b"set provision.credentials X509_CERTIFICATE", "set server.tls"),
        (b"reset", "write: firstboot reset"),
        (b"reset everything --yes", "write: firstboot reset"),
        (b"reset --yes", "write: firstboot reset"),
        (b"reset all wifi --yes", "write: firstboot reset"),
        (b"reset all --no", "no such option"),
        (b"provision all --yes", "write: firstboot reset"),
        (b"credentials token", "write: credentials token"),
        (b'credentials token ""', "write: credentials token"),
        (b"credentials token hunter22 hunter22", "write: credentials token"),
        (b"credentials basic hunter22 hunter22", "write: credentials token"),
        (b'credentials basic "" "" hunter22', "write: credentials token"),
        (b"credentials certificate hunter22", "write: credentials token"),
        (b"credentials --yes", "no such option"),
        (b"claim hunter22", "takes nothing more"),
        ("set wifi.password grün".encode("latin-1"), "is not UTF-8"),
    ],
)
def test_mistake_is_reported_in_one_line_and_changes_nothing(typed, answer):
    output, record, text = lines(b"firstboot " + typed + b"\n")
    assert len(output) == 2
    assert answer in output[1]
    assert "hunter22" not in output[1]
    assert (record, text) == (VAULT, SETTINGS_TEXT)


@pytest.mark.parametrize("typed", [b"reset credentials", b"reset wifi", b"reset all", b"provision"])
def test_what_wipes_has_to_be_confirmed(typed):
    output, record, text = lines(b"firstboot " + typed + b"\n")
    assert output[1].startswith("This deletes the")
    assert "--yes" in output[1]
    assert (record, text) == (VAULT, SETTINGS_TEXT)


@pytest.mark.parametrize("end", [b"\n", b"\r", b"\r\n"])
def test_every_end_of_a_line_ends_one(end):
    assert lines(b"firstboot x" + end + b"firstboot y" + end)[0][::2] == ["firstboot x", "firstboot y"]


@pytest.mark.parametrize(("length", "dropped"), [(511, False), (512, False), (513, True), (5000, True)])
def test_line_that_is_too_long_is_dropped(length, dropped):
    start = b"firstboot set wifi.password "
    output, _, text = lines(start + b"x" * (length - len(start)) + b"\nfirstboot nothing\n")
    assert (output[1] == "A line has at most 512 characters; this one was dropped.") is dropped
    assert (text == SETTINGS_TEXT) is dropped
    assert output[-2] == "firstboot nothing"


def test_lines_of_others_get_one_hint_in_a_while():
    """A board whose lines are led back to it would otherwise talk to itself."""
    answer = lines(b'{"event": "telemetry"}\n' * 500 + b"\r\n" * 50)[0]
    assert answer == [HINT]


def test_no_answer_begins_like_a_command():
    typed = [b"help", b"status", b"status --json", b"set", b"set --show", b"credentials", b"claim", b"nothing"]
    answer = lines(b"".join(b"firstboot " + line + b"\n" for line in typed))[0]
    assert [line for line in answer if line.startswith("firstboot")] == [f"firstboot {line.decode()}" for line in typed]
    assert len(answer) > 50


def test_help_names_every_command():
    text = "\n".join(answers(b"firstboot"))
    assert answers(b"firstboot help") == text.splitlines()
    for command in ("status", "set", "credentials", "claim", "provision", "reset"):
        assert f"  {command} " in text


@given(st.lists(st.text(st.characters(exclude_categories=["Cc", "Cs"]), max_size=10), max_size=6))
@settings(max_examples=budget.examples(40), derandomize=budget.FIXED, deadline=None)
def test_quoted_words_come_out_as_they_were(words):
    line = "  ".join('"' + word.replace("\\", "\\\\").replace('"', '\\"') + '"' for word in words)
    code = "import json, sys\nfrom firstboot.console_commands import split\nprint(json.dumps(split(sys.argv[1])))"
    assert json.loads(micropython.run(code, arguments=(line,))) == words


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("", []),
        ("  ", []),
        ('""', [""]),
        (" a  b ", ["a", "b"]),
        ('a"b c"d', ['a"b', 'c"d']),
        (r'"a\b" a\"b', [r"a\b", r"a\"b"]),
        ('[{"ssid":"a"}]', ['[{"ssid":"a"}]']),
    ],
)
def test_quotes_and_backslashes_mean_something_only_in_quoted_words(line, words):
    code = "import json, sys\nfrom firstboot.console_commands import split\nprint(json.dumps(split(sys.argv[1])))"
    assert json.loads(micropython.run(code, arguments=(line,))) == words


def test_secrets_are_shown_only_on_request():
    typed = [b"set", b"set wifi.password", b"set wifi.networks", b"credentials", b"status", b"status --json"]
    masked = "\n".join(lines(b"".join(b"firstboot " + line + b"\n" for line in typed))[0])
    assert "Secret" not in masked
    assert "wifi.password = (set)" in masked
    shown = "\n".join(lines(b"firstboot set --show\nfirstboot credentials --show\n")[0])
    for secret in ("of-the-profile", "of-the-network", "two", "to-claim", "certificate", "id", "password"):
        assert f"Secret-{secret}" in shown
    assert "Secret-key" not in shown


def test_misspelt_secret_is_masked():
    text = json.dumps({**SETTINGS, "wifi": {"pasword": "Secret-of-the-network"}, "secrets": "Secret-two"})
    answer = answers(b"firstboot set", text=text)
    assert "unknown setting" in answer[0]
    assert "  wifi.pasword = (set)" in answer
    assert "Secret" not in str(answer)


def test_values_are_shown_on_one_line_whatever_they_hold():
    host = 'a\n{"event": "boot"}\x1b[2J'
    answer = answers(b"firstboot set server.host", text=json.dumps({**SETTINGS, "server": {"host": host}}))
    assert [line.strip().partition(" = ")[0] for line in answer] == ["server.host"]
    assert json.loads(answer[0].partition(" = ")[2]) == host


@pytest.mark.parametrize(
    ("typed", "section"),
    [
        (b'wifi.password "two words"', {"password": "two words"}),
        (b'wifi.networks [{"ssid":"b"}]', {"networks": [{"ssid": "b"}]}),
        (b"wifi.timeout_s 7", {"timeout_s": 7}),
        ('wifi.ssid "Grüne Halle"'.encode(), {"ssid": "Grüne Halle"}),
        (b'wifi.password "a\\"b\\\\c"', {"password": 'a"b\\c'}),
    ],
)
def test_set_stores_and_restarts(typed, section):
    output, record, text = lines(b"firstboot set " + typed + b"\n")
    assert output[-2:] == ["Stored in flash. The board restarts.", "RESTART"]
    assert json.loads(text) == {**SETTINGS, "wifi": {**SETTINGS["wifi"], **section}}
    assert record == VAULT


def test_set_default_drops_the_entry():
    output, _, text = lines(b"firstboot set wifi.password --default\n")
    assert output[-1] == "RESTART"
    assert "password" not in json.loads(text)["wifi"]


@pytest.mark.parametrize("text", ["", "not JSON", "[]", "5", '{"wifi": 5}', '{"server": {"hots": "x"}}'])
def test_set_repairs_settings_of_no_use_one_by_one(text):
    """Each step is kept though there is still something missing; the last one restarts the board."""
    typed = b"firstboot set server.host 10.0.0.1\nfirstboot set provision.key a\n"
    if "hots" in text:
        typed += b"firstboot set server.hots --default\n"
    if "wifi" in text:
        typed += b"firstboot set wifi --default\n"
    output, _, found = lines(typed + b"firstboot set provision.secret b\n", text=text)
    assert output.count("RESTART") == 1
    assert output[-1] == "RESTART"
    assert any(line.startswith("Stored in flash. What is left to do:") for line in output)
    assert json.loads(found) == {"server": {"host": "10.0.0.1"}, "provision": {"key": "a", "secret": "b"}}


def test_set_that_breaks_good_settings_is_refused():
    output, _, text = lines(b"firstboot set provision.credentials X509_CERTIFICATE\n")
    assert output[1].startswith("error: ")
    assert text == SETTINGS_TEXT


@pytest.mark.parametrize(
    ("typed", "credential"),
    [
        (b"token abc", {"type": "ACCESS_TOKEN", "token": "abc"}),
        (b'basic "" user ""', {"type": "MQTT_BASIC", "clientId": "", "userName": "user", "password": ""}),
        (b'basic id "" "a b"', {"type": "MQTT_BASIC", "clientId": "id", "userName": "", "password": "a b"}),
    ],
)
def test_entered_credentials_are_tried_before_all_that_are_not_proved(typed, credential):
    output, record, text = lines(b"firstboot credentials " + typed + b"\n")
    assert output[-1] == "RESTART"
    assert record == {"active": VAULT["active"], "pending": [credential, *VAULT["pending"]]}
    assert text == SETTINGS_TEXT


def test_entered_credentials_keep_one_of_the_pending_behind_them():
    output, record, _ = lines(b"firstboot credentials token a\n" * 2 + b"firstboot credentials token b\n")
    assert output.count("RESTART") == 3
    assert [each["token"] for each in record["pending"]] == ["b", "a"]


def test_claim_is_made_once_and_shown_again():
    plain = json.dumps({**SETTINGS, "claim": {}})
    answer = answers(b"firstboot claim\nfirstboot claim", text=plain)
    assert answer[0].startswith("Claim the device with this secret: ")
    assert answer[0] == answer[2]
    assert len(answer[0].rpartition(" ")[2]) == 10
    assert "Secret-to-claim" in answers(b"firstboot claim")[0]


def test_event_in_the_middle_of_a_line_begins_its_own():
    answer = micropython.run(
        board()
        + """
terminal = start()
terminal.poll()
events.emit("telemetry", waiting=0)
events.emit("telemetry", waiting=0)
""",
        stdin=b"firstboot sta",
    ).splitlines()
    assert answer[0] == "firstboot sta"
    assert [json.loads(line)["event"] for line in answer[1:]] == ["telemetry", "telemetry"]


def test_poll_takes_a_bounded_piece_of_what_never_ends():
    answer = micropython.run(
        board() + "terminal = start()\nterminal._poll.poll()\nterminal.poll()\nprint(len(sys.stdin.buffer.read()))\n",
        stdin=b"x" * 5000,
    )
    assert int(answer) == 5000 - 256


IDLE = """
terminal = start()
terminal.poll()
gc.collect()
gc.disable()
before = after = gc.mem_alloc()
for _ in range(10000):
    terminal.poll()
after = gc.mem_alloc()
print(terminal._open, after - before)
"""


def test_poll_allocates_nothing_while_nobody_types():
    read, write = os.pipe()
    with os.fdopen(write, "wb"):
        idle = subprocess.run(
            [unix_port.interpreter(), "-c", micropython.reaching_in(board() + IDLE)],
            env=micropython.environment(),
            stdin=read,
            capture_output=True,
            timeout=60,
            check=True,
        )
    os.close(read)
    is_open, grown = idle.stdout.split()
    assert is_open == b"True"
    assert int(grown) < 100  # what measuring takes: ten thousand polls would show


@pytest.mark.parametrize("redirection", ["</dev/null", "<&-", "0>/dev/null"])
def test_no_input_at_all_ends_the_polling_quietly(redirection):
    done = subprocess.run(
        ["sh", "-c", f'"$0" -c "$1" {redirection}', unix_port.interpreter(), micropython.reaching_in(board() + IDLE)],
        env=micropython.environment(),
        capture_output=True,
        timeout=60,
        check=True,
    )
    assert done.stdout.split()[:1] == [b"False"]


FUZZ = """
gc.collect()
before = gc.mem_alloc()
live()
gc.collect()
print("GROWN", gc.mem_alloc() - before)
"""

PIECES = [
    *[b"status", b"set", b"reset", b"provision", b"credentials", b"help", b"--json", b"--default", b"--yes", b"--"],
    *[b"wifi.password", b"wifi.networks", b"server.host", b"server.port", b"board.console", b"wifi", b"server", b"."],
    *[b"credentials", b"token", b"basic", b"all", b'""', b'"', b"\\", b'"\\"', b"[", b"{}", b"null", b"1", b"true"],
    *[b"[" * 100, b"\xff", b"\xc3", b"\b", b"\x7f" * 20, b"\x03", b"x" * 600, "ü".encode(), b" ", b"\r", b"firstboot"],
]


COMMANDS = [
    *[b"status --json", b"set", b"set wifi.hostname a", b"set wifi.hostname --default", b'set wifi.password "a b"'],
    *[b"credentials", b"credentials token abc", b'credentials basic a b "c"', b"reset wifi --yes", b"provision --yes"],
]


def hostile_line(chance):
    kind = chance.random()
    if kind < 0.3:
        return chance.randbytes(chance.randrange(80))
    if kind < 0.6:
        line = bytearray(b"firstboot " + chance.choice(COMMANDS))
        for _ in range(chance.randrange(3)):
            at = chance.randrange(len(line))
            line[at : at + chance.randrange(3)] = chance.randbytes(chance.randrange(3))
        return bytes(line)
    words = [chance.choice(PIECES) for _ in range(chance.randrange(7))]
    return b"firstboot " + chance.choice([b" ", b" ", b""]).join(words)


@pytest.mark.parametrize("seed", range(budget.examples(5)))
def test_whatever_is_typed_breaks_nothing_and_shows_no_secret(seed):
    chance = random.Random(seed)
    typed = b"\n".join(hostile_line(chance) for _ in range(400)) + b"\n"
    answer = micropython.run(board() + FUZZ, stdin=typed)
    assert "RESTART" in answer  # some of it was understood
    assert "Secret" not in answer
    assert '"kind": "console"' not in answer  # what only the last resort caught
    assert int(answer.rpartition("GROWN ")[2]) < 4096
