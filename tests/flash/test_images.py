"""MicroPython images: found, checked, and taken apart."""

import hashlib
import re
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from bench import boards, paths
from bench.boards import BoardDefinition, Partition
from bench.errors import BenchError
from bench.flash import download, esp_image, images, partitions
from tests.support.flash_commands import IMAGE

GENERIC = boards.load("esp32_generic")
OTA = boards.load("esp32_generic_ota")
S3 = boards.load("esp32_s3_8mb")
MB = 1 << 20


def program_bytes(chip: str, *, flash_mb: int = 4, mode: int = 2, text: bytes = b"x") -> bytes:
    """A program of one segment, as ESP-IDF's tools write it."""
    kind = boards.CHIPS[chip].image_id
    size = (flash_mb.bit_length() - 1) << 4
    head = bytes([0xE9, 1, mode, size]) + bytes(8) + kind.to_bytes(2, "little") + bytes(9) + b"\x01"
    segment = bytes(4) + len(text).to_bytes(4, "little") + text
    body = head + segment
    body += bytes(15 - len(body) % 16) + b"\xef"
    return body + hashlib.sha256(body).digest()


def image_bytes(
    board: BoardDefinition,
    *,
    version: str = "1.25.0",
    banner: bytes | None = None,
    table: tuple[Partition, ...] | None = None,
    apps: dict[str, bytes] | None = None,
    flash_mb: int = 4,
    mode: int = 2,
    chip: str = "",
) -> bytes:
    """An image for a board, laid out as MicroPython's build does it."""
    chip = chip or board.chip
    text = f"MicroPython v{version} on 2025-04-15".encode() if banner is None else banner
    table = board.partitions if table is None else table
    first = next(each.label for each in table if each.type == 0)
    image = bytearray(b"\xff" * 0x10000)
    loader = program_bytes(chip, flash_mb=flash_mb, mode=mode)
    image[board.image_offset : board.image_offset + len(loader)] = loader
    image[0x8000:0x8C00] = partitions.encode(table)
    for each in table:
        content = (apps or {first: program_bytes(chip, text=text * 200)}).get(each.label, b"")
        if content:
            image = image.ljust(each.offset, b"\xff")
            image[each.offset : each.offset + len(content)] = content
    return bytes(image[board.image_offset :])


class _Handler(BaseHTTPRequestHandler):
    """A web server's answers, set by the test."""

    answer: Callable[["_Handler"], None]
    requests: list[str]

    def do_GET(self) -> None:
        self.requests.append(self.path)
        type(self).answer(self)

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the library's name
        pass

    def send(self, data: bytes, *, announced: int | None = None, status: int = 200) -> None:
        self.send_response(status)
        self.send_header("Content-Length", str(len(data) if announced is None else announced))
        self.end_headers()
        self.wfile.write(data)


@contextmanager
def web(answer: Callable[[_Handler], None]) -> Iterator[tuple[str, list[str]]]:
    """A web server: its address, and the paths that it was asked for."""
    handler = type("Handler", (_Handler,), {"answer": answer, "requests": []})
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}", handler.requests  # type: ignore[attr-defined]
        finally:
            server.shutdown()
            thread.join()


def at(board: BoardDefinition, address: str, data: bytes | None = None) -> BoardDefinition:
    """The board, with its image at this address; with the SHA-256 of `data`, or none."""
    sha256 = "" if data is None else hashlib.sha256(data).hexdigest()
    image = replace(board.image, url=f"{address}/{board.image.file}", sha256=sha256)
    return replace(board, image=image)


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch) -> Path:
    folder = tmp_path / "images"
    monkeypatch.setenv("BENCH_IMAGES", str(folder))
    for name in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.delenv(name, raising=False)
    return folder


def left(folder: Path) -> list[str]:
    return sorted(each.name for each in folder.iterdir()) if folder.exists() else []


GOOD = image_bytes(GENERIC)


def stalls(handler: _Handler) -> None:
    handler.send(GOOD[:1000], announced=len(GOOD))
    handler.rfile.read(1)  # until the other side has enough of it


@pytest.mark.parametrize(
    ("answer", "message"),
    [
        (lambda to: to.send(b"", status=404), "answers 404"),
        (lambda to: to.send(b"", status=500), "answers 500"),
        (lambda to: to.send(GOOD[:-1], announced=len(GOOD)), "closed connection"),
        (lambda _: None, "disconnected"),
        (lambda to: to.wfile.write(b"not HTTP\r\n\r\n"), "127.0.0.1"),
        (stalls, "sent nothing for"),
    ],
    ids=["404", "500", "truncated", "nothing", "garbage", "stall"],
)
def test_find_names_file_and_folder_if_the_download_fails(answer, message, cache, monkeypatch):
    monkeypatch.setattr(download, "_STALL_S", 0.3)
    with web(answer) as (address, _), pytest.raises(BenchError) as caught:
        images.find(at(GENERIC, address, GOOD))
    text = str(caught.value)
    assert message in text
    assert f"download {address}/{GENERIC.image.file} on another machine, and copy it there" in text
    assert f"{GENERIC.image.file} is not in {cache}" in text
    assert left(cache) == []


