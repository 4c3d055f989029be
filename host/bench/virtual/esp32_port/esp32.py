"""The ESP32's `esp32`: ESP-IDF's heap, as far as a board without one can have it.

On the chip, MicroPython's heap grows into ESP-IDF's. Here there is one heap, of objects whose pointers are twice as
long, and mbedTLS is in it, too. With `is_chip_heap` the radio takes its share of it.
"""

import gc

HEAP_DATA = 4

# Of the chip's bytes: what Wi-Fi and lwIP take, by the free heap before and after on ESP32_GENERIC 1.24.
_RADIO = 12 * 1024
_WIDTH = 2

_is_chip_heap = False
_total = 0
_least = 0
_radio = None


def attach(options):
    """Use these options (chip.py)."""
    global _is_chip_heap, _total, _least
    _is_chip_heap = options["is_chip_heap"]
    _total = _least = _free()


def share_with_radio(on):
    """Take the radio's share of the heap, or give it back; MemoryError if there is not so much."""
    global _radio
    if not on or not _is_chip_heap:
        _radio = None
    elif _radio is None:
        gc.collect()
        _radio = bytearray(_RADIO * _WIDTH)


def idf_heap_info(capabilities):
    """Return `(total, free, largest block, least free so far)` of each region: here of one."""
    global _least
    free = _free()
    _least = min(_least, free)
    return [(_total, free, free, _least)]


def _free():
    gc.collect()
    return gc.mem_free() // _WIDTH
