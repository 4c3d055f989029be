"""The vault's slots, byte by byte."""

import json
import struct
import zlib

import pytest

from tests.support import micropython


def test_decode_refuses_every_truncation_and_every_flipped_bit():
    output = micropython.run("""
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
    assert int(output) > 500


def test_load_takes_the_highest_valid_sequence(tmp_path):
    micropython.run(
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
    output = micropython.run("from firstboot import vault; vault.Vault(('a', 'b'))", cwd=tmp_path)
    assert json.loads(output).items() >= {"event": "vault_slot_damaged", "slot": 0}.items()


def test_save_never_touches_the_newest_slot(tmp_path):
    micropython.run(
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
    micropython.run(
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


def test_save_that_fails_is_reported_and_keeps_the_record(tmp_path):
    output = micropython.run(
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
    assert "flash write failed" in output
    assert "a slot takes 4096" in output


def test_save_that_reads_back_something_else_fails(tmp_path):
    output = micropython.run(
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
    assert "read back" in output


def test_slot_has_the_format():
    """Boards in the field hold slots of this form: it does not change by accident."""
    record = {"active": [{"type": "ACCESS_TOKEN", "token": "zo\u00eb"}]}
    raw = micropython.run(f"from firstboot import vault; print(vault.encode(0x01020304, {record!r}))")
    raw = bytes(eval(raw))
    size = len(raw) - 10 - 4
    assert raw[:10] == b"FBV1" + bytes([4, 3, 2, 1]) + size.to_bytes(2, "little")
    assert json.loads(raw[10:-4]) == record
    assert raw[-4:] == struct.pack("<I", zlib.crc32(raw[:-4]))


@pytest.mark.parametrize("payload", [b"", b"{", b"\xff", b"[]", b"{}"])
def test_slot_whose_payload_is_no_record_is_none(payload):
    body = b"FBV1" + struct.pack("<IH", 1, len(payload)) + payload
    raw = body + struct.pack("<I", zlib.crc32(body))
    found = micropython.run(f"from firstboot import vault; print(vault.decode({raw!r}))").strip()
    assert found == ("(1, {})" if payload == b"{}" else "None")


def test_empty_vault_writes_the_first_slot_first_and_counts_from_one(tmp_path):
    micropython.run(
        """
import os
from firstboot import vault
paths = ("a", "b")
box = vault.Vault(paths)
assert box.record == {} and os.listdir() == []
for sequence, path, others in ((1, "a", 1), (2, "b", 2), (3, "a", 2)):
    record = {"active": [{"token": str(sequence)}]}
    box.save(record)
    assert len(os.listdir()) == others
    assert open(path, "rb").read() == vault.encode(sequence, record)
    assert box.record == record
""",
        cwd=tmp_path,
    )


def test_update_changes_what_it_names_and_leaves_out_what_is_empty(tmp_path):
    micropython.run(
        """
from firstboot import vault
paths = ("a", "b")
box = vault.Vault(paths)
A, B = [{"token": "a"}], [{"token": "b"}]
for changes, record in (
    ({"pending": A}, {"pending": A}),
    ({"active": A, "pending": []}, {"active": A}),
    ({"pending": B}, {"active": A, "pending": B}),
    ({}, {"active": A, "pending": B}),
    ({"active": []}, {"pending": B}),
    ({"pending": []}, {}),
):
    before = box.record
    copy = dict(before)
    box.update(**changes)
    assert box.record == vault.Vault(paths).record == record
    assert before == copy
""",
        cwd=tmp_path,
    )


def test_record_that_fills_a_slot_is_kept_and_a_byte_more_is_refused(tmp_path):
    output = micropython.run(
        """
from firstboot import vault
from firstboot.errors import VaultError
paths = ("a", "b")
box = vault.Vault(paths)
def record(size):
    return {"active": [{"token": "x" * (size - len(vault.encode(1, {"active": [{"token": ""}]})))}]}
full = record(4096)
assert len(vault.encode(1, full)) == 4096
box.save(full)
assert vault.Vault(paths).record == full
try:
    box.save(record(4097))
    assert False
except VaultError as error:
    print(error)
assert vault.Vault(paths).record == box.record == full
""",
        cwd=tmp_path,
    )
    assert "has 4097 bytes; a slot takes 4096" in output


def test_slot_longer_than_any_record_is_damaged_and_not_read_to_its_end(tmp_path):
    output = micropython.run(
        """
import os
from firstboot import vault
real, sizes = open, []
class File:
    def __init__(self, path, mode):
        self._file = real(path, mode)
    def __enter__(self):
        return self
    def __exit__(self, *_):
        self._file.close()
    def read(self, size=-1):
        sizes.append(size)
        return self._file.read(size)
for path, size in (("a", 100000), ("b", 20)):
    with real(path, "wb") as file:
        file.write(b"x" * size)
vault.open = File
vault.Vault(("a", "b"))
assert sizes == [4097, 20], sizes
""",
        cwd=tmp_path,
    )
    assert [(event["event"], event["slot"]) for event in map(json.loads, output.splitlines())] == [
        ("vault_slot_damaged", 0),
        ("vault_slot_damaged", 1),
    ]


@pytest.mark.parametrize("slot", [0, 1])
def test_slot_that_cannot_be_read_is_reported_and_the_other_is_used(tmp_path, slot):
    output = micropython.run(
        f"""
from firstboot import vault
vault.Vault(("a", "b")).save({{"active": []}})
paths = ("a/below", "a") if not {slot} else ("a", "a/below")
assert vault.Vault(paths).record == {{"active": []}}
""",
        cwd=tmp_path,
    )
    event = json.loads(output)
    assert event.items() >= {"event": "vault_slot_unreadable", "slot": slot, "errno": 20}.items()


def test_slot_that_is_not_there_or_empty_is_not_reported(tmp_path):
    (tmp_path / "b").touch()
    assert micropython.run("from firstboot import vault; vault.Vault(('a', 'b'))", cwd=tmp_path) == ""


def test_failed_save_is_made_up_for_by_the_next_one(tmp_path):
    """The same slot, the same sequence: a failure leaves nothing behind but a slot that is not whole."""
    micropython.run(
        """
from firstboot import vault
from firstboot.errors import VaultError
paths = ("a", "b")
box = vault.Vault(paths)
box.save({"active": [{"token": "1"}]})
real = open
def broken(path, mode):
    if mode == "wb":
        with real(path, mode) as file:
            file.write(b"FBV1 torn")
        raise OSError(28)
    return real(path, mode)
for _ in range(3):
    vault.open = broken
    try:
        box.save({"active": [{"token": "2"}]})
        assert False
    except VaultError:
        pass
    assert box.record == {"active": [{"token": "1"}]}
    assert vault.decode(real("a", "rb").read()) == (1, box.record)
vault.open = real
box.save({"active": [{"token": "3"}]})
assert vault.decode(real("b", "rb").read()) == (2, {"active": [{"token": "3"}]})
""",
        cwd=tmp_path,
    )


@pytest.mark.parametrize("magic", [b"FBV0", b"FBV2"])
def test_slot_of_another_format_is_none_though_its_sum_is_right(magic):
    body = magic + struct.pack("<IH", 1, 2) + b"{}"
    raw = body + struct.pack("<I", zlib.crc32(body))
    assert micropython.run(f"from firstboot import vault; print(vault.decode({raw!r}))") == "None\n"


@pytest.mark.parametrize("length", [0, 1, 3, 65535])
def test_slot_of_another_length_is_none_though_its_sum_is_right(length):
    body = b"FBV1" + struct.pack("<IH", 1, length) + b"{}"
    raw = body + struct.pack("<I", zlib.crc32(body))
    assert micropython.run(f"from firstboot import vault; print(vault.decode({raw!r}))") == "None\n"


@pytest.mark.parametrize("number", [1, 5])
def test_slot_is_unreadable_for_every_error_but_its_absence(tmp_path, number):
    output = micropython.run(
        f"""
from firstboot import vault
def open_(path, mode):
    raise OSError({number})
for path in ("a", "b"):
    open(path, "w").close()
vault.open = open_
assert vault.Vault(("a", "b")).record == {{}}
""",
        cwd=tmp_path,
    )
    assert [json.loads(line)["errno"] for line in output.splitlines()] == [number, number]


@pytest.mark.parametrize("read", [b"", b"FBV0", b"\xff"])
def test_save_fails_whatever_else_is_read_back(tmp_path, read):
    micropython.run(
        f"""
from firstboot import vault
from firstboot.errors import VaultError
box = vault.Vault(("a", "b"))
box._read = lambda slot: {read!r}
try:
    box.save({{"active": []}})
    assert False
except VaultError:
    assert box.record == {{}}
""",
        cwd=tmp_path,
    )


def test_slots_are_where_boards_in_the_field_have_them():
    assert micropython.run("from firstboot import vault; print(vault.Vault()._paths)") == "('/vault.0', '/vault.1')\n"
