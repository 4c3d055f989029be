"""Local networks are the same in the contract and in the firmware."""

from ipaddress import IPv4Address

from bench.contract.local_networks import LOCAL_NETWORKS, is_local
from tests.support import micropython


def test_firmware_agrees_with_the_contract_on_every_16_bit_prefix():
    output = micropython.run("""
from firstboot import address
for first in range(256):
    print("".join("1" if address._is_local([first, second, 1, 1]) else "0" for second in range(256)))
""").split()
    assert all(each.prefixlen <= 16 for each in LOCAL_NETWORKS)
    for first in range(256):
        for second in range(256):
            local = is_local(IPv4Address(f"{first}.{second}.1.1"))
            assert output[first][second] == "01"[local], (first, second)
