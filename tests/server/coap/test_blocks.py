"""The memory and the time that bodies in blocks get."""

from types import SimpleNamespace

import pytest
from aiocoap import Message
from aiocoap.numbers import codes

from bench.server.coap import blocks
from bench.server.coap.blocks import BadBlock, BlockTransfers, Unfinished

# Numbers of their own, not the code's: against a code without bounds these tests fail, and do not fill the memory.
BLOCK = 1024
BODY_LIMIT = 64 << 10
ALL = 16 << 20


class Transfers(BlockTransfers):
    def __init__(self):
        self.now = 0.0
        super().__init__(lambda: self.now)


def request(peer, number=0, payload=b"x" * BLOCK, *, more=True, **options):
    sent = Message(code=codes.POST, payload=payload, uri_path=("api", "v1", "provision"), **options)
    sent.remote = SimpleNamespace(sockaddr=(f"192.0.2.{peer % 256}", peer))
    if more is not None:
        sent.opt.block1 = (number, more, 6)
    return sent


def send(transfers, peer, size):
    """Send blocks of a body that is never finished."""
    for number in range(size // BLOCK):
        with pytest.raises(Unfinished):
            transfers.assemble(request(peer, number))


def test_body_ends_at_the_limit():
    transfers = Transfers()
    send(transfers, 1, BODY_LIMIT)
    with pytest.raises(BadBlock) as refused:
        transfers.assemble(request(1, BODY_LIMIT // BLOCK, b"x", more=False))
    assert refused.value.answer.code is codes.REQUEST_ENTITY_TOO_LARGE


def test_body_without_blocks_ends_at_the_limit():
    assert len(Transfers().assemble(request(1, payload=b"x" * BODY_LIMIT, more=None))) == BODY_LIMIT
    with pytest.raises(BadBlock) as refused:
        Transfers().assemble(request(1, payload=b"x" * (BODY_LIMIT + 1), more=None))
    assert refused.value.answer.code is codes.REQUEST_ENTITY_TOO_LARGE


@pytest.mark.parametrize("size", [BLOCK, BODY_LIMIT])
def test_bodies_under_way_have_no_more_than_their_memory(size):
    transfers = Transfers()
    peers = 2 * ALL // (size + BLOCK)
    for peer in range(peers):
        send(transfers, peer, size)
    kept = transfers._coming
    assert kept._size <= ALL
    assert sum(len(body) for _, body, _ in kept._bodies.values()) > ALL // 3
    number = size // BLOCK
    assert transfers.assemble(request(peers - 1, number, b"", more=False)) if size < BODY_LIMIT else True
    with pytest.raises(BadBlock) as refused:  # the oldest was forgotten
        transfers.assemble(request(0, number, b"x", more=False))
    assert refused.value.answer.code is codes.REQUEST_ENTITY_INCOMPLETE


def test_answers_under_way_have_no_more_than_their_memory():
    transfers = Transfers()
    for peer in range(2 * ALL // BODY_LIMIT):
        transfers.first_block(request(peer, more=None), Message(code=codes.CONTENT, payload=b"x" * BODY_LIMIT))
    assert transfers._going._size <= ALL
    later = request(0, more=None)
    later.opt.block2 = (1, False, 6)
    assert transfers.following_block(later).code is codes.REQUEST_ENTITY_INCOMPLETE


def test_body_under_way_is_forgotten_after_its_time():
    transfers = Transfers()
    send(transfers, 1, BLOCK)
    transfers.now = blocks._LIFETIME_S + 1
    send(transfers, 2, BLOCK)  # makes room
    assert len(transfers._coming._bodies) == 1
    with pytest.raises(BadBlock):
        transfers.assemble(request(1, 1, b"x", more=False))
