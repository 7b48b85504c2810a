"""A TFTP client (RFC 1350) that takes its time: `slow_tftp.py ADDRESS FILE PAUSE_MS`.

It waits before it confirms each block, and prints the file.
"""

import socket
import struct
import sys
import time

TIMEOUT_S = 30.0
BLOCK_BYTES = 512
READ, DATA, ACK = 1, 3, 4


def main(address: str, file: str, pause_text: str) -> None:
    """Load the file."""
    pause_s = float(pause_text) / 1000
    content = b""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.settimeout(TIMEOUT_S)
        sock.sendto(struct.pack("!H", READ) + file.encode() + b"\0octet\0", (address, 69))
        expected = 1
        while True:
            answer, server = sock.recvfrom(4 + BLOCK_BYTES)
            kind, block = struct.unpack("!HH", answer[:4])
            if kind != DATA:
                raise SystemExit(f"refused: {answer!r}")
            time.sleep(pause_s)
            sock.sendto(struct.pack("!HH", ACK, block), server)
            if block != expected & 0xFFFF:
                continue
            content += answer[4:]
            expected += 1
            if len(answer) < 4 + BLOCK_BYTES:
                break
    sys.stdout.buffer.write(content)


if __name__ == "__main__":
    main(*sys.argv[1:])
