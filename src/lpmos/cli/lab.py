"""`lpmos lab`: the demonstrations."""

import argparse

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


def _demo(chosen: argparse.Namespace) -> int:
    from lpmos.lab.demo import run_demo

    return run_demo(simulated=chosen.simulated)
