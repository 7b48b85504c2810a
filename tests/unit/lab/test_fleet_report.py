"""What is shown of a run of a fleet."""

import xml.etree.ElementTree as ET
from pathlib import Path

import msgspec

from lpmos.lab.fleet.invariants import Breach
from lpmos.lab.fleet.profiles import FleetSpec
from lpmos.lab.fleet.report import Line, plot, render, verdict, write
from lpmos.lab.fleet.run import FleetResult, Latency, Sample, Usage

RESULT = FleetResult(
    spec=FleetSpec(machines=4, seed=3),
    took_s=60.0,
    ended={"completed": 3, "failed": 1},
    faults={"crash": 1},
    latencies=(Latency("report", 4, 1.0, 2.0, 3.0, 4.0),),
    usage=(Usage("dc1", 1.5, 90.0),),
    samples=(Sample(1.0, {"ready": 4}, 3), Sample(2.0, {"completed": 3, "failed": 1}, 5)),
    breaches=(),
)


def test_verdict_says_how_it_ended_and_that_all_is_well() -> None:
    said = verdict(RESULT)
    assert "4 machines in 60 s (4 a minute): 3 completed, 1 failed" in said
    assert "1 crash (seed 3)" in said and "nothing was installed twice" in said


def test_verdict_names_what_is_broken() -> None:
    breach = Breach(invariant="no task is lost", count=2, examples=("A: <b>", "B: it"))
    broken = msgspec.structs.replace(RESULT, breaches=(breach,))
    assert "BROKEN: no task is lost: 2 machines: A: <b>; B: it" in verdict(broken)
    assert "A: &lt;b&gt;" in render(broken) and "A: <b>" not in render(broken)


def test_plot_is_svg_with_each_line_in_its_frame() -> None:
    lines = [Line("one", "red", [(0, 0), (10, 5)]), Line("none", "blue", [])]
    drawn = ET.fromstring(plot(lines))  # noqa: S314 - our own
    first, second = drawn.findall("{http://www.w3.org/2000/svg}polyline")
    assert first.get("points") == "46.0,196.0 750.0,24.0"
    assert second.get("points") == ""


def test_report_is_a_page_and_a_document_that_reads_back(tmp_path: Path) -> None:
    document, page = write(RESULT, tmp_path / "made")
    assert msgspec.json.decode(document.read_bytes(), type=FleetResult) == RESULT
    assert page.read_text().count("<svg") == 3
