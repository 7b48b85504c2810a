"""`lpmos token`: a token for the API, signed on a machine that has the control plane's key."""

import argparse
from datetime import timedelta
from pathlib import Path
from typing import Any

from lpmos.app.admin import signer_from

DEFAULT_HOURS = 12


def add_commands(commands: "argparse._SubParsersAction[Any]") -> None:
    """Add `token`."""
    command = commands.add_parser(
        "token", help="print a new API token", description="Print a new token for the API."
    )
    command.add_argument(
        "--auth-key-file",
        type=Path,
        default=Path("/var/lib/lpmos/auth.key"),
        metavar="FILE",
        help="the control plane's signing key (default: %(default)s)",
    )
    command.add_argument("--subject", default="admin", help="whom the audit shall name")
    command.add_argument(
        "--hours",
        type=float,
        default=DEFAULT_HOURS,
        help="how long it lasts (default: %(default)s)",
    )
    command.set_defaults(run=_run)


def _run(chosen: argparse.Namespace) -> int:
    signer = signer_from(chosen.auth_key_file)
    print(signer.issue(chosen.subject, "admin", timedelta(hours=chosen.hours)))
    return 0
