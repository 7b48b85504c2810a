"""This machine as a server of LPMOS: what `lpmos doctor` looks at on the spot, by its settings."""

import os
import shutil
import stat
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path

from lpmos.app.settings import Settings
from lpmos.app.settings_table import CONTROL, REGION
from lpmos.cli.display import utc_now
from lpmos.cli.doctor_region import answers, look_at_region
from lpmos.cli.findings import (
    Finding,
    judge_certificate,
    judge_modes,
    judge_space,
    ok,
    warning,
    wrong,
)
from lpmos.cli.running_parts import running_parts

SECRET_FILES = (
    "auth_key_file", "tls_key", "etcd_key", "etcd_password_file", "secrets_key_file",
    "vault_token_file", "oidc_client_secret_file", "agent_tls_key",
)  # fmt: skip
FIRST_PASSWORD = "admin.password"  # noqa: S105 - the name of a file
STATE_SECRETS = ("auth.key", "secrets.key", "agent.key", FIRST_PASSWORD)
CERTIFICATES = ("tls_cert", "etcd_cert", "etcd_ca")


def look_at_host() -> Iterator[Finding]:
    """The files, programs and ports of each part that runs here."""
    none = True
    for running in running_parts():
        none = False
        name = f"lpmos {running.part}"
        if running.settings is None:
            do = "see docs/reference/settings.md"
            yield warning(name, f"process {running.pid}: {running.problem}", do)
            continue
        yield ok(name, f"runs here as process {running.pid}")
        yield from _look_at(running.part, running.settings)
    if none:
        do = "start one: lpmos up, lpmos control-plane or lpmos region"
        yield warning("this machine", "runs no part of LPMOS", do)


def _look_at(part: str, settings: Settings) -> Iterator[Finding]:
    yield from _state_dir(settings.state_dir)
    yield from judge_modes(_modes(settings))
    if (first := settings.state_dir / FIRST_PASSWORD).exists():
        do = f"lpmos user password admin, then delete {first}"
        yield warning("first password", f"{first} is still there", do)
    for name in CERTIFICATES:
        if path := getattr(settings, name, None):
            yield _certificate(name, path)
    if part != REGION:
        for address in settings.listen_addr:
            host, _, port = address.rpartition(":")
            if host != "fd":
                yield answers(host.strip("[]"), port, "the control plane")
    if part != CONTROL:
        yield from look_at_region(settings)


def _state_dir(path: Path) -> Iterator[Finding]:
    try:
        mode = path.stat().st_mode
    except OSError as error:
        yield warning(
            "state dir", f"{path}: {error.strerror}", "it is made at the first start, or set it"
        )
        return
    if not stat.S_ISDIR(mode):
        yield wrong("state dir", f"{path} is no directory", "name another with --state-dir")
    elif mode & 0o022:
        yield wrong("state dir", f"{path} can be written by others", f"chmod go-w {path}")
    elif not os.access(path, os.R_OK | os.W_OK | os.X_OK):
        yield warning("state dir", f"{path} is not yours", "look as the user who runs LPMOS")
    else:
        yield ok("state dir", str(path))
        usage = shutil.disk_usage(path)
        yield judge_space("disk space", usage.total, usage.free)


def _modes(settings: Settings) -> dict[str, int]:
    """The modes of the secret files that are there."""
    named = [path for name in SECRET_FILES if (path := getattr(settings, name, None))]
    own = [settings.state_dir / name for name in STATE_SECRETS]
    modes: dict[str, int] = {}
    for path in (*named, *own):
        try:
            modes[str(path)] = path.stat().st_mode
        except OSError:  # a file that is needed and missing is told of by who starts
            continue
    return modes


def _certificate(name: str, path: Path) -> Finding:
    from cryptography import x509

    subject = name.replace("_", " ")
    try:
        certificate = x509.load_pem_x509_certificate(path.read_bytes())
    except (OSError, ValueError) as error:
        return wrong(subject, f"{path}: {error}", "name a PEM file that can be read")
    ends: datetime = certificate.not_valid_after_utc
    return judge_certificate(subject, ends, utc_now())
