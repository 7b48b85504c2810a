"""`lpmos lab`: the demonstrations, and the simulated fleet."""

import argparse
import tempfile
from pathlib import Path

from lpmos.cli.options import group


def define(lab: argparse.ArgumentParser) -> None:
    """The subcommands of `lab`."""
    kinds = group(lab)
    help_text = "install servers from bare disks, before your eyes"
    demo = kinds.add_parser(
        "demo",
        help=help_text,
        description=f"The demo: {help_text}. Environment: APPROVE=manual leaves the approvals to"
        " you, DEMO_EXIT=1 ends when all is done, LPMOS_DEMO_PORT is the dashboard's port,"
        " LPMOS_IMAGES_DIR and LPMOS_CACHE_DIR are where images are kept and built.",
    )
    demo.add_argument(
        "--simulated", action="store_true", help="simulated servers: needs neither root nor QEMU"
    )
    demo.set_defaults(run=_demo)
    fleet = kinds.add_parser(
        "fleet",
        help="install thousands of simulated machines, and look whether anything was lost",
        description="A simulated fleet towards real regions, a real control plane and a real etcd"
        " on this machine's loopback, with faults that the seed decides. Ends with 0 only where"
        " every task ended, none was lost, nothing was installed twice, and only what had to fail"
        " failed.",
    )
    fleet.add_argument("--machines", type=int, default=500, metavar="N", help="how many (500)")
    fleet.add_argument("--regions", type=int, default=2, metavar="N", help="data centers (2)")
    fleet.add_argument("--seed", type=int, default=1, metavar="N", help="the same is the same (1)")
    fleet.add_argument("--no-faults", action="store_true", help="nothing goes wrong")
    fleet.add_argument(
        "--install-s", type=float, default=20.0, metavar="S", help="a usual install takes (20)"
    )
    fleet.add_argument(
        "--boot-s", type=float, default=60.0, metavar="S", help="all are powered on within (60)"
    )
    fleet.add_argument(
        "--timeout-s", type=float, default=1800.0, metavar="S", help="give up after (1800)"
    )
    fleet.add_argument(
        "--report", type=Path, metavar="FOLDER", help="write report.json and report.html there"
    )
    fleet.set_defaults(run=_fleet)


def _demo(chosen: argparse.Namespace) -> int:
    from lpmos.lab.demo import run_demo

    return run_demo(simulated=chosen.simulated)


def _fleet(chosen: argparse.Namespace) -> int:
    import asyncio

    from rich.console import Console

    from lpmos.lab.fleet import report
    from lpmos.lab.fleet.profiles import FleetSpec
    from lpmos.lab.fleet.run import run_fleet

    spec = FleetSpec(
        machines=chosen.machines,
        regions=chosen.regions,
        seed=chosen.seed,
        faults=not chosen.no_faults,
        install_s=chosen.install_s,
        boot_s=chosen.boot_s,
    )
    console = Console()
    with (
        tempfile.TemporaryDirectory(prefix="lpmos-fleet-") as directory,
        report.watching(console, spec.machines) as show,
    ):
        result = asyncio.run(run_fleet(spec, Path(directory), show, chosen.timeout_s))
    for table in report.tables(result):
        console.print(table)
    console.print(report.verdict(result), highlight=False, markup=False)
    if chosen.report:
        console.print(*report.write(result, chosen.report), sep="\n", highlight=False)
    return 1 if result.breaches else 0
