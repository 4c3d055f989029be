"""Packages of updates as a board reads them: whatever comes is read as the bench reads it, or refused."""

import hashlib
import json

import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from hypothesis import given, settings
from hypothesis import strategies as st

from bench.flash import package
from bench.flash.package import Head, Kind, PackageError, manifest, signing
from bench.flash.package.form import HEAD
from tests.support import micropython
from tests.support.budget import FIXED, examples

KEY = ec.derive_private_key(7, ec.SECP256R1())
FILES = {"main.py": b"x" * 99, "lib/a.py": b"", "data.bin": bytes(range(200))}
PLAIN = Head(kind=Kind.SOFTWARE, title="press", version="1.0", number=7)
READ = """
import hashlib, json, os, sys
from firstboot.update import head as heading, package
from firstboot.update.errors import Refused

def read(prefix, head, key=""):
    prefix = bytes(prefix[:72]) + hashlib.sha256(head).digest()
    try:
        return heading.read(prefix, bytes(head), key)
    except Refused:
        return None

def listed(values, text, total):
    with open("list", "wb") as file:
        file.write(text)
    try:
        return list(package.files("list", values, total))
    except Refused:
        return None

given = json.loads(sys.stdin.readline())
data = bytes.fromhex(given[0])
length = heading.length(data[:104])
prefix, head = data[:104], data[104:104 + length]
"""


def on_a_board(code, data, *given, cwd=None):
    """Run code that has a package and `given[1:]`; return what it prints last."""
    lines = json.dumps([data.hex(), *given]).encode() + b"\n"  # an argument could have 255 characters
    output = micropython.run(micropython.reaching_in(READ + code), rom=True, stdin=lines, cwd=cwd)
    return json.loads(output.splitlines()[-1])


def test_package_is_read_as_it_was_written(tmp_path):
    data = package.write(PLAIN, FILES, KEY)
    found = on_a_board(
        """
values = read(prefix, head, given[2])
text = bytes.fromhex(given[1])
print(json.dumps([values, listed(values, text, len(data)), listed(values, text, len(data) + 1)]))
""",
        data,
        list_of(data).hex(),
        signing.public_hex(KEY),
        cwd=tmp_path,
    )
    values, files, of_another_size = found
    assert {**values, "files": "", "start": ""} == {
        "kind": "sw", "title": "press", "version": "1.0", "number": "7", "files": "", "start": ""
    }  # fmt: skip
    assert [(path, size, digest) for path, size, digest, _, _ in files] == [
        (path, len(content), hashlib.sha256(content).hexdigest()) for path, content in sorted(FILES.items())
    ]
    assert all(offset + length <= len(data) for _, _, _, offset, length in files)
    assert of_another_size is None


def list_of(data):
    """The list in a package, inflated."""
    end = HEAD.size + HEAD.unpack_from(data)[1]
    whole = package.read(data, "f").manifest
    listed = "".join(f"{each.path} {each.size} {each.sha256} {each.length}\n" for each in whole.files).encode()
    assert hashlib.sha256(listed).hexdigest() == manifest.parse_head(data[HEAD.size : end])[1].sha256
    return listed


def test_each_bit_of_a_signed_head_is_held():
    data = package.write(PLAIN, FILES, KEY)
    accepted = on_a_board(
        """
from firstboot import p256
# the arithmetic has tests of its own
p256.verify = lambda public, digest, r, s, feed: digest == hashlib.sha256(head).digest()
count = 0
for bit in range(8 * len(head)):
    flipped = bytearray(head)
    flipped[bit // 8] ^= 1 << bit % 8
    count += read(prefix, flipped, given[1]) is not None
print(json.dumps([count, read(prefix, head, given[1]) is not None]))
""",
        data,
        signing.public_hex(KEY),
    )
    assert accepted == [0, True]


def test_head_and_list_with_a_flipped_bit_are_read_or_refused(tmp_path):
    data = package.write(PLAIN, FILES)
    counts = on_a_board(
        """
heads = lists = 0
for bit in range(8 * len(head)):
    flipped = bytearray(head)
    flipped[bit // 8] ^= 1 << bit % 8
    heads += read(prefix, flipped) is not None
values, text = read(prefix, head), bytes.fromhex(given[1])
for bit in range(8 * len(text)):
    flipped = bytearray(text)
    flipped[bit // 8] ^= 1 << bit % 8
    lists += listed(values, flipped, len(data)) is not None
print(json.dumps([heads, lists]))
""",
        data,
        list_of(data).hex(),
        cwd=tmp_path,
    )
    assert all(counts)  # another title or name of a file, say


@settings(max_examples=examples(4), derandomize=FIXED, deadline=None)
@given(st.lists(st.binary(max_size=120) | st.text(max_size=60).map(str.encode), min_size=50, max_size=50))
def test_any_head_and_list_are_read_or_refused(pieces):
    data = package.write(PLAIN, FILES)
    on_a_board(
        """
values = read(prefix, head)
for each in given[1]:
    each = bytes.fromhex(each)
    read(prefix, each)
    read(prefix, head[:20] + each)
    listed(values, each, len(data))
print(json.dumps(True))
""",
        data,
        [each.hex() for each in pieces],
        cwd="/dev/shm",
    )


PATHS = [
    *("main.py", "a/b/c.mpy", "-", "a..b", "x" * 96, "_a-B.9/z"),
    *("", "/", "/main.py", "a//b", "a/", ".", "..", "../main.py", "a/../b", "a/./b", "./main.py", "..."),
    *("a\\b", "C:/a", "a b", "a\x00b", "ä.py", "a~", "a*", "x" * 97, "a\tb", "a\nb"),
    *("boot.py", "BOOT.PY", "settings.json", "vault.0", "vault.1", "trees.0", "Trees.1", "main.py.new", "a/b.NEW"),
]


def test_board_and_bench_allow_the_same_paths():
    data = package.write(PLAIN, FILES)
    found = on_a_board("print(json.dumps([package._is_path(each) for each in given[1]]))", data, PATHS)
    for path, is_allowed in zip(PATHS, found, strict=True):
        if path == "...":  # harmless, and nobody's
            continue
        if is_allowed:
            manifest.check_path(path)
        else:
            with pytest.raises(PackageError):
                manifest.check_path(path)


@pytest.mark.parametrize("key", ["", "04", "zz", "04" + "0" * 127, "04" + "g" * 128])
def test_key_that_is_not_one_refuses_everything_and_an_empty_one_nothing(key):
    data = package.write(PLAIN, FILES, KEY)
    accepted = on_a_board("print(json.dumps(read(prefix, head, given[1]) is not None))", data, key)
    assert accepted == (key == "")
