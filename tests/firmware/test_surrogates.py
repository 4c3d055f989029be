"""Characters that JSON escapes in two halves: joined, wherever they come from, and nothing else changed."""

import json
import random

import pytest

from tests.support import budget, micropython

PARSE = """
import json, sys
from firstboot import surrogates
for line in sys.stdin:
    print(json.dumps(json.loads(surrogates.join(line.encode()))))
"""
TEXTS = {
    "pair": (r'"\ud83d\ude00"', "😀"),
    "pair_in_capitals": (r'"\uD83D\uDE00"', "😀"),
    "first_pair": (r'"\ud800\udc00"', "\U00010000"),
    "last_pair": (r'"\udbff\udfff"', "\U0010ffff"),
    "two_pairs": (r'"a\ud83d\ude00\ud83d\ude01b"', "a😀😁b"),
    "raw": ('"😀"', "😀"),
    "raw_beside_a_pair": (r'"😀\ud83d\ude00ü"', "😀😀ü"),
    "other_escapes": (r'"\u00fc\n\"\\\/\ud83d\ude00"', 'ü\n"\\/😀'),
    "escaped_backslash": (r'"\\ud83d\\ude00"', r"\ud83d\ude00"),
    "pair_after_an_escaped_backslash": (r'"\\\ud83d\ude00"', "\\😀"),
    "high_alone": (r'"\ud83d"', "\ufffd"),
    "low_alone": (r'"\ude00"', "\ufffd"),
    "wrong_order": (r'"\ude00\ud83d"', "\ufffd\ufffd"),
    "two_highs": (r'"\ud83d\ud83d\ude00"', "\ufffd😀"),
    "high_before_another_escape": (r'"\ud83d\n"', "\ufffd\n"),
    "below_the_halves": (r'"\ud7ff"', "\ud7ff"),
    "key": (r'{"\ud83d\ude00": 1}', {"😀": 1}),
    "no_text": ("[1, true, null]", [1, True, None]),
}


def parsed(*texts):
    output = micropython.run(PARSE, stdin="".join(f"{each}\n" for each in texts).encode())
    return [json.loads(line) for line in output.splitlines()]


def test_join_makes_one_character_of_two_halves():
    assert dict(zip(TEXTS, parsed(*[text for text, _ in TEXTS.values()]), strict=True)) == {
        name: value for name, (_, value) in TEXTS.items()
    }


def test_join_agrees_with_python():
    source = random.Random(5 if budget.FIXED else None)
    alphabet = ["a", "ü", "\\", '"', "\n", "😀", "\U00010000", "\U0010ffff", "\ud7ff", "\ue000"]
    values = ["".join(source.choices(alphabet, k=source.randrange(12))) for _ in range(budget.examples(200))]
    assert parsed(*map(json.dumps, values)) == values


@pytest.mark.parametrize("text", [b"\\", b'"\\u', b'"\\ud8', b'"\\ud83d\\u', b'"\\ud83d\\ude0', b'"\\udzzz"', b""])
def test_join_leaves_what_is_cut_short_to_json(text):
    assert (
        micropython.run(f"""
from firstboot import surrogates
print(bytes(surrogates.join(memoryview({text!r}))).replace(b"ufffd", b"ud83d") == {text!r})
""")
        == "True\n"
    )


def test_settings_have_the_characters_of_an_escaped_file(tmp_path):
    sections = {
        "server": {"host": "h"},
        "provision": {"key": "k", "secret": "s"},
        "wifi": {"ssid": "Café 😀", "networks": [{"ssid": "😁"}]},
    }
    (tmp_path / "settings.json").write_text(json.dumps(sections))
    output = micropython.run(
        """
import json
from firstboot import settings, settings_checks
print(json.dumps(settings.load("settings.json").networks()))
print(json.dumps(settings_checks.parsed("wifi.networks", '[{"ssid": "\\\\ud83d\\\\ude01"}]')))
""",
        cwd=tmp_path,
    )
    assert [json.loads(line) for line in output.splitlines()] == [[["Café 😀", ""], ["😁", ""]], [{"ssid": "😁"}]]


def test_answer_to_a_provisioning_request_has_the_characters_of_the_server():
    answer = json.dumps({"status": "SUCCESS", "credentialsType": "ACCESS_TOKEN", "credentialsValue": "t😀"})
    output = micropython.run(f"""
import json
from firstboot import provisioning
print(json.dumps(provisioning.read_answer({answer.encode()!r})[1]))
""")
    assert json.loads(output)["credentialsValue"] == "t😀"
