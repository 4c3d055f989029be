"""Block-wise transfers (RFC 7959): bodies that are longer than a datagram.

aiocoap's own (`Block1Spool`, `Block2Cache`) have no bound, neither for a body nor for all of them, so that anyone could
fill the memory with first blocks; and a block out of order is answered 5.00 there, not 4.08 (RFC 7959 section 2.9.2).
"""

import hashlib
import time
from collections.abc import Callable

from aiocoap import Message
from aiocoap.numbers import codes
from aiocoap.numbers.optionnumbers import OptionNumber

BODY_LIMIT = 65536
_LARGEST_EXPONENT = 6  # blocks of 1024 bytes
_ALL_BODIES_LIMIT = 1 << 24
# The memory of a body besides its bytes, roughly.
_OVERHEAD = 1024
# MAX_TRANSMIT_WAIT: after that a peer has given up.
_LIFETIME_S = 93.0


class BadBlock(Exception):
    """A block that does not fit. `answer` has the error."""

    def __init__(self, answer: Message) -> None:
        super().__init__(str(answer.code))
        self.answer = answer


class Unfinished(Exception):
    """A block was accepted, and more are to come. `answer` requests them."""

    def __init__(self, answer: Message) -> None:
        super().__init__(str(answer.code))
        self.answer = answer


class _PartialBodies:
    """Bodies under way, bounded all together: for new ones the oldest are dropped."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._bodies: dict[bytes, tuple[float, bytes, Message]] = {}
        self._size = 0

    def put(self, key: bytes, body: bytes, head: Message) -> None:
        self.pop(key)
        now = self._clock()
        self._bodies[key] = now + _LIFETIME_S, body, head
        self._size += len(body) + _OVERHEAD
        while self._size > _ALL_BODIES_LIMIT or self._bodies[next(iter(self._bodies))][0] <= now:
            self.pop(next(iter(self._bodies)))

    def get(self, key: bytes) -> tuple[bytes, Message] | None:
        found = self._bodies.get(key)
        return None if found is None or found[0] <= self._clock() else found[1:]

    def pop(self, key: bytes) -> bytes | None:
        found = self._bodies.pop(key, None)
        if found is None:
            return None
        self._size -= len(found[1]) + _OVERHEAD
        return found[1]


class BlockTransfers:
    """Assembles requests from blocks, and cuts answers into blocks. `clock`: seconds, monotonic."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._coming = _PartialBodies(clock)
        self._going = _PartialBodies(clock)

    def assemble(self, request: Message) -> bytes:
        """Return the whole body of a request, with its last block.

        Raises:
            Unfinished: More blocks are to come.
            BadBlock: The block does not fit, or the body is too large.
        """
        block = request.opt.block1
        if block is None:
            if len(request.payload) > BODY_LIMIT:
                raise _too_large()
            return bytes(request.payload)
        if block.size_exponent > _LARGEST_EXPONENT or (block.more and len(request.payload) != block.size):
            raise BadBlock(Message(code=codes.BAD_REQUEST))
        key = _key(request)
        before = self._coming.pop(key)
        if block.block_number == 0:
            before = b""
        if before is None or len(before) != block.start:
            raise BadBlock(Message(code=codes.REQUEST_ENTITY_INCOMPLETE))
        body: bytes = before + request.payload
        if max(len(body), request.opt.size1 or 0) > BODY_LIMIT:
            raise _too_large()
        if block.more:
            answer = Message(code=codes.CONTINUE, block1=block)
            self._coming.put(key, body, answer)
            raise Unfinished(answer)
        return body

    def following_block(self, request: Message) -> Message | None:
        """Return a block after the first of an answer, if that is what is requested."""
        block = request.opt.block2
        if block is None or block.block_number == 0:
            return None
        found = self._going.get(_key(request))
        if found is None:
            return Message(code=codes.REQUEST_ENTITY_INCOMPLETE)
        body, head = found
        return _cut(body, head, block.block_number, min(block.size_exponent, _LARGEST_EXPONENT))

    def first_block(self, request: Message, answer: Message) -> Message:
        """Return the answer, or its first block if it is longer than one."""
        block = request.opt.block2
        exponent = min(block.size_exponent, _LARGEST_EXPONENT) if block else _LARGEST_EXPONENT
        if len(answer.payload) <= 1 << (exponent + 4):
            return answer
        answer.opt.etag = hashlib.blake2s(answer.payload, digest_size=8).digest()
        self._going.put(_key(request), answer.payload, answer)
        return _cut(answer.payload, answer, 0, exponent)


def _cut(body: bytes, head: Message, number: int, exponent: int) -> Message:
    size = 1 << (exponent + 4)
    start, end = number * size, (number + 1) * size
    if start >= len(body):
        return Message(code=codes.BAD_REQUEST)
    part = Message(code=head.code, payload=body[start:end])
    part.opt.block2 = (number, end < len(body), exponent)
    part.opt.etag = head.opt.etag
    part.opt.content_format = head.opt.content_format
    if number == 0:
        part.opt.observe = head.opt.observe
    return part


def _key(request: Message) -> bytes:
    """Return what the blocks of one body have in common; short, however long their options are."""
    ignored = [OptionNumber.BLOCK1, OptionNumber.BLOCK2, OptionNumber.OBSERVE]
    common = request.remote.sockaddr[:2], request.get_cache_key(ignored)
    return hashlib.blake2s(repr(common).encode()).digest()


def _too_large() -> BadBlock:
    return BadBlock(Message(code=codes.REQUEST_ENTITY_TOO_LARGE, size1=BODY_LIMIT))
