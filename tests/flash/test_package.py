"""Packages: what is written is read back, and whatever the format forbids is refused in one line."""

import hashlib
import random
import stat
import zlib
from contextlib import suppress
from dataclasses import replace

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec
from hypothesis import given, settings
from hypothesis import strategies as st

from bench.errors import UsageError
from bench.flash import package
from bench.flash.package import Head, Kind, Manifest, PackagedFile, PackageError, manifest, signing, writer
from bench.flash.package.form import HEAD, MAGIC, inflate

KEY, OTHER_KEY = (ec.derive_private_key(number, ec.SECP256R1()) for number in (7, 8))
PUBLIC, OTHER_PUBLIC = map(signing.public_hex, (KEY, OTHER_KEY))
HEAD_OF_ALL = Head(
    kind=Kind.FIRMWARE,
    title="Presse Ä",
    version="1.0-beta 2",
    number=7,
    downgrade=True,
    least="0.2.0",
    chip="esp32",
    board="esp32_generic",
    key=OTHER_PUBLIC,
)
PLAIN = Head(kind=Kind.SOFTWARE, title="press", version="1")
FILES = {
    "firstboot/app.mpy": b"M\x06\x00\x1f" + bytes(3000),
    "main.py": b"import firstboot\n" * 50,
    "data/random.bin": random.Random(1).randbytes(500),
    "data/empty": b"",
}
LINE = f"main.py 1 {hashlib.sha256(b'x').hexdigest()} 1"
PATHS = st.from_regex(r"[A-Za-z0-9_-][A-Za-z0-9_.-]{0,9}(/[A-Za-z0-9_-]{1,9}){0,2}", fullmatch=True)


def of(text: str | bytes, content: bytes = b"x", key: ec.EllipticCurvePrivateKey | None = None) -> bytes:
    """Return a package with this head and, after an empty line, this list, whatever they hold."""
    text = text.encode() if isinstance(text, str) else text
    head, blank, listed = text.partition(b"\n\n")
    if blank:
        head = (head + b"\n").lstrip() + listing(listed)
    return signed(head, key) + listed + content


def listing(listed: bytes, count: int | None = None, length: int | None = None) -> bytes:
    """Return the last line of a head, about a list that is not deflated."""
    lines = listed.count(b"\n") if count is None else count
    packed = len(listed) if length is None else length
    return f"files {lines} {len(listed)} {hashlib.sha256(listed).hexdigest()} {packed}\n".encode()


def signed(head: bytes, key: ec.EllipticCurvePrivateKey | None = None) -> bytes:
    signature = signing.sign(key, head) if key else signing.UNSIGNED
    return HEAD.pack(MAGIC, len(head), signature, hashlib.sha256(head).digest()) + head


def manifest_of(*lines: str, head: str = "kind sw\ntitle press\nversion 1\n") -> str:
    return head + "\n" + "".join(f"{line}\n" for line in lines)


def refused(data: bytes, reason: str = "", key: str = "") -> str:
    """Expect one line, with this reason; return it."""
    with pytest.raises(PackageError) as error:
        package.read(data, "f.fbp", key)
    message = str(error.value)
    assert message.startswith("f.fbp: ")
    assert message.endswith("make it again with bench firmware pack")
    assert message.splitlines() == [message]
    assert reason in message
    return message


def test_package_is_read_as_it_was_written():
    data = package.write(HEAD_OF_ALL, FILES, KEY)
    read = package.read(data, "f", PUBLIC)
    assert read.files == FILES
    assert read.manifest.head == replace(HEAD_OF_ALL, abi=6)
    assert [each.path for each in read.manifest.files] == sorted(FILES)
    assert {each.path: each.length == each.size for each in read.manifest.files} == {
        "firstboot/app.mpy": False,
        "main.py": False,
        "data/random.bin": True,
        "data/empty": True,
    }
    assert read.is_signed
    assert read.is_signed_by(PUBLIC)
    assert not read.is_signed_by(OTHER_PUBLIC)


