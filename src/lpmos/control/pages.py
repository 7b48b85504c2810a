"""The pages: files of our own, read once, each sent with a digest so that a browser asks but once.

The folder `dashboard` is built from `web/`: one page, which shows what its address names, and its
scripts and styles, whose names change with their content. `static` holds what is there without it:
the sign-in and the description of the API. Nothing is rendered on the server, so no input ever
becomes part of a page here.
"""

import hashlib
from importlib import resources
from typing import Any

import msgspec
from litestar import Request, Response, get
from litestar.di import NamedDependency
from litestar.params import FromPath

from lpmos.control.access import PUBLIC, Door
from lpmos.model.errors import NotFound, Unauthenticated

MEDIA_TYPES = {
    "html": "text/html",
    "css": "text/css",
    "js": "text/javascript",
    "svg": "image/svg+xml",
}

AnyRequest = Request[Any, Any, Any]


class StaticFile(msgspec.Struct, frozen=True):
    """One file as it is sent."""

    content: bytes
    media_type: str
    etag: str


def load_files(folder: str) -> dict[str, StaticFile]:
    """Every file of a folder of this package, by name; none where the folder is not there."""
    files = {}
    place = resources.files("lpmos.control").joinpath(folder)
    for entry in place.iterdir() if place.is_dir() else ():
        ending = entry.name.rpartition(".")[2]
        if ending in MEDIA_TYPES:
            content = entry.read_bytes()
            etag = f'"{hashlib.sha256(content).hexdigest()[:32]}"'
            files[entry.name] = StaticFile(content, MEDIA_TYPES[ending], etag)
    return files


class Pages:
    """Sends the files; a page that shows anything is sent only to who is logged in."""

    def __init__(self, door: Door) -> None:
        self._door = door
        self._files = load_files("static")
        self._assets = load_files("dashboard/assets")
        self._index = load_files("dashboard").get("index.html")

    def file(self, request: AnyRequest, name: str) -> Response[bytes]:
        """One file, or 304 where the browser has it.

        Raises:
            NotFound: there is none of this name.
        """
        return self._sent(request, name, self._files.get(name), "no-cache")

    def asset(self, request: AnyRequest, name: str) -> Response[bytes]:
        """A script or style of the dashboard, which never changes under its name.

        Raises:
            NotFound: there is none of this name (any more).
        """
        return self._sent(
            request, name, self._assets.get(name), "public, max-age=31536000, immutable"
        )

    async def dashboard(self, request: AnyRequest) -> Response[bytes]:
        """The one page of the dashboard, for who is logged in.

        Raises:
            NotFound: the package was made without it.
        """
        try:
            await self._door.principal(request)
        except Unauthenticated:
            return Response(b"", status_code=303, headers={"Location": "/login"})
        if self._index is None:
            raise NotFound("the dashboard is not built: run `make dashboard` and start again")
        return self._sent(request, "index.html", self._index, "no-cache")

    def _sent(
        self, request: AnyRequest, name: str, file: StaticFile | None, caching: str
    ) -> Response[bytes]:
        if file is None:
            raise NotFound(f"there is no file {name[:64]}")
        headers = {"ETag": file.etag, "Cache-Control": caching}
        # A compressing proxy marks the tag as weak (RFC 9110 section 8.8.1).
        known = request.headers.get("if-none-match", "").removeprefix("W/")
        if known == file.etag:
            return Response(b"", status_code=304, headers=headers, media_type=file.media_type)
        return Response(file.content, headers=headers, media_type=file.media_type)

    def failure(self, status: int, name: str, *, retry_after_s: int) -> Response[bytes]:
        """A page that stands for what could not be done now."""
        file = self._files[name]
        headers = {"Retry-After": str(retry_after_s), "Cache-Control": "no-store"}
        return Response(
            file.content, status_code=status, headers=headers, media_type=file.media_type
        )

    async def page(self, request: AnyRequest, name: str) -> Response[bytes]:
        """A page for who is logged in; everybody else is sent to the login page."""
        try:
            await self._door.principal(request)
        except Unauthenticated:
            return Response(b"", status_code=303, headers={"Location": "/login"})
        return self.file(request, name)


DASHBOARD = (
    "/",
    "/account",
    "/audit",
    "/images",
    "/machines",
    "/machines/{idc:str}/{sn:str}",
    "/regions",
    "/regions/{idc:str}",
    "/rules",
    "/rules/{name:str}",
    "/tasks/{task_id:str}",
    "/templates",
    "/templates/{name:str}",
    "/unmatched",
    "/unmatched/{report_id:str}",
    "/users",
    "/webhooks",
)
"""The addresses of the dashboard: those of the table in `web/src/routes.ts`."""


@get(list(DASHBOARD), opt=PUBLIC, include_in_schema=False)
async def dashboard(request: AnyRequest, pages: NamedDependency[Pages]) -> Response[bytes]:
    """The dashboard, whatever page of it the address names."""
    return await pages.dashboard(request)


@get("/assets/{name:str}", opt=PUBLIC, include_in_schema=False)
async def dashboard_asset(
    name: FromPath[str], request: AnyRequest, pages: NamedDependency[Pages]
) -> Response[bytes]:
    """A script or style of the dashboard; they are the same for everybody."""
    return pages.asset(request, name)


@get("/login", opt=PUBLIC, include_in_schema=False)
async def login_page(request: AnyRequest, pages: NamedDependency[Pages]) -> Response[bytes]:
    """The login form."""
    return pages.file(request, "login.html")


@get("/static/{name:str}", opt=PUBLIC, include_in_schema=False)
async def static_file(
    name: FromPath[str], request: AnyRequest, pages: NamedDependency[Pages]
) -> Response[bytes]:
    """Styles and scripts of the pages; they are the same for everybody."""
    return pages.file(request, name)


PAGES = (dashboard, dashboard_asset, login_page, static_file)