def test_find_without_a_network_is_explained():
    with web(lambda _: None) as (address, _):
        pass
    with pytest.raises(BenchError, match="cannot be downloaded now"):
        images.find(at(GENERIC, address, GOOD))


def test_find_refuses_an_endless_download(cache, monkeypatch):
    monkeypatch.setattr(download, "_LIMIT", 1000)
    with web(lambda to: to.send(GOOD)) as (address, _), pytest.raises(BenchError, match="larger than"):
        images.find(at(GENERIC, address, GOOD))
    assert left(cache) == []


@pytest.mark.parametrize(
    ("served", "message"),
    [
        (GOOD[:-1] + b"\0", "its SHA-256 is"),
        (b"<html>sign in to the network</html>", "its SHA-256 is"),
    ],
)
def test_find_keeps_no_download_with_another_hash(served, message, cache):
    with web(lambda to: to.send(served)) as (address, _), pytest.raises(BenchError, match=message) as caught:
        images.find(at(GENERIC, address, GOOD))
    assert "boards/esp32_generic.toml says " + hashlib.sha256(GOOD).hexdigest() in str(caught.value)
    assert left(cache) == []


def test_find_keeps_no_download_that_is_not_for_the_board(cache):
    other = image_bytes(S3)
    with web(lambda to: to.send(other)) as (address, _), pytest.raises(BenchError, match="is for esp32s3"):
        images.find(at(GENERIC, address, other))
    assert left(cache) == []


def test_find_downloads_once_and_reports_progress(cache):
    progress: list[tuple[int, int]] = []
    with web(lambda to: to.send(GOOD)) as (address, requests):
        board = at(GENERIC, address, GOOD)
        first = images.find(board, on_progress=lambda *each: progress.append(each))
        second = images.find(board)
    assert requests == [f"/{GENERIC.image.file}"]
    assert first == second
    assert first.data == GOOD
    assert first.path == cache / GENERIC.image.file
    assert first.path.read_bytes() == GOOD
    assert first.notice == ""
    assert left(cache) == [GENERIC.image.file]
    assert progress[0] == (0, len(GOOD))
    assert progress[-1] == (len(GOOD), len(GOOD))
    assert progress == sorted(progress)


def test_find_mends_a_damaged_cache(cache):
    cache.mkdir()
    (cache / GENERIC.image.file).write_bytes(GOOD[:-1])
    with web(lambda to: to.send(GOOD)) as (address, requests):
        assert images.find(at(GENERIC, address, GOOD)).data == GOOD
    assert len(requests) == 1
    assert (cache / GENERIC.image.file).read_bytes() == GOOD


def test_find_reports_that_the_cache_is_damaged_if_it_cannot_mend_it(cache):
    cache.mkdir()
    (cache / GENERIC.image.file).write_bytes(GOOD[:-1])
    with web(lambda to: to.send(b"", status=503)) as (address, _), pytest.raises(BenchError, match="is damaged, and"):
        images.find(at(GENERIC, address, GOOD))


def test_find_holds_a_file_that_nobody_vouches_for_to_its_first_use(cache):
    other = image_bytes(GENERIC, banner=b"MicroPython v1.25.0 on 2025-04-16")
    served = [GOOD]
    with web(lambda to: to.send(served[0])) as (address, requests):
        board = at(GENERIC, address)
        assert "cannot be verified" in images.find(board).notice
        assert images.find(board).notice == ""
        (cache / GENERIC.image.file).unlink()
        served[0] = other
        with pytest.raises(BenchError, match=r"SHA256SUMS, which has the SHA-256 of its first use, says"):
            images.find(board)
        assert left(cache) == ["SHA256SUMS"]
        served[0] = GOOD
        assert images.find(board).data == GOOD
    assert len(requests) == 3
    # sha256sum -c reads it
    assert (cache / "SHA256SUMS").read_text() == f"{hashlib.sha256(GOOD).hexdigest()}  {GENERIC.image.file}\n"


def test_find_holds_a_given_file_of_that_name_to_it_too(cache, tmp_path):
    given = tmp_path / GENERIC.image.file
    given.write_bytes(GOOD)
    board = at(GENERIC, "http://127.0.0.1:9")
    assert "cannot be verified" in images.find(board, given).notice
    given.write_bytes(image_bytes(GENERIC, version="1.25.0-preview"))
    with pytest.raises(BenchError, match="SHA256SUMS"):
        images.find(board, given)
    assert not (cache / GENERIC.image.file).exists()