def test_bytes_of_a_package_are_those_of_the_documented_format():
    listed = f"main.py 1 {hashlib.sha256(b'x').hexdigest()} 1\n".encode()
    deflated = packed(listed)
    digest = hashlib.sha256(listed).hexdigest()
    head = f"kind sw\ntitle press\nversion 1\nfiles 1 {len(listed)} {digest} {len(deflated)}\n".encode()
    start = b"FBP1" + len(head).to_bytes(4, "little") + bytes(64) + hashlib.sha256(head).digest()
    assert package.write(PLAIN, {"main.py": b"x"}) == start + head + deflated + b"x"
    data = package.write(HEAD_OF_ALL, FILES, KEY)
    wide = data[HEAD.size :][: HEAD.unpack_from(data)[1]].decode().split("\n")[:-2]
    assert wide == [
        "kind fw",
        "title Presse Ä",
        "version 1.0-beta 2",
        "number 7",
        "downgrade yes",
        "least 0.2.0",
        "chip esp32",
        "board esp32_generic",
        "abi 6",
        f"key {OTHER_PUBLIC}",
    ]


def test_same_input_makes_the_same_bytes_in_any_order_of_files():
    backwards = dict(reversed(FILES.items()))
    assert package.write(HEAD_OF_ALL, FILES, KEY) == package.write(HEAD_OF_ALL, backwards, KEY)


@settings(max_examples=30)
@given(
    st.dictionaries(PATHS, st.binary(max_size=2000) | st.binary(max_size=4).map(lambda each: each * 500), max_size=8),
    st.booleans(),
)
def test_any_files_come_back_or_are_refused(files, is_signed):
    try:
        data = package.write(PLAIN, files, KEY if is_signed else None)
    except PackageError as error:
        assert len(str(error).splitlines()) == 1
        return
    assert package.read(data, "f", PUBLIC if is_signed else "").files == files


def test_package_cut_off_anywhere_is_refused():
    data = package.write(PLAIN, {"main.py": b"x" * 99, "z": b"y"})
    for length in range(len(data)):
        refused(data[:length])


def test_package_with_a_byte_more_is_refused():
    refused(package.write(PLAIN, {"main.py": b"x"}) + b"\0", "bytes of content")


def test_each_bit_of_a_signed_package_is_held():
    """With the key, whatever bit is flipped: in the signature, the manifest (its SHA-256 made to fit) or a file.

    But for the bits after the last code of what is deflated, which fill its last byte and are of nothing.
    """
    files = {"main.mpy": b"M\x06" + bytes(60), "z": b"1234"}
    data = package.write(HEAD_OF_ALL, files, KEY)
    end = HEAD.size + HEAD.unpack_from(data)[1]
    fillings = (len(data) - len(files["z"]) - 1, end + manifest.parse_head(data[HEAD.size : end])[1].length - 1)
    for position in range(len(data)):
        for bit in range(8):
            flipped = bytearray(data)
            flipped[position] ^= 1 << bit
            if HEAD.size <= position < end:
                flipped[72:104] = hashlib.sha256(flipped[HEAD.size : end]).digest()
                refused(bytes(flipped), "signed by another key", PUBLIC)
            elif position in fillings:
                with suppress(PackageError):
                    assert package.read(bytes(flipped), "f.fbp", PUBLIC).files == files
            else:
                refused(bytes(flipped), key=PUBLIC)


def test_manifest_with_a_flipped_bit_and_no_key_is_read_or_refused_in_one_line():
    data = package.write(PLAIN, {"main.mpy": b"M\x06" + bytes(60)})
    end = HEAD.size + HEAD.unpack_from(data)[1]
    for position in range(HEAD.size, end):
        for bit in range(8):
            flipped = bytearray(data)
            flipped[position] ^= 1 << bit
            flipped[72:104] = hashlib.sha256(flipped[HEAD.size : end]).digest()
            try:
                read = package.read(bytes(flipped), "f.fbp")
            except PackageError as error:
                assert len(str(error).splitlines()) == 1
            else:
                assert read.manifest.encode()[0] == flipped[HEAD.size : end]  # another title, say


@pytest.mark.parametrize(
    ("signer", "reason"), [(None, "not signed"), (OTHER_KEY, "signed by another key")], ids=["nobody", "another"]
)
def test_package_that_the_key_did_not_sign_is_refused_before_its_manifest_is_looked_at(signer, reason):
    refused(of("garbage", key=signer), reason, PUBLIC)


