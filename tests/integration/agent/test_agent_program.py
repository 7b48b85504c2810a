"""The agent as a program of its own, and what it needs to start."""

import os
import subprocess
import sys
from pathlib import Path

from lpmos.agent.session import EXIT_BAD_OPTIONS, EXIT_INSTALLED
from tests.support.agent_region import agent_region
from tests.support.agent_runs import IMAGE


def _agent(
    *arguments: str, environment: dict[str, str] | None = None
) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "lpmos.agent", *arguments],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
        env={**os.environ, **(environment or {})},
    )


def test_agent_as_a_program_installs_and_exits_0() -> None:
    with agent_region(IMAGE) as region:
        region.set("approved")
        ended = _agent(
            "--simulate", "--sn", "SIM-9", environment={"REGIONAL_CLIENT_URL": region.url}
        )
        assert ended.returncode == EXIT_INSTALLED, ended.stdout + ended.stderr
        assert "[4/4] Installing..." in ended.stdout
        assert ended.stderr == ""


def test_agent_as_a_program_without_a_region_says_how_to_name_one() -> None:
    ended = _agent("--simulate")
    assert ended.returncode == EXIT_BAD_OPTIONS
    assert "--regional-url" in ended.stdout


def test_agent_package_needs_only_the_standard_library(tmp_path: Path) -> None:
    source = Path(__file__).parents[3] / "src/lpmos"
    target = tmp_path / "lpmos"
    target.mkdir()
    (target / "__init__.py").symlink_to(source / "__init__.py")
    (target / "agent").symlink_to(source / "agent")
    code = "import sys; sys.path.insert(0, sys.argv[1]); import lpmos.agent.__main__"
    subprocess.run([sys.executable, "-I", "-S", "-c", code, str(tmp_path)], check=True, timeout=60)
