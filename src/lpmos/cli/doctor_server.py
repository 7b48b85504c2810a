"""The control plane as it is seen from here: what `lpmos doctor` asks over the network."""

import argparse
import os
import socket
import ssl
from collections.abc import Callable, Generator, Iterator
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from urllib.parse import urlsplit

import lpmos
from lpmos.cli.client import Client, Document, is_loopback
from lpmos.cli.connect import connect
from lpmos.cli.credentials import Credentials, default_path
from lpmos.cli.display import utc_now
from lpmos.cli.failures import NoAnswer, NotSignedIn, Refused, Usage
from lpmos.cli.findings import (
    Finding,
    judge_certificate,
    judge_clock,
    judge_images,
    judge_regions,
    judge_store,
    judge_unmatched,
    judge_versions,
    ok,
    warning,
    wrong,
)
from lpmos.cli.words import listed, signed_in_until

PROBE_TIMEOUT_S = 5.0


def look_at_server(chosen: argparse.Namespace) -> Iterator[Finding]:
    """All that can be seen from here, as far as this user may see it."""
    try:
        if not _is_named(chosen):
            text = "not logged in, and no server is named"
            yield wrong("signed in", text, "run lpmos login --server URL")
            return
        client = connect(chosen)
    except Usage as error:
        yield wrong("server", str(error), "see lpmos login --help")
        return
    with client:
        try:
            answer = client.call("GET", "/health", signed=False)
        except (NoAnswer, Refused) as error:
            yield wrong("server", str(error), "start it, or name the right one with --server")
            return
        yield ok("server", f"{client.url} answers")
        yield from _transport(client)
        if date := answer.headers.get("date"):
            yield judge_clock(parsedate_to_datetime(date), utc_now())
        yield judge_store(answer.document)
        yield from _signed_in(client)


def _is_named(chosen: argparse.Namespace) -> bool:
    """Whether anybody said which control plane to look at."""
    named = chosen.server or any(map(os.environ.get, ("LPMOS_SERVER", "LPMOS_TOKEN")))
    return bool(named or Credentials(default_path()).current())


def _signed_in(client: Client) -> Iterator[Finding]:
    try:
        me = client.get("session")
    except (NotSignedIn, Refused) as error:
        yield wrong("signed in", str(error), "lpmos login; the rest needs it")
        return
    ends = signed_in_until(me, utc_now())
    yield ok("signed in", f"as {me['name']} ({listed(me['roles'])}); this ends {ends}")
    regions = yield from _asked("regions", lambda: client.get("regions"))
    if regions is not None:
        yield from judge_regions(regions["regions"], utc_now())
        described = yield from _asked("versions", lambda: client.get("/schema/openapi.json"))
        if described is not None:
            server = described["info"]["version"]
            yield from judge_versions(server, regions["regions"], lpmos.__version__)
    images = yield from _asked("images", lambda: client.get("images"))
    if images is not None:
        yield from judge_images(images["images"])
    reports = yield from _asked("unmatched", lambda: client.get("unmatched-reports", limit=1))
    if reports is not None:
        yield judge_unmatched(reports)


def _asked(subject: str, ask: Callable[[], Document]) -> Generator[Finding, None, Document | None]:
    """What was answered; a refusal is a finding, unless this user may not see it."""
    try:
        return ask()
    except Refused as error:
        if error.status != 403:
            yield wrong(subject, str(error), "look at the control plane's log")
    except NoAnswer as error:
        yield wrong(subject, str(error), "try again")
    return None


def _transport(client: Client) -> Iterator[Finding]:
    """How the connection is protected, and for how long its certificate holds."""
    if client.tls is None:
        if is_loopback(client.url):
            yield ok("TLS", "none, and none is needed on this machine itself")
        else:
            yield warning(
                "TLS",
                "the connection is not encrypted: passwords and tokens can be read on the way",
                "give the control plane --tls-cert and --tls-key, and use https://",
            )
        return
    parts = urlsplit(client.url)
    place = parts.hostname or "", parts.port or 443
    try:
        with (
            socket.create_connection(place, PROBE_TIMEOUT_S) as plain,
            client.tls.wrap_socket(plain, server_hostname=place[0]) as secured,
        ):
            certificate = secured.getpeercert() or {}
            version = secured.version()
    except OSError as error:
        yield wrong("TLS", str(error), "look at the control plane's certificate")
        return
    ends = datetime.fromtimestamp(ssl.cert_time_to_seconds(str(certificate["notAfter"])), UTC)
    yield ok("TLS", str(version))
    yield judge_certificate("certificate", ends, utc_now())
