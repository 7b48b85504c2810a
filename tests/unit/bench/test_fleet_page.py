"""The page of the documents that a run of a fleet becomes."""

import xml.etree.ElementTree as ET
from pathlib import Path

from bench import fleet_page

from lpmos.lab.fleet.profiles import FleetSpec
from lpmos.lab.fleet.run import FleetResult, Latency, Sample, Usage

RESULT = FleetResult(
    spec=FleetSpec(machines=5000, regions=2, seed=3, boot_s=400),
    took_s=500.0,
    ended={"completed": 4990, "failed": 10},
    faults={"crash": 10},
    latencies=(Latency("report", 5000, 1.0, 2.0, 3.0, 4.5),),
    usage=(Usage("dc1", 250.0, 90.0),),
    samples=(Sample(1.0, {"ready": 5000}, 3), Sample(2.0, {"completed": 4990}, 5)),
    breaches=(),
)


def test_page_has_the_verdict_the_figures_and_a_picture_that_is_there_for_each_plot(
    tmp_path: Path,
) -> None:
    page = fleet_page.write(RESULT, tmp_path)
    said = page.read_text()
    assert "--machines 5000 --regions 2 --seed 3 --boot-s 400" in said
    assert "- 5000 machines in 500 s (600 a minute): 4990 completed, 10 failed" in said
    assert "| report | 5,000 | 1.0 | 2.0 | 3.0 | 4.5 |" in said
    assert "| dc1 | 250.0 | 50 | 90 |" in said
    pictures = sorted((tmp_path / "fleet-run").iterdir())
    assert [f"fleet-run/{each.name}" in said for each in pictures] == [True, True, True]
    for each in pictures:
        assert ET.parse(each).getroot().tag == "{http://www.w3.org/2000/svg}svg"  # noqa: S314 - our own
