"""A short fleet with faults towards real parts: nothing is lost, nothing is done twice."""

import asyncio
import json
import sys
from pathlib import Path

LPMOS = Path(sys.executable).with_name("lpmos")
MACHINES = 500
LONGEST_S = 900
"""On a machine that does much else; alone it takes a tenth."""


async def test_fleet_with_faults_keeps_every_invariant(tmp_path: Path) -> None:
    process = await asyncio.create_subprocess_exec(
        str(LPMOS), "lab", "fleet", "--machines", str(MACHINES), "--regions", "2", "--seed", "5",
        "--install-s", "8", "--boot-s", "45", "--timeout-s", str(LONGEST_S),
        "--report", str(tmp_path / "report"),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )  # fmt: skip
    said = (await process.communicate())[0].decode()
    assert process.returncode == 0, said
    assert f"{MACHINES} machines in" in said and "none was lost" in said
    result = json.loads((tmp_path / "report" / "report.json").read_bytes())
    assert result["breaches"] == []
    assert result["ended"]["completed"] + result["ended"]["failed"] == MACHINES
    assert result["ended"]["failed"] >= 5
    assert set(result["faults"]) >= {"loss", "crash", "disk-fails", "duplicate-serial", "reboot"}
    assert {each["call"] for each in result["latencies"]} >= {"script", "report", "progress"}
    assert "<svg" in (tmp_path / "report" / "report.html").read_text()
