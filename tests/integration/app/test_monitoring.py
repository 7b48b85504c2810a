"""What `contrib` gives to Prometheus and Grafana, checked by Prometheus itself on real parts."""

import json
import re
import subprocess
from collections.abc import AsyncIterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import httpx
import pytest
import pytest_asyncio

from tests.support import region as regions
from tests.support.builders import make_task
from tests.support.control_plane import RunningControlPlane, running_with_debian
from tests.support.debian_programs import unpacked
from tests.support.image_copy import copying
from tests.support.server_process import ServerProcess

CONTRIB = Path(__file__).parents[3] / "contrib"
RULES = CONTRIB / "prometheus/alerts.yml"
RUNBOOK = CONTRIB.parent / "docs/how-to/monitoring.md"
LATER = {
    "lpmos_backup_failing",
    "lpmos_backup_last_success_timestamp_seconds",
    "lpmos_region_dnsmasq_running",
    "lpmos_store_quota_bytes",
}
"""Not there before backups are set up, at a region without DHCP, and on a store without quota."""
METRIC = re.compile(r"\blpmos_[a-z_]+")


@pytest.fixture(scope="module")
def programs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return unpacked(["prometheus"], tmp_path_factory.mktemp("prometheus")) / "usr/bin"


def expressions() -> list[str]:
    """What the panels of the dashboard ask, with all regions chosen."""
    panels = json.loads((CONTRIB / "grafana/lpmos.json").read_text())["panels"]
    asked = [target["expr"] for panel in panels for target in panel.get("targets", ())]
    return [each.replace("$idc", ".*") for each in asked]


def test_rules_are_sound_and_say_what_they_should(programs: Path) -> None:
    for run in (["check", "rules", "--lint-fatal", RULES], ["test", "rules", "alerts_test.yml"]):
        found = subprocess.run(
            [programs / "promtool", *run],
            cwd=RULES.parent,
            check=False,
            capture_output=True,
            text=True,
            timeout=60,
        )
        assert found.returncode == 0, found.stdout + found.stderr


def test_every_alert_has_a_place_in_the_runbook() -> None:
    alerts = re.findall(r"- alert: (\w+)", RULES.read_text())
    described = re.findall(r"^## (Lpmos\w+)", RUNBOOK.read_text(), re.MULTILINE)
    assert alerts == described


class Prometheus(ServerProcess):
    """It serves once it has scraped both parts a few times."""

    def __init__(self, program: Path, directory: Path) -> None:
        super().__init__()
        self._program = program
        self._directory = directory

    def client(self) -> httpx.AsyncClient:
        """A client of its API."""
        return httpx.AsyncClient(base_url=f"{self.endpoint}/api/v1/", trust_env=False)

    def _command(self) -> tuple[Sequence[str], Mapping[str, str]]:
        return (
            str(self._program),
            f"--config.file={self._directory}/prometheus.yml",
            f"--storage.tsdb.path={self._directory}/data",
            f"--web.listen-address=127.0.0.1:{self._port}",
        ), {}

    async def _serves(self) -> bool:
        async with self.client() as client:
            return await _scraped(client)


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def prometheus(
    programs: Path, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[httpx.AsyncClient]:
    """Prometheus, which has scraped a control plane and a region with the shipped rules."""
    directory = tmp_path_factory.mktemp("scraped")
    region_dir, token = directory / "region", directory / "lpmos.token"
    async with running_with_debian(directory) as control_plane:
        token.write_text(control_plane.token)
        copy = copying(control_plane.url, token, region_dir / "images")
        async with regions.running(region_dir, fetching=lambda _: copy) as region:
            await control_plane.put_task(make_task())
            _configure(directory, control_plane, region)
            server = Prometheus(programs / "prometheus", directory)
            async with server, server.client() as client:
                yield client


def _configure(
    directory: Path, control_plane: RunningControlPlane, region: regions.RunningRegion
) -> None:
    """The shipped configuration with these parts' places, and scraped every second."""
    shipped = (CONTRIB / "prometheus/prometheus.yml").read_text()
    (directory / "alerts.yml").write_text(RULES.read_text())
    text = re.sub(r"lpmos\.example\.org:\d+", control_plane.host, shipped)
    text = re.sub(
        r'"192\.0\.2\.2:8081", "192\.0\.2\.3:8081"',
        f'"{region.address}:{region.region.port}"',
        text,
    )
    text = text.replace("scheme: https", "scheme: http")
    (directory / "prometheus.yml").write_text("global: {scrape_interval: 1s}\n" + text)


async def _scraped(client: httpx.AsyncClient) -> bool:
    """Whether both parts were scraped a few times, so that there are rates."""
    try:
        found = await _ask(client, 'count_over_time(up{job=~"lpmos-.*"}[1m]) > 3')
    except (httpx.TransportError, json.JSONDecodeError):  # it answers in words until it is ready
        return False
    return len(found) == 2


async def _ask(client: httpx.AsyncClient, expression: str) -> list[Any]:
    answer = (await client.get("query", params={"query": expression})).json()
    assert answer["status"] == "success", answer
    return list(answer["data"]["result"])


@pytest.mark.asyncio(loop_scope="module")
async def test_both_parts_are_scraped_with_the_shipped_configuration(
    prometheus: httpx.AsyncClient,
) -> None:
    up = await _ask(prometheus, "up")
    assert {each["metric"]["job"]: each["value"][1] for each in up} == {
        "lpmos-control-plane": "1",
        "lpmos-region": "1",
    }


@pytest.mark.asyncio(loop_scope="module")
async def test_every_metric_of_rules_and_dashboard_is_there(prometheus: httpx.AsyncClient) -> None:
    texts = [RULES.read_text(), *expressions()]
    named = {name for text in texts for name in METRIC.findall(text)} - LATER
    known = (await prometheus.get("label/__name__/values")).json()["data"]
    # A counter with labels is there from its first event on: the metadata knows it before.
    metadata = (await prometheus.get("metadata")).json()["data"]
    families = {*known, *metadata, *(f"{name}_bucket" for name in metadata)}
    assert named - families == set()


@pytest.mark.asyncio(loop_scope="module")
async def test_every_panel_asks_what_prometheus_understands(prometheus: httpx.AsyncClient) -> None:
    for expression in expressions():
        await _ask(prometheus, expression)


@pytest.mark.asyncio(loop_scope="module")
async def test_names_follow_the_conventions(prometheus: httpx.AsyncClient) -> None:
    metadata = (await prometheus.get("metadata")).json()["data"]
    ours = {name: rows[0] for name, rows in metadata.items() if name.startswith("lpmos_")}
    assert ours
    for name, row in ours.items():
        assert row["help"], name
        assert (row["type"] == "counter") == name.endswith("_total"), name
        assert not re.search(r"_(ms|kb|mb|minutes|hours)(_|$)", name), name