def test_find_refuses_a_given_file_that_has_the_name_and_not_the_hash(tmp_path):
    given = tmp_path / GENERIC.image.file
    given.write_bytes(GOOD)
    with pytest.raises(BenchError, match=re.escape(f"{given} is not the expected {GENERIC.image.file}")):
        images.find(GENERIC, given)


def test_find_accepts_a_given_file_of_another_name(tmp_path):
    given = tmp_path / "mine.bin"
    given.write_bytes(image_bytes(GENERIC, version="1.26.0-preview.7.g12ab"))
    found = images.find(GENERIC, given)
    assert found.notice.startswith("mine.bin is MicroPython 1.26.0-preview.7.g12ab of 2025-04-15; boards/esp32_gen")
    assert found.sha256 == hashlib.sha256(given.read_bytes()).hexdigest()


def moved(board: BoardDefinition, label: str, **fields: int) -> tuple[Partition, ...]:
    return tuple(replace(each, **fields) if each.label == label else each for each in board.partitions)


BAD: dict[str, tuple[bytes, str]] = {
    "empty": (b"", "is not an image for an ESP32"),
    "text": (b"<!DOCTYPE html>", "is not an image for an ESP32"),
    "uf2": (b"UF2\n" + bytes(508), r"not \.uf2 or \.elf"),
    "one byte": (b"\xe9", "the program at 0x0 is cut off"),
    "header": (GOOD[:24], "the program at 0x0 is cut off"),
    "half a bootloader": (GOOD[:60], "the program at 0x0 is cut off"),
    "app only": (program_bytes("esp32", text=b"MicroPython v1.25.0 on 2025-04-15"), "no partition table.*not .app-bin"),
    "table cut": (GOOD[:0x7020], "no partition table"),
    "no app": (GOOD[:0x8000], "no program in this image: its end is missing"),
    "app cut": (GOOD[:-40], "the program at 0xf000 is cut off"),
    "app damaged": (GOOD[:0xF080] + b"?" + GOOD[0xF081:], "the program at 0xf000 is damaged"),
    "other app": (
        image_bytes(GENERIC, apps={"factory": program_bytes("esp32c3")}),
        "the program in factory is not for esp32, as",
    ),
    "no MicroPython": (image_bytes(GENERIC, banner=b"NodeMCU"), "is not MicroPython's"),
    "wrong chip": (image_bytes(S3), "is for esp32s3, and boards/esp32_generic.toml for esp32: choose"),
    "too old": (image_bytes(GENERIC, version="1.22.2"), r"MicroPython 1.22.2, and the firmware needs 1.23 or later"),
    "too large": (image_bytes(GENERIC, flash_mb=8), "is for 8 MB of flash, and boards/esp32_generic.toml has 4"),
    "flash mode": (image_bytes(GENERIC, mode=0), "is for flash_mode qio, and boards/esp32_generic.toml says dio"),
    "table": (
        image_bytes(GENERIC, table=moved(GENERIC, "vfs", offset=0x210000, size=0x1F0000)),
        "vfs is data 0x81 at 0x210000 with 0x1f0000 bytes in the image, data 0x81 at 0x200000 with 0x200000 bytes in",
    ),
    "missing": (image_bytes(OTA), "nvs is data 0x02 at 0x9000 with 0x4000 bytes in the image"),
    "more": (
        image_bytes(GENERIC, table=(*moved(GENERIC, "vfs", size=0x1F0000), Partition("rom", 1, 0x8F, 0x3F0000, 65536))),
        "vfs is data",
    ),
    "no vfs, but a larger program": (
        image_bytes(GENERIC, version="1.28.0", table=moved(GENERIC, "factory", size=0x210000)[:-1]),
        "factory is app 0x00 at 0x10000 with 0x210000 bytes in the image, app 0x00 at 0x10000 with 0x1f0000",
    ),
}


@pytest.mark.parametrize(("data", "message"), BAD.values(), ids=BAD.keys())
def test_check_names_the_source_and_what_is_wrong(data, message):
    with pytest.raises(BenchError, match=message) as caught:
        images.check(data, GENERIC, "mine.bin")
    assert str(caught.value).startswith("mine.bin")
    assert "\n" not in str(caught.value)


def test_facts_refuse_every_cut_of_an_image_without_another_error():
    ends = [*range(200), *range(0x6FF0, 0x7C10, 7), *range(0xF000, len(GOOD), 97)]
    for end in ends:
        with pytest.raises(BenchError):
            images.facts(GOOD[:end])


