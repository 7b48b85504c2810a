"""That benchmarks still run: those that take seconds, with small numbers, as `make bench` does."""

import asyncio
import sys
from pathlib import Path

import msgspec
import pytest
from bench.__main__ import ROOT
from bench.report import Row

TIMEOUT_S = 180.0


@pytest.mark.parametrize("name", ["outbox", "audit_chain", "store_etcd", "region_memory"])
async def test_bench_quick_gives_rows(name: str, tmp_path: Path) -> None:
    rows = tmp_path / "rows.json"
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", f"bench.{name}", "--quick", "--rows", str(rows)),
        cwd=ROOT,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    try:
        async with asyncio.timeout(TIMEOUT_S):
            said, _ = await process.communicate()
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    assert process.returncode == 0, said.decode()
    found = msgspec.json.decode(rows.read_bytes(), type=list[Row])
    assert found
    assert all(row.value >= 0 for row in found)
    assert len({row.name for row in found}) == len(found)