def test_signature_of_zeros_or_of_numbers_that_are_too_large_is_not_one():
    for signature in (signing.UNSIGNED, b"\xff" * 64, bytes(63) + b"\1", b"\1" + bytes(63)):
        assert not signing.is_signed_by(PUBLIC, b"data", signature)


@pytest.mark.parametrize(
    "path",
    [
        *("", "/", "/main.py", "a//b", "a/", ".", "..", "../main.py", "a/../b", "a/./b", "./main.py"),
        *("a\\b", "C:/a", "a b", "a\x00b", "ä.py", "a~", "a*", "lib/ä", "x" * 97, "a/" * 48 + "b"),
        *("boot.py", "BOOT.PY", "settings.json", "vault.0", "vault.1", "trees.0", "Trees.1", "main.py.new", "a/b.NEW"),
    ],
    ids=ascii,
)
def test_path_that_a_board_must_not_write_is_refused(path):
    with pytest.raises(PackageError):
        package.write(PLAIN, {path: b"x"})
    refused(of(manifest_of(LINE.replace("main.py", path))))


@pytest.mark.parametrize(
    "paths", [("a", "a"), ("a.py", "A.py"), ("lib", "lib/a"), ("lib/a", "LIB"), ("a/b", "a/b/c/d")], ids=str
)
def test_paths_that_exclude_each_other_are_refused(paths):
    lines = [LINE.replace("main.py", path) for path in paths]
    refused(of(manifest_of(*lines), b"xx"))


@pytest.mark.parametrize(
    ("head", "reason"),
    [
        ("", "does not end with its list"),
        ("kind sw\ntitle a\n", "no version"),
        ("kind sw\nversion a\n", "no title"),
        ("title a\nversion 1\n", "no kind"),
        ("kind hw\ntitle a\nversion 1\n", "neither fw nor sw"),
        ("kind\ntitle a\nversion 1\n", "neither fw nor sw"),
        ("title a\nkind sw\nversion 1\n", "out of order"),
        ("kind sw\nkind sw\ntitle a\nversion 1\n", "there twice"),
        ("kind sw\ntitle a\nversion 1\nother 1\n", "not a key"),
        ("kind sw\ntitle a\nversion 1\nchip esp32\nleast 1.0\n", "out of order"),
        ("kind sw\ntitle \nversion 1\n", "title is empty"),
        ("kind sw\ntitle\nversion 1\n", "title is empty"),
        ("kind sw\ntitle  a\nversion 1\n", "printable"),
        ("kind sw\ntitle a\x07\nversion 1\n", "printable"),
        ("kind sw\ntitle a\r\nversion 1\r\n", "printable"),
        (f"kind sw\ntitle {'a' * 65}\nversion 1\n", "printable"),
        (f"kind sw\ntitle {'😀' * 64}\nversion 1\n", "bytes, the limit is 255"),
        ("kind sw\ntitle a\nversion \x1b\n", "printable"),
        ("kind sw\ntitle a\nversion 1\nnumber -1\n", "not a number"),
        ("kind sw\ntitle a\nversion 1\nnumber 01\n", "not a number"),
        ("kind sw\ntitle a\nversion 1\nnumber 1_0\n", "not a number"),
        ("kind sw\ntitle a\nversion 1\nnumber \u0661\n", "not a number"),
        ("kind sw\ntitle a\nversion 1\nnumber 2147483648\n", "not from 0 to"),
        ("kind sw\ntitle a\nversion 1\ndowngrade no\n", "not yes"),
        ("kind sw\ntitle a\nversion 1\nleast a\n", "numbers and dots"),
        ("kind sw\ntitle a\nversion 1\nleast 1..2\n", "numbers and dots"),
        ("kind sw\ntitle a\nversion 1\nchip ../x\n", "not a name"),
        ("kind sw\ntitle a\nversion 1\nboard \n", "board is empty"),
        ("kind sw\ntitle a\nversion 1\nabi 0\n", "ABI is 0"),
        ("kind sw\ntitle a\nversion 1\nabi 6\n", "an ABI, and no .mpy files"),
        ("kind sw\ntitle a\nversion 1\nabi 256\n", "not from 1 to 255"),
        ("kind sw\ntitle a\nversion 1\nkey 04\n", "130 hex digits"),
        (f"kind sw\ntitle a\nversion 1\nkey {PUBLIC.upper()}\n", "130 hex digits"),
        (f"kind sw\ntitle a\nversion 1\nkey 04{'0' * 128}\n", "not a point"),
        (f"kind sw\ntitle a\nversion 1\nkey {PUBLIC}\n", "a new key, and no signature"),
    ],
    ids=ascii,
)
def test_head_that_breaks_a_rule_is_refused(head, reason):
    refused(of(manifest_of(LINE, head=head)), reason)


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        (b"", "line feed"),
        (b"\n", "does not end with its list"),
        (b"\n\n", "no kind"),
        (b"kind sw\ntitle a\nversion 1\n", "does not end with its list"),
        (b"kind sw\ntitle a\nversion 1", "line feed"),
        (b"kind sw\ntitle \xff\nversion 1\n\n", "not UTF-8"),
        (manifest_of(), "0 files"),
        (manifest_of(""), "is not path, size"),
        (manifest_of(LINE, ""), "is not path, size"),
        (manifest_of(LINE + " "), "is not path, size"),
        (manifest_of(LINE.replace(" ", "\t")), "is not path, size"),
        (manifest_of(LINE.replace(" ", "  ")), "is not path, size"),
        (manifest_of(LINE.upper().replace("MAIN.PY", "main.py")), "something else than a SHA-256"),
        (manifest_of(LINE.replace("main.py", "main.mpy")), "no ABI, and .mpy files"),
        (manifest_of(LINE.replace("main.py", "firstboot/a.py")), "firstboot/ is of the firmware"),
        (manifest_of(f"{'a' * 250} 1 {'0' * 64} 1"), "bytes, the limit is 255"),
        (manifest_of(*(LINE.replace("main.py", f"a{number}") for number in range(256))), "list of 256 files"),
    ],
    ids=range(17),
)
def test_manifest_that_breaks_a_rule_is_refused(text, reason):
    refused(of(text), reason)


