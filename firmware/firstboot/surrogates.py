r"""Characters that JSON escapes in two halves: MicroPython's json makes two of them, each invalid as UTF-8."""


def join(text: bytes | bytearray | memoryview) -> bytes | bytearray | memoryview:
    r"""Return JSON with each pair of halves (`\ud83d\ude00`) as the one character that it is (RFC 8259, section 7).

    A half alone becomes U+FFFD: sent back as it is, it would not be UTF-8, for which a server ends the connection.
    """
    joined = bytearray()
    at = last = 0
    while at < len(text):
        if text[at] != 92:  # \
            at += 1
            continue
        high = _half(text, at)
        if not high:
            at += 2  # the next one is escaped, also if it is a backslash
            continue
        low = _half(text, at + 6) if high < 0xDC00 else 0
        joined.extend(text[last:at])
        if low >= 0xDC00:
            joined.extend(chr(0x10000 + ((high & 0x3FF) << 10) + (low & 0x3FF)).encode())
            at += 12
        else:
            joined.extend(b"\\ufffd")
            at += 6
        last = at
    if not last:
        return text
    joined.extend(text[last:])
    return joined


def _half(text: bytes | bytearray | memoryview, at: int) -> int:
    r"""Return the half that the escape at this place stands for, 0 if it is anything else."""
    digits = bytes(text[at : at + 6]).lower()
    if digits[:3] != b"\\ud" or len(digits) < 6 or digits[3:].strip(b"0123456789abcdef"):
        return 0
    code = int(digits[2:].decode(), 16)
    return code if code >= 0xD800 else 0
