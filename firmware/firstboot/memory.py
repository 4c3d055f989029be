"""Lack of memory: each form in which the ESP32 port reports it, and what is left.

It is a condition, not a defect: the work at hand is dropped, and tried again later. Only here is it known what it
looks like. The chip has two heaps: MicroPython's, and ESP-IDF's, from which Wi-Fi, lwIP and mbedTLS take their
buffers and which MicroPython's heap grows into.
"""

import gc

from micropython import const

from firstboot import events

try:
    import esp32
except ImportError:  # a bare unix port
    esp32 = None  # type: ignore[assignment]

# With less than this in one piece, a refusal of mbedTLS says nothing: it reports a lack of memory as a bad certificate.
_SCARCE = const(4096)
# What takes how many bytes in RAM: an object or array, an entry in one, and half of a text.
_CONTAINER = const(48)
_ENTRY = const(16)
_QUOTE = const(16)
# What JSON may become: levels of nesting, and how many times its length, which counts as 2 KiB at least.
_DEPTH_LIMIT = const(32)
_GROWTH = const(6)
_SHORT = const(2048)


def is_short(error: BaseException) -> bool:
    """Return whether this exception means that memory is short."""
    if isinstance(error, MemoryError):
        return True
    reason = error.args[0] if error.args else 0
    if isinstance(error, RuntimeError):
        # network.WLAN: "Wifi Unknown Error 0x0101", ESP_ERR_NO_MEM, or ESP_ERR_ESP_NETIF_NO_MEM
        return str(reason)[-6:] in ("0x0101", "0x5006")
    if not isinstance(error, OSError) or not isinstance(reason, int):
        return False
    number = abs(reason)
    if number < 0x1000:
        # ENOMEM, lwIP's ENOBUFS and EAI_MEMORY (lwip/netdb.h), ESP_ERR_NO_MEM, mbedTLS's MPI_ALLOC_FAILED
        return number in (12, 105, 203, 0x101) or reason == -0x10
    # mbedTLS: SSL, X509, PK, ECP, CIPHER, MD and PEM _ALLOC_FAILED; in the lower seven bits MPI's and ASN1's
    high = (0x7F00, 0x2880, 0x3F80, 0x4D80, 0x6180, 0x5180, 0x1180)
    return number & 0xFF80 in high or number & 0x7F in (0x10, 0x6A)


def check(error: BaseException) -> None:
    """Raise MemoryError if this exception means that memory is short."""
    if is_short(error):
        raise MemoryError


def check_refusal(data: bytes, error: BaseException) -> None:
    """Raise MemoryError if mbedTLS may have refused a certificate or key because memory is short.

    It says "invalid cert" in both cases. What looks like a certificate from outside is taken as good then.
    """
    check(error)
    if esp32 and not is_scarce():
        return
    # a DER sequence, as long as it says, that begins with another one
    size, end = _extent(data)
    if data[:1] == b"\x30" == data[2 + size : 3 + size] and len(data) == end:
        raise MemoryError


def split(data: bytes) -> list[bytes]:
    """Return the DER structures that lie one after the other, certificates say; of anything else some pieces."""
    found = []
    while data:
        _, end = _extent(data)
        found.append(data[:end])
        data = data[end:]
    return found


def _extent(data: bytes) -> tuple[int, int]:
    """Return how many bytes say a DER structure's length, besides the first, and where it ends (X.690, 8.1.3)."""
    size = data[1] & 0x7F if data[1:2] > b"\x80" else 0
    return size, 2 + size + int.from_bytes(data[2 : 2 + size] if size else data[1:2], "big")


def is_scarce() -> bool:
    """Return whether ESP-IDF's heap is known to be used up."""
    return bool(esp32) and max([region[2] for region in esp32.idf_heap_info(esp32.HEAP_DATA)]) < _SCARCE


def is_affordable(payload: bytes | memoryview) -> bool:
    """Return whether JSON is small and flat enough to be parsed, by its brackets, commas and quotes.

    A short text can become an object of many times its size, and one that is nested deep overflows the stack
    of whoever uses it.
    """
    cost = depth = 0
    for byte in payload:
        if byte == 34:  # "
            cost += _QUOTE
        elif byte == 44:  # ,
            cost += _ENTRY
        elif byte in (91, 123):  # [ {
            cost += _CONTAINER
            depth += 1
            if depth > _DEPTH_LIMIT:
                return False
        elif byte in (93, 125):  # ] }
            depth -= 1
    return cost <= _GROWTH * max(len(payload), _SHORT)


def facts() -> dict[str, object]:
    """Return the free bytes: of MicroPython's heap after a collection, and of ESP-IDF's, now and at the least."""
    gc.collect()
    found: dict[str, object] = {"free_heap": gc.mem_free()}
    if esp32:
        regions = esp32.idf_heap_info(esp32.HEAP_DATA)
        found["idf_free"] = sum([region[1] for region in regions])
        found["idf_least"] = sum([region[3] for region in regions])
    return found


def report(kind: str) -> None:
    """Emit `no_memory` for this kind of work, which was dropped."""
    events.emit("no_memory", kind=kind, memory=facts())