HEAD_LINES = b"kind sw\ntitle a\nversion 1\n"
LISTED = f"{LINE}\n".encode()
DIGEST = hashlib.sha256(LISTED).hexdigest()


@pytest.mark.parametrize(
    ("last", "reason"),
    [
        (f"files 2 {len(LISTED)} {DIGEST} {len(LISTED)}", "1 files in the list, where the head has 2"),
        (f"files 0 {len(LISTED)} {DIGEST} {len(LISTED)}", "a list of 0 files"),
        (f"files 256 {len(LISTED)} {DIGEST} {len(LISTED)}", "a list of 256 files"),
        (f"files 1 32769 {DIGEST} {len(LISTED)}", "32,769 bytes"),
        (f"files 1 {len(LISTED)} {DIGEST} {len(LISTED) + 1}", "in the package"),
        (f"files 1 {len(LISTED)} {DIGEST} 0", "0 in the package"),
        (f"files 1 {len(LISTED) - 1} {DIGEST} {len(LISTED) - 1}", "another SHA-256"),
        (f"files 1 {len(LISTED) + 1} {DIGEST} {len(LISTED)}", "the list is"),
        (f"files 1 {len(LISTED)} {DIGEST.upper()} {len(LISTED)}", "something else than a SHA-256"),
        (f"files 1 {len(LISTED)} {'0' * 64} {len(LISTED)}", "another SHA-256"),
        (f"files 1 {len(LISTED)} {DIGEST}", "does not end with its list"),
        (f"files 1 {len(LISTED)} {DIGEST} {len(LISTED)} 1", "does not end with its list"),
        (f"files 01 {len(LISTED)} {DIGEST} {len(LISTED)}", "not a number"),
    ],
)
def test_head_that_lies_about_its_list_is_refused(last, reason):
    refused(signed(HEAD_LINES + f"{last}\n".encode()) + LISTED + b"x", reason)