def test_facts_refuse_a_table_that_points_outside():
    for offset in (0, 0x1000, 0xFFFFF000):
        with pytest.raises(BenchError):
            images.facts(image_bytes(GENERIC)[:0x7000] + partitions.encode((Partition("a", 0, 0, offset, 0x1000),)))


def test_check_accepts_an_image_that_makes_its_vfs_itself():
    newer = image_bytes(GENERIC, version="1.26.0", table=GENERIC.partitions[:-1])
    assert images.check(newer, GENERIC, "x").partitions == GENERIC.partitions[:-1]
    assert images.check(image_bytes(S3, table=S3.partitions[:-1]), S3, "x").flash_size == 4 * MB


@pytest.mark.parametrize("name", boards.names())
def test_parts_of_every_board_are_whole_sectors_and_leave_out_what_the_chip_writes(name):
    board = boards.load(name)
    data = image_bytes(board)
    images.check(data, board, "x")
    found = images.parts(data, board)
    assert [offset for offset, _ in found] == sorted(offset for offset, _ in found)
    assert all(content and len(content) % 4096 == 0 == offset % 4096 for offset, content in found)
    spans = [(offset, offset + len(content)) for offset, content in found]
    for each in board.partitions:
        if each.label in ("nvs", "phy_init", "vfs"):
            assert all(end <= each.offset or begin >= each.end for begin, end in spans)
    whole = bytearray(b"\xff" * board.flash_size)
    for offset, content in found:
        whole[offset : offset + len(content)] = content
    assert whole[board.image_offset : board.image_offset + len(data)] == data


def test_parts_blank_the_choice_of_the_program():
    found = dict(images.parts(image_bytes(OTA), OTA))
    assert found[0xD000] == b"\xff" * 0x2000
    assert set(found) == {0x1000, 0x8000, 0xD000, 0x10000}


def test_parts_have_every_program_of_an_image():
    both = image_bytes(OTA, apps={each: program_bytes("esp32", text=each.encode() * 9) for each in ("ota_0", "ota_1")})
    assert set(dict(images.parts(both, OTA))) == {0x1000, 0x8000, 0xD000, 0x10000, 0x190000}


@pytest.mark.skipif(not IMAGE.exists(), reason="make setup fetches the image")
class TestRealImage:
    def test_find_takes_it_for_what_the_definition_pins(self):
        found = images.find(GENERIC, IMAGE)
        assert found.notice == ""
        assert found.sha256 == GENERIC.image.sha256
        assert found.facts == images.ImageFacts(
            version=GENERIC.image.version,
            date="2025-04-15",
            chip="esp32",
            flash_mode="dio",
            flash_size=4 * MB,
            partitions=GENERIC.partitions,
        )

    def test_parts_are_bootloader_table_and_program(self):
        data = IMAGE.read_bytes()
        found = images.parts(data, GENERIC)
        assert [offset for offset, _ in found] == [0x1000, 0x8000, 0x10000]
        loader, table, factory = (content for _, content in found)
        assert len(loader) == 0x6000
        assert table[:0xC00] == partitions.encode(GENERIC.partitions)
        assert factory[: esp_image.read(factory, 0).end] == data[0xF000:]

    def test_find_does_not_use_it_for_a_board_with_another_chip_or_table(self):
        for board, message in ((S3, "is for esp32,"), (OTA, "nvs is data")):
            with pytest.raises(BenchError, match=message):
                images.find(board, IMAGE)


def test_cache_is_the_users_unless_named(monkeypatch, tmp_path):
    monkeypatch.delenv("BENCH_IMAGES")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert images.cache().parts[-2:] == ("firstboot", "images")


@pytest.mark.skipif(not IMAGE.exists(), reason="make setup fetches the image")
def test_image_that_setup_has_fetched_is_used_and_not_downloaded(monkeypatch, tmp_path):
    monkeypatch.setenv("BENCH_IMAGES", str(tmp_path / "images"))
    monkeypatch.setattr(images.download, "fetch", None)
    found = images.find(GENERIC)
    assert found.data == IMAGE.read_bytes()
    assert found.path == tmp_path / "images" / IMAGE.name
    assert found.path.read_bytes() == found.data


def test_image_that_setup_has_fetched_is_not_used_if_it_is_another(monkeypatch, tmp_path):
    monkeypatch.setenv("BENCH_IMAGES", str(tmp_path / "images"))
    monkeypatch.setattr(paths, "BUILD", tmp_path / "build")
    (tmp_path / "build" / "images").mkdir(parents=True)
    (tmp_path / "build" / "images" / GENERIC.image.file).write_bytes(b"another")

    def fail(*_):
        raise images.download.DownloadFailed("no network")

    monkeypatch.setattr(images.download, "fetch", fail)
    with pytest.raises(BenchError, match="no network"):
        images.find(GENERIC)
