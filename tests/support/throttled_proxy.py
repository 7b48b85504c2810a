"""A TCP proxy over which replies come slowly, as over a port with a wrong duplex."""

import asyncio

from tests.support.tcp_proxy import TcpProxy

CHUNK_BYTES = 2_048


class ThrottledProxy(TcpProxy):
    """Passes everything to `target_port`; each connection's replies at `bytes_per_second`."""

    def __init__(self, target_port: int, bytes_per_second: float) -> None:
        super().__init__(target_port)
        self._bytes_per_second = bytes_per_second

    async def _pump(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, *, replies: bool
    ) -> None:
        while chunk := await reader.read(CHUNK_BYTES):
            writer.write(chunk)
            await writer.drain()
            if replies:
                await asyncio.sleep(len(chunk) / self._bytes_per_second)