def test_list_is_inflated_no_further_than_its_size():
    bomb = packed(bytes(1 << 22))
    last = f"files 1 32768 {DIGEST} {len(bomb)}\n".encode()
    refused(signed(HEAD_LINES + last) + bomb, "the list is not inflated to 32,768 bytes")


def test_head_that_is_longer_than_it_may_be_is_refused_unread():
    refused(HEAD.pack(MAGIC, 1025, bytes(64), bytes(32)), "1,025 bytes, the limit is 1,024")
    refused(HEAD.pack(MAGIC, 0xFFFFFFFF, bytes(64), bytes(32)) + bytes(99), "the limit is 1,024")
    refused(HEAD.pack(b"FBP2", 1, bytes(64), bytes(32)) + bytes(99), "not a package")
    refused(HEAD.pack(MAGIC, 1, bytes(64), bytes(32)) + b"\n", "another SHA-256")


@settings(max_examples=50)
@given(st.binary(max_size=300) | st.text(max_size=200).map(str.encode))
def test_any_manifest_is_read_or_refused_in_one_line(text):
    refused(of(b"kind sw\ntitle a\nversion 1\n" + text, b""))
    refused(of(text, b""))


def packed(content: bytes, bits: int = 10) -> bytes:
    deflater = zlib.compressobj(9, zlib.DEFLATED, -bits)
    return deflater.compress(content) + deflater.flush()


def with_file(size: int, content: bytes, length: int | None = None, of_what: bytes = b"") -> bytes:
    line = f"main.py {size} {hashlib.sha256(of_what).hexdigest()} {len(content) if length is None else length}"
    return of(manifest_of(line), content)


def test_length_or_size_that_lies_is_refused():
    content = b"x" * 500
    small = packed(content)
    assert package.read(with_file(500, small, of_what=content), "f").files == {"main.py": content}
    refused(with_file(499, small, of_what=content[:499]), "not inflated to 499 bytes")
    refused(with_file(501, small, of_what=content), "not inflated to 501 bytes")
    refused(with_file(500, small + b"\0", of_what=content), "longer in the package")
    refused(with_file(500, small[:-1], of_what=content), "not inflated")
    refused(with_file(500, small, len(small) + 1, of_what=content), "bytes of content")
    refused(with_file(500, small, len(small) - 1, of_what=content), "bytes of content")
    refused(with_file(500, small, 501, of_what=content), "501 in the package")
    refused(with_file(500, b"\xff" + small[1:], of_what=content), "main.py is damaged: it cannot be inflated")
    refused(with_file(500, small, of_what=b"other"), "main.py has another SHA-256")
    refused(with_file(1, b"x", of_what=b"y"), "main.py has another SHA-256")
    refused(with_file((1 << 20) + 1, small, of_what=content), "1,048,576 at most")


def test_bomb_is_inflated_no_further_than_its_size():
    bomb = packed(bytes(1 << 22))
    refused(with_file((1 << 20), bomb), "not inflated to 1,048,576 bytes")
    refused(with_file(len(bomb), bomb), "another SHA-256")  # stored
    refused(with_file(len(bomb) + 1, bomb), "not inflated")


@pytest.mark.parametrize(("distance", "is_read"), [(1024, True), (1025, False), (3000, False)])
def test_copy_from_further_back_than_the_window_of_a_board_is_refused(distance, is_read):
    once = random.Random(2).randbytes(distance)
    content = once + once[:200]
    data = with_file(len(content), packed(content, 15), of_what=content)
    if is_read:
        assert package.read(data, "f").files == {"main.py": content}
    else:
        refused(data, "main.py is damaged: it cannot be inflated")


def test_what_is_deflated_needs_no_more_than_the_window_of_a_board():
    once = random.Random(3).randbytes(1500)
    assert package.read(package.write(PLAIN, {"a": once * 3}), "f").files == {"a": once * 3}


