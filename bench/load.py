"""HTTP load on a server from clients beside it: flat out by wrk, and at a steady rate by our own.

A client that sends when its answer is there measures mostly the number of clients over the rate;
the one at a steady rate counts from the moment a request was due, so that waiting for a server that
hangs is in the figure.
"""

import asyncio
import os
import re
import statistics
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import httpx

IN_TURN = """
local paths = {}
local at = 0
function init()
  for line in io.lines("%s") do paths[#paths + 1] = wrk.format("GET", line) end
end
function request() at = at %% #paths + 1; return paths[at] end
"""
"""wrk's script that asks for each path of a file in turn."""


class FlatOut(NamedTuple):
    """What clients that never pause got: answers, answers a second, 99th percentile in ms."""

    answers: int
    per_s: float
    p99_ms: float


def in_turn(directory: Path, paths: Sequence[str]) -> Path:
    """A script for wrk that asks for all `paths`, one after the other."""
    listed, script = directory / "paths", directory / "in_turn.lua"
    listed.write_text("".join(f"{path}\n" for path in paths))
    script.write_text(IN_TURN % listed)
    return script


async def flat_out(
    url: str,
    *,
    clients: int,
    seconds: float,
    headers: Mapping[str, str] | None = None,
    script: Path | None = None,
) -> FlatOut:
    """Ask with so many clients that never pause."""
    command = ["wrk", "-t1", f"-c{clients}", f"-d{max(1, round(seconds))}s", "--latency"]
    command += [word for pair in (headers or {}).items() for word in ("-H", ": ".join(pair))]
    command += ["-s", str(script)] if script else []
    process = await asyncio.create_subprocess_exec(*command, url, stdout=asyncio.subprocess.PIPE)
    text = (await process.communicate())[0].decode()
    assert "Non-2xx" not in text, text
    assert "Socket errors" not in text, text
    count = re.search(r"(\d+) requests in", text)
    rate = re.search(r"Requests/sec:\s+([\d.]+)", text)
    p99 = re.search(r"99%\s+([\d.]+)(us|ms|s)", text)
    assert count and rate and p99, text
    scale = {"us": 1e-3, "ms": 1.0, "s": 1e3}[p99[2]]
    return FlatOut(int(count[1]), float(rate[1]), float(p99[1]) * scale)


async def steady(
    url: str,
    paths: Sequence[str],
    *,
    clients: int,
    per_s: float,
    seconds: float,
    headers: Mapping[str, str] | None = None,
) -> float:
    """The 99th percentile in ms at so many requests a second in all, the paths in turn."""
    place = httpx.URL(url)
    own = "".join(f"{name}: {value}\r\n" for name, value in (headers or {}).items())
    latencies_ms: list[float] = []
    loop = asyncio.get_running_loop()
    begin = loop.time() + 0.2

    async def client(number: int) -> None:
        reader, writer = await asyncio.open_connection(place.host, place.port)
        due, turn = begin + number / per_s, number
        while due < begin + seconds:
            path = paths[turn % len(paths)]
            await asyncio.sleep(max(0.0, due - loop.time()))
            writer.write(f"GET {path} HTTP/1.1\r\nHost: {place.host}\r\n{own}\r\n".encode())
            head = await reader.readuntil(b"\r\n\r\n")
            assert b" 200 " in head[:20], head
            size = re.search(rb"content-length: (\d+)", head, re.IGNORECASE)
            assert size
            await reader.readexactly(int(size[1]))
            latencies_ms.append((loop.time() - due) * 1e3)
            due += clients / per_s
            turn += clients
        writer.close()

    await asyncio.gather(*(client(number) for number in range(clients)))
    return statistics.quantiles(latencies_ms, n=100)[98]


def busy_s(pid: int) -> float:
    """User and system time of a process, all its threads (proc(5), `/proc/pid/stat`)."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
