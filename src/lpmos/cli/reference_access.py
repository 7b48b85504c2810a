"""`docs/reference/access.md`, drawn from the table of grants and from the routes themselves."""

from collections.abc import Iterator

from litestar import Router
from litestar.routes import HTTPRoute

from lpmos.control.app import routes
from lpmos.model.access import GRANTS, Permission, Role

PAGE = """\
# Who may do what

This page is generated from the one table in the code and from the routes. How users get their
roles: [users and access](../how-to/users.md).

A user has one or more roles, and may do what any of them allows. A user with a tenant sees and
touches only what belongs to that tenant, whatever the role: what is another's is not there (404).
Users without a tenant are the provider's own staff and see everything. What is marked *provider* is
never a tenant's. A change of a user counts from its next request on.

## Permissions

| permission | what it allows | {roles} |
|---|---|{lines}
{permissions}

## Calls

*own / others'*: everybody has the first for what is its own, and needs the second for other users'.

| call | permission |
|---|---|
{calls}
"""


def access_page() -> str:
    """The page."""
    return PAGE.format(
        roles=" | ".join(role.value for role in Role),
        lines="---|" * len(Role),
        permissions="\n".join(_permissions()),
        calls="\n".join(f"| `{method} {path}` | {said} |" for path, method, said in _calls()),
    )


def _permissions() -> Iterator[str]:
    for permission, grant in GRANTS.items():
        what = f"{grant.what} (*provider*)" if grant.provider_only else grant.what
        marks = " | ".join("yes" if role in grant.roles else "" for role in Role)
        yield f"| `{permission.value}` | {what} | {marks} |"


def _calls() -> list[tuple[str, str, str]]:
    """Path, method and what it needs, of every call."""
    found = [
        (route.path_format, method, _said(handler.opt))
        for route in Router("/", route_handlers=routes()).routes
        if isinstance(route, HTTPRoute)
        for handler in route.route_handlers
        for method in handler.http_methods - {"OPTIONS", "HEAD"}
    ]
    return sorted(found)


def _said(opt: dict[str, object]) -> str:
    if opt.get("public"):
        return "open to everybody"
    permission = Permission(str(opt["permission"]))
    if "others" in opt:
        return f"`{permission.value}` / `{Permission(str(opt['others'])).value}`"
    return f"`{permission.value}`"