@pytest.mark.parametrize(
    ("files", "reason"),
    [
        ({}, "0 files"),
        ({f"a{number}": b"" for number in range(256)}, "256 files"),
        ({"a": bytes((1 << 20) + 1)}, "1,048,577 bytes"),
        ({"a.mpy": b"source"}, "not a compiled module"),
        ({"a.mpy": b"M"}, "not a compiled module"),
        ({"a.mpy": b"M\x06", "b.mpy": b"M\x05"}, "a.mpy has ABI 6, b.mpy has 5"),
        ({f"{'a' * 90}{number:03}": b"" for number in range(255)}, "fewer files"),
    ],
    ids=["none", "many", "large", "source", "short", "mixed", "long"],
)
def test_files_that_cannot_be_packed_are_refused(files, reason):
    with pytest.raises(PackageError, match=reason):
        package.write(PLAIN, files)


def test_new_key_needs_the_present_one():
    with pytest.raises(PackageError, match="--sign"):
        package.write(replace(PLAIN, key=PUBLIC), {"a": b""})


def test_limits_are_those_of_the_format_to_the_byte():
    files = {f"{'a' * 50}{number:03}": b"" for number in range(254)} | {"b" * 96: b""}
    head = Head(kind=Kind.SOFTWARE, title="a" * 64, version="a" * 64, number=manifest.NUMBER_LIMIT)
    assert package.read(package.write(head, files), "f").files == files
    largest = {"a": random.Random(4).randbytes(1 << 20)}
    assert package.read(package.write(PLAIN, largest), "f").files == largest
    assert len(b"title ") + len(("😀" * 62 + "a").encode()) == manifest.LINE_LIMIT
    package.write(replace(PLAIN, title="😀" * 62 + "a"), {"a": b""})
    with pytest.raises(PackageError, match="256 bytes"):
        package.write(replace(PLAIN, title="😀" * 62 + "aa"), {"a": b""})


def test_manifest_is_parsed_to_what_was_encoded():
    file = PackagedFile(path="main.py", size=9, sha256="0" * 64, length=3)
    for head in (PLAIN, replace(HEAD_OF_ALL), replace(PLAIN, number=1)):
        whole = Manifest(head=head, files=(file,))
        encoded, deflated = whole.encode()
        found, listed = manifest.parse_head(encoded)
        assert manifest.parse_list(found, listed, inflate(deflated, listed.size)) == whole
    zero = b"kind sw\ntitle a\nversion 1\nnumber 0\n" + listing(b"a\n")
    assert manifest.parse_head(zero)[0].number == 0


def test_files_of_an_application_leave_hidden_ones_out(tmp_path):
    for path in ("main.py", "lib/a.py", ".git/config", "lib/.env", "__pycache__/main.pyc"):
        (tmp_path / path).parent.mkdir(exist_ok=True)
        (tmp_path / path).write_bytes(b"x")
    assert writer.application_files(tmp_path) == {"main.py": b"x", "lib/a.py": b"x"}
    with pytest.raises(PackageError, match="not a folder"):
        writer.application_files(tmp_path / "main.py")
    (tmp_path / "empty").mkdir()
    with pytest.raises(PackageError, match="no files"):
        writer.application_files(tmp_path / "empty")


def test_key_is_made_once_for_its_owner_alone(tmp_path):
    path = tmp_path / "key.pem"
    made = signing.make_key(path)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    before = path.read_bytes()
    assert signing.public_hex(signing.make_key(path)) == signing.public_hex(made)
    assert path.read_bytes() == before
    assert signing.public_key(str(path)) == signing.public_hex(made)
    assert signing.public_key(PUBLIC.upper()) == PUBLIC


@pytest.mark.parametrize("curve", [ec.SECP384R1(), ec.SECP256K1()], ids=lambda curve: curve.name)
def test_key_on_another_curve_is_refused(tmp_path, curve):
    form = (serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    path = tmp_path / "key.pem"
    path.write_bytes(ec.generate_private_key(curve).private_bytes(*form))
    with pytest.raises(UsageError, match="another kind of key than P-256"):
        signing.private_key(path)


def test_signature_has_two_numbers_of_32_bytes_each():
    for number in range(40):
        signature = signing.sign(KEY, bytes([number]))
        assert len(signature) == 64
        assert signing.is_signed_by(PUBLIC, bytes([number]), signature)
        assert not signing.is_signed_by(PUBLIC, bytes([number, 0]), signature)
