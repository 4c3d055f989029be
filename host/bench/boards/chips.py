"""Espressif's chips: pins, PSRAM, and the image format's numbers.

Sources: the chips' datasheets and technical reference manuals (pins), ESP-IDF's `esp_chip_id_t` (image ids).
"""

from dataclasses import dataclass, field


@dataclass(frozen=True, kw_only=True)
class ChipKind:
    """A kind of chip.

    Attributes:
        name: As in definitions, e.g. `esp32s3`.
        title: As Espressif writes it.
        image_id: Its number in the header of every program for it.
        bootloader: The offset in flash at which its ROM expects the bootloader.
        pins: The pins that a board may use.
        inputs: Those of them that cannot drive anything.
        psram: The kinds of PSRAM that it can have, with the pins that each occupies.
    """

    name: str
    title: str
    image_id: int
    bootloader: int
    pins: frozenset[int]
    inputs: frozenset[int] = frozenset()
    psram: dict[str, frozenset[int]] = field(default_factory=dict)


def _pins(text: str) -> frozenset[int]:
    """Return the pins of a list like `0-5 12`: 0, 1, 2, 3, 4, 5, 12."""
    ends = (each.partition("-") for each in text.split())
    return frozenset(pin for first, _, last in ends for pin in range(int(first), int(last or first) + 1))


_NONE = {"none": frozenset[int]()}

# Left out of `pins`: those that the flash is connected to in every module.
CHIPS = {
    chip.name: chip
    for chip in (
        ChipKind(
            name="esp32",
            title="ESP32",
            image_id=0,
            bootloader=0x1000,
            pins=_pins("0-5 12-23 25-27 32-39"),
            inputs=_pins("34-39"),
            psram={**_NONE, "quad": _pins("16-17")},
        ),
        ChipKind(
            name="esp32s2",
            title="ESP32-S2",
            image_id=2,
            bootloader=0x1000,
            pins=_pins("0-21 33-46"),
            inputs=_pins("46"),
            psram={**_NONE, "quad": frozenset()},
        ),
        ChipKind(
            name="esp32s3",
            title="ESP32-S3",
            image_id=9,
            bootloader=0,
            pins=_pins("0-21 33-48"),
            psram={**_NONE, "quad": frozenset(), "octal": _pins("33-37")},
        ),
        ChipKind(name="esp32c3", title="ESP32-C3", image_id=5, bootloader=0, pins=_pins("0-10 18-21"), psram=_NONE),
        ChipKind(name="esp32c6", title="ESP32-C6", image_id=13, bootloader=0, pins=_pins("0-23"), psram=_NONE),
    )
}
