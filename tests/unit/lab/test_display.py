"""What the demo prints where there is no terminal, and its summary."""

from datetime import UTC, datetime, timedelta
from io import StringIO

from rich.console import Console

from lpmos.lab.display import LineDisplay, journeys_display, summary_table
from lpmos.lab.journey import JourneyProgress

START = datetime(2026, 1, 1, tzinfo=UTC)


def console() -> tuple[Console, StringIO]:
    output = StringIO()
    return Console(file=output, width=200), output


def test_lines_of_a_long_download_are_one_for_each_quarter() -> None:
    screen, output = console()
    display = LineDisplay(screen)
    progress = JourneyProgress("web-1", "UEFI", stage="downloading", bytes_per_second=9_500_000)
    for percent in range(20, 61):
        progress.percent = percent
        progress.message = f"{percent} of 100 [MB]"
        display.show(progress)
    assert output.getvalue().splitlines() == [
        "web-1  UEFI   20 %  9.5 MB/s  downloading: 20 of 100 [MB]",
        "web-1  UEFI   25 %  9.5 MB/s  downloading: 25 of 100 [MB]",
        "web-1  UEFI   50 %  9.5 MB/s  downloading: 50 of 100 [MB]",
    ]


def test_summary_of_two_servers_has_seconds_for_what_they_reached() -> None:
    screen, output = console()
    names = (
        *("power on", "pending_approval", "approved", "installing"),
        *("restarting", "login", "completed", "up"),
    )
    times = {name: START + timedelta(seconds=10 * number) for number, name in enumerate(names)}
    up = JourneyProgress("web-1", "BIOS", stage="up", up=True, times=times)
    lost = JourneyProgress("web-2", "UEFI", stage="failed", times={"power on": START})
    screen.print(summary_table([up, lost]))
    first, second = output.getvalue().splitlines()[-2:]
    assert " ".join(first.split()) == "web-1 BIOS 10.0 s 10.0 s 10.0 s 10.0 s 20.0 s 70.0 s up"
    assert " ".join(second.split()) == "web-2 UEFI - - - - - - failed"


def test_bars_in_a_narrow_terminal_keep_stage_percentage_and_rate_on_one_line() -> None:
    output = StringIO()
    screen = Console(file=output, width=80, force_terminal=True, color_system=None)
    progress = JourneyProgress(
        "SIM-0001", "simulated", stage="downloading", percent=38, bytes_per_second=9_200_000
    )
    progress.message = "debian-12-simulated [x]: 23 of 48 MB, 9.2 MB/s"
    with journeys_display(screen) as display:
        display.show(progress)
    last = [line for line in output.getvalue().splitlines() if "SIM-0001" in line][-1]
    for text in ("SIM-0001 simulated", "downloading", " 38 %", "9.2 MB/s", "0:00:00", "debian"):
        assert text in last
