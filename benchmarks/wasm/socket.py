"""Sockets to the server that runs beside MicroPython; its answers are there as soon as something was written."""

import binascii

import _network

AF_INET = 2
SOCK_STREAM = 1
SOCK_DGRAM = 2


def getaddrinfo(host, port, *options):
    return [(AF_INET, SOCK_STREAM, 0, "", ("192.168.1.1", port))]


class socket:
    def __init__(self, *options):
        self._number = _network.open()

    def setblocking(self, blocking):
        pass

    def connect(self, address):
        _network.connect(self._number, address[1])

    def write(self, data):
        _network.write(self._number, binascii.hexlify(data).decode())
        return len(data)

    send = write

    def read(self, size):
        return binascii.unhexlify(_network.read(self._number, size)) if self.available() else None

    recv = read

    def readinto(self, buffer, size=None):
        data = self.read(len(buffer) if size is None else size)
        if data is None:
            return None
        buffer[: len(data)] = data
        return len(data)

    recv_into = readinto

    def available(self):
        return _network.available(self._number)

    def close(self):
        pass
