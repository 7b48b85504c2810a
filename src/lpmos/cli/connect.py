"""Which server a command asks, and as whom: flags first, then the environment, then the login.

A login's access token lives for minutes. It is renewed a little before its end, and when the server
refuses it; the refresh token that does so is good for one use, so this happens under the lock of
the credentials, and whoever comes second takes what the first one got.
"""

import argparse
import os
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from lpmos.cli.client import Client, Credential, Fixed, Nobody
from lpmos.cli.credentials import Credentials, Login, default_path
from lpmos.cli.failures import NotSignedIn, Refused, Usage
from lpmos.model.tracecontext import parse_traceparent

DEFAULT_SERVER = "http://127.0.0.1:8080"
RENEW_BEFORE_S = 20.0

Clock = Callable[[], float]


def connect(
    chosen: argparse.Namespace, environment: Mapping[str, str] = os.environ, *, known: bool = True
) -> Client:
    """The client for this command.

    Args:
        chosen: with `server` and `ca`.
        environment: of the process.
        known: whether a credential is needed; without, calls must say `signed=False`.

    Raises:
        Usage: the server's address or the CA file cannot be used.
    """
    credentials = Credentials(default_path(environment))
    server = server_of(chosen, credentials, environment)
    login = credentials.get(server)
    named = chosen.ca or environment.get("LPMOS_CA") or (login.ca if login else None)
    ca = Path(named) if named else None
    credential: Credential = Nobody()
    if known and (token := environment.get("LPMOS_TOKEN")):
        credential = Fixed(token.strip())
    elif known and login:
        credential = StoredLogin(credentials, server)
    return Client(
        server,
        credential,
        ca=ca,
        trace=_told if chosen.verbose else None,
        parent=parse_traceparent(environment.get("TRACEPARENT")),
    )


def server_of(
    chosen: argparse.Namespace, credentials: Credentials, environment: Mapping[str, str]
) -> str:
    """The address of the control plane that this command asks.

    Raises:
        Usage: it is no such address.
    """
    given = chosen.server or environment.get("LPMOS_SERVER")
    return normal_url(given) if given else credentials.current() or DEFAULT_SERVER


def normal_url(text: str) -> str:
    """`http://host:port` or `https://host:port`, without a path; https where nothing is said.

    Raises:
        Usage: it is no such address.
    """
    whole = text if "://" in text else f"https://{text}"
    try:
        parts = urlsplit(whole)
        port = parts.port
    except ValueError as error:
        raise Usage(f"{text!r} is no address of a server: {error}") from error
    if parts.scheme not in ("http", "https") or not parts.hostname or parts.path not in ("", "/"):
        raise Usage(f"{text!r} is no address of a server; it looks like https://lpmos.example:8443")
    if parts.username or parts.password or parts.query or parts.fragment:
        raise Usage("the server's address takes no user, password or query; sign in: lpmos login")
    host = f"[{parts.hostname}]" if ":" in parts.hostname else parts.hostname
    return f"{parts.scheme}://{host}" + (f":{port}" if port else "")


class StoredLogin:
    """The credential that `lpmos login` left for one server."""

    def __init__(self, credentials: Credentials, server: str, clock: Clock = time.time) -> None:
        self._credentials = credentials
        self._server = server
        self._clock = clock

    def token(self, client: Client) -> str:
        """The access token, renewed where it ends soon.

        Raises:
            NotSignedIn: the login is over.
        """
        login = self._login()
        over = login.expires_at is not None and login.expires_at <= self._clock() + RENEW_BEFORE_S
        if over and login.refresh_token is not None:
            self.renew(client, login.access_token)
            login = self._login()
        return login.access_token

    def renew(self, client: Client, refused: str) -> bool:
        """Exchange the refresh token, unless another command has just done so.

        Raises:
            NotSignedIn: the server does not take it any more.
        """
        with self._credentials.locked():
            login = self._login()
            if login.access_token != refused:
                return True
            if login.refresh_token is None:
                return False
            try:
                answer = client.call(
                    "POST", "login/refresh", {"refresh_token": login.refresh_token}, signed=False
                )
            except Refused as error:
                if error.status not in (400, 401, 403, 422):
                    raise
                raise self._over() from error
            self._credentials.put(
                self._server, login_from(answer.document, login.user, login.ca, self._clock())
            )
        return True

    def _login(self) -> Login:
        login = self._credentials.get(self._server)
        if login is None:
            raise self._over()
        return login

    def _over(self) -> NotSignedIn:
        return NotSignedIn(f"the login at {self._server} is over: run `lpmos login` again")


def _told(call: str) -> None:
    print(f"* {call}", file=sys.stderr)


def login_from(document: Mapping[str, Any], user: str, ca: str | None, now: float) -> Login:
    """What is kept of the answer to a login or a refresh."""
    return Login(
        user=user,
        access_token=document["access_token"],
        expires_at=now + document["expires_in"],
        refresh_token=document["refresh_token"],
        ca=ca,
    )
