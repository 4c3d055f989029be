"""The part of the ESP32's `esp` that is about its flash, as it is in the image."""

_image = None


def plug_in(image):
    global _image
    _image = image


def flash_size():
    return _image.seek(0, 2)


def flash_read(offset, buffer):
    if offset < 0 or offset + len(buffer) > flash_size():
        raise OSError(-258)
    _image.seek(offset)
    _image.readinto(buffer)
