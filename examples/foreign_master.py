"""A wired M-Bus master of your own in a page, with nothing but a socket: it knows nothing of this package.

    oms simulate examples/worlds/house.toml --wired tcp:4001 --speed max
    python examples/foreign_master.py 127.0.0.1 4001 1 | oms decode -

Behind a socket, write where the program speaks to a serial line: ``serial.Serial(path, 2400, parity="E")`` for a real
converter, parity "N" for a pseudo-terminal. Prints every answer as a line of hexadecimal digits.
"""

from __future__ import annotations

import socket
import sys
from collections.abc import Iterator

SND_NKE, REQ_UD2, FCB, ACK, STOP = 0x40, 0x5B, 0x20, b"\xe5", 0x16
ATTEMPTS = 3
MORE = 0x1F  #: last DIF of a telegram that another one follows; a value may end like that too, hence a limit
LONGEST = 16


class NoAnswer(Exception):
    """Nobody is there, or nothing that can be read came."""


def short_frame(control: int, address: int) -> bytes:
    """10, C field, A field, checksum, 16."""
    return bytes((0x10, control, address, (control + address) & 0xFF, STOP))


def receive(line: socket.socket, size: int) -> bytes:
    """So many octets, or NoAnswer."""
    octets = b""
    while len(octets) < size:
        try:
            more = line.recv(size - len(octets))
        except TimeoutError:
            raise NoAnswer from None
        if not more:
            raise NoAnswer
        octets += more
    return octets


def receive_frame(line: socket.socket) -> bytes:
    """68 L L 68, L octets, checksum, 16; or E5. Everything is checked that can be checked."""
    head = receive(line, 1)
    if head == ACK:
        return head
    head += receive(line, 3)
    if head[0] != 0x68 or head[3] != 0x68 or head[1] != head[2]:
        raise NoAnswer
    body = receive(line, head[1] + 2)
    if body[-1] != STOP or sum(body[:-2]) & 0xFF != body[-2]:
        raise NoAnswer
    return head + body


def ask(line: socket.socket, control: int, address: int) -> bytes:
    """A request and its answer; the same request again if none comes."""
    for _ in range(ATTEMPTS):
        line.sendall(short_frame(control, address))
        try:
            return receive_frame(line)
        except NoAnswer:
            continue
    raise NoAnswer(f"address {address} does not answer")


def read(line: socket.socket, address: int) -> Iterator[bytes]:
    """All telegrams of a slave: SND-NKE, then REQ-UD2 with the FCB turned over each time an answer was understood."""
    if ask(line, SND_NKE, address) != ACK:
        raise NoAnswer(f"address {address} answers SND-NKE with something else")
    control = REQ_UD2 | FCB
    for _ in range(LONGEST):
        frame = ask(line, control, address)
        yield frame
        if frame[-3] != MORE:
            return
        control ^= FCB


def main(host: str, port: int, addresses: list[int]) -> None:
    with socket.create_connection((host, port), timeout=5.0) as line:
        line.settimeout(1.0)
        for address in addresses:
            try:
                for frame in read(line, address):
                    print(frame.hex().upper())
            except NoAnswer as reason:
                print(reason, file=sys.stderr)


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]), [int(text) for text in sys.argv[3:]] or [1])
