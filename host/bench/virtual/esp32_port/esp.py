"""The flash functions of the ESP32's `esp`, on the image file."""

_image = None


def attach(image):
    """Use this image file as the flash."""
    global _image
    _image = image


def flash_size():
    """Return the size of the flash in bytes."""
    return _image.seek(0, 2)


def flash_read(offset, buffer):
    """Fill `buffer` from `offset` on; OSError beyond the end, as on the chip."""
    if offset < 0 or offset + len(buffer) > flash_size():
        raise OSError(-258)
    _image.seek(offset)
    _image.readinto(buffer)
