"""The vault's slots, byte by byte."""

import json

from tests.firmware import device


def test_decode_refuses_every_truncation_and_every_flipped_bit():
    said = device.run("""
from firstboot import vault
record = {"active": [{"type": "ACCESS_TOKEN", "token": "0123456789abcdef"}]}
raw = vault.encode(7, record)
assert vault.decode(raw) == (7, record)
cases = 0
for size in range(len(raw)):
    assert vault.decode(raw[:size]) is None, size
    cases += 1
for at in range(len(raw)):
    for bit in range(8):
        damaged = bytearray(raw)
        damaged[at] ^= 1 << bit
        assert vault.decode(damaged) is None, (at, bit)
        cases += 1
assert vault.decode(raw + b"x") is None
for other in ([], "text", None, 5):  # whole, and not a record
    assert vault.decode(vault.encode(7, other)) is None
print(cases)
""")
    assert int(said) > 500


def test_load_takes_the_highest_valid_sequence(tmp_path):
    device.run(
        """
from firstboot import vault
paths = ("a", "b")
def slots(first, second):
    for path, raw in zip(paths, (first, second)):
        with open(path, "wb") as file:
            file.write(raw)
    return vault.Vault(paths)
old, new = vault.encode(4, {"active": []}), vault.encode(5, {"pending": []})
assert slots(old, new).record == {"pending": []}
assert slots(new, old).record == {"pending": []}
assert slots(old, b"").record == {"active": []}
assert slots(old, new[:-1]).record == {"active": []}
assert slots(b"garbage", new).record == {"pending": []}
assert slots(b"", b"").record == {}
assert slots(b"x" * 20, b"y" * 20).record == {}
""",
        cwd=tmp_path,
    )


def test_load_tells_which_slot_is_damaged(tmp_path):
    (tmp_path / "a").write_bytes(b"FBV1 but then nothing that fits")
    said = device.run("from firstboot import vault; vault.Vault(('a', 'b'))", cwd=tmp_path)
    assert json.loads(said).items() >= {"event": "vault_slot_damaged", "slot": 0}.items()


def test_save_never_touches_the_newest_slot(tmp_path):
    device.run(
        """
from firstboot import vault
paths = ("a", "b")
def read(path):
    try:
        return open(path, "rb").read()
    except OSError:
        return b""
for number in range(1, 10):
    box = vault.Vault(paths)
    before = [read(path) for path in paths]
    box.save({"active": [{"token": str(number)}]})
    after = [read(path) for path in paths]
    kept = [old for old, new in zip(before, after) if old == new]
    assert len(kept) == 1, number
    if number > 1:
        assert vault.decode(kept[0]) == (number - 1, {"active": [{"token": str(number - 1)}]})
    assert vault.Vault(paths).record == box.record == {"active": [{"token": str(number)}]}
""",
        cwd=tmp_path,
    )


def test_save_over_a_damaged_slot_keeps_the_whole_one(tmp_path):
    device.run(
        """
from firstboot import vault
for damaged in (0, 1):
    paths = ("a%d" % damaged, "b%d" % damaged)
    for slot in (0, 1):
        with open(paths[slot], "wb") as file:
            file.write(b"garbage that is long enough" if slot == damaged else vault.encode(3, {"active": []}))
    box = vault.Vault(paths)
    box.save({"pending": []})
    assert vault.decode(open(paths[damaged], "rb").read()) == (4, {"pending": []})
    assert vault.decode(open(paths[1 - damaged], "rb").read()) == (3, {"active": []})
""",
        cwd=tmp_path,
    )


def test_save_that_fails_says_so_and_keeps_the_record(tmp_path):
    said = device.run(
        """
from firstboot import vault
from firstboot.errors import VaultError
box = vault.Vault(("missing/a", "missing/b"))
for record in ({"active": []}, {"active": [{"token": "x" * 5000}]}):
    try:
        box.save(record)
    except VaultError as error:
        print(error)
    assert box.record == {}
""",
        cwd=tmp_path,
    )
    assert "flash write failed" in said
    assert "a slot takes 4096" in said


def test_save_that_reads_back_something_else_fails(tmp_path):
    said = device.run(
        """
from firstboot import vault
from firstboot.errors import VaultError
box = vault.Vault(("a", "/dev/null"))  # a sector that does not take
box.save({"active": []})
try:
    box.save({"pending": []})
except VaultError as error:
    print(error)
assert box.record == {"active": []}
""",
        cwd=tmp_path,
    )
    assert "read back" in said
