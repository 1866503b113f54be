"""A DNS server for tests: real UDP packets, TTL 0, and another answer to each query for the same name."""

import socket
import struct
import threading
from collections import Counter
from collections.abc import Mapping, Sequence
from ipaddress import ip_address
from typing import Self

A, AAAA = 1, 28
VERSIONS = {A: 4, AAAA: 6}
INTERNET = 1
ANSWER, NO_SUCH_NAME = 0x8580, 0x8583  # response, authoritative, recursion wanted and available
POINTER_TO_QUESTION = 0xC00C


class DNSServer:
    """Serves `table`: for each name the answers, IPv4 and IPv6 mixed, to its first, second, … look-up.

    A resolver asks for A and AAAA in one look-up, so these are counted apart; the last answer repeats.
    """

    def __init__(
        self, table: Mapping[str, Sequence[Sequence[str]]], address: tuple[str, int] = ("127.0.0.1", 0)
    ) -> None:
        self.table = table
        self.asked: Counter[tuple[str, int]] = Counter()
        self._socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self._socket.bind(address)
        self.address = self._socket.getsockname()
        self._thread = threading.Thread(target=self._serve, daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_error: object) -> None:
        self._socket.sendto(b"", self.address)  # wakes the thread and ends it
        self._thread.join()
        self._socket.close()

    def lookups(self, name: str) -> int:
        return max(self.asked[name, qtype] for qtype in VERSIONS)

    def _serve(self) -> None:
        while True:
            packet, sender = self._socket.recvfrom(512)
            if not packet:
                return
            self._socket.sendto(self._reply(packet), sender)

    def _reply(self, packet: bytes) -> bytes:
        name, end = _name(packet, 12)
        (qtype,) = struct.unpack_from("!H", packet, end)
        question = packet[12 : end + 4]
        self.asked[name, qtype] += 1
        answers = self.table.get(name)
        if answers is None:
            return struct.pack("!2s5H", packet[:2], NO_SUCH_NAME, 1, 0, 0, 0) + question
        answer = map(ip_address, answers[min(self.asked[name, qtype], len(answers)) - 1])
        found = [address.packed for address in answer if address.version == VERSIONS.get(qtype)]
        records = [struct.pack("!3HIH", POINTER_TO_QUESTION, qtype, INTERNET, 0, len(one)) + one for one in found]
        return struct.pack("!2s5H", packet[:2], ANSWER, 1, len(records), 0, 0) + question + b"".join(records)


def _name(packet: bytes, start: int) -> tuple[str, int]:
    """The name that begins there, in lower case, and where it ends."""
    labels = []
    while length := packet[start]:
        labels.append(packet[start + 1 : start + 1 + length].decode("ascii").lower())
        start += 1 + length
    return ".".join(labels), start + 1
