"""`lpmos token sign`: break-glass, a token signed on a machine that has the control plane's key.

It needs no user, no password and no control plane that answers. It lasts for hours at most, is
written down where it is first used, and can be revoked there by its id.
"""

import argparse
from datetime import timedelta
from pathlib import Path

from lpmos.model.access import Role

DEFAULT_HOURS = 1.0
LONGEST_HOURS = 24


def define(command: argparse.ArgumentParser) -> None:
    """The arguments of `token sign`."""
    command.add_argument(
        "--auth-key-file",
        type=Path,
        default=Path("/var/lib/lpmos/auth.key"),
        metavar="FILE",
        help="the control plane's signing key (default: %(default)s)",
    )
    command.add_argument(
        "--subject",
        default="break-glass",
        metavar="NAME",
        help="whom the audit log shall name: you (default: %(default)s)",
    )
    command.add_argument(
        "--role",
        choices=[role.value for role in Role],
        default=Role.ADMIN.value,
        help="what it allows (default: %(default)s)",
    )
    command.add_argument(
        "--hours",
        type=_hours,
        default=DEFAULT_HOURS,
        metavar="HOURS",
        help="how long it lasts, at most 24 (default: %(default)s)",
    )
    command.set_defaults(run=_run)


def _hours(text: str) -> float:
    hours = float(text)
    if not 0 < hours <= LONGEST_HOURS:
        raise argparse.ArgumentTypeError(f"{text} is not above 0 and at most {LONGEST_HOURS}")
    return hours


def _run(chosen: argparse.Namespace) -> int:
    from lpmos.app.admin import signer_from

    signer = signer_from(chosen.auth_key_file)
    print(signer.issue(chosen.subject, chosen.role, timedelta(hours=chosen.hours)))
    return 0
