"""The one table from errors to HTTP: status, title and problem document (RFC 9457) of each.

It knows no web framework, so that the control plane and the region answer alike. An error that is
a subclass of a row answers as that row, with its own code; an error of no row is an internal error
whose text stays in the log.
"""

from collections.abc import Callable, Mapping, Sequence
from http import HTTPStatus
from typing import TypeVar

import msgspec

from lpmos.core import firstboot, handin
from lpmos.core.fields import field_problem, field_problems, value_problems, whole_numbers
from lpmos.model import errors
from lpmos.model.errors import FieldProblem, LpmosError
from lpmos.store import api, records

T = TypeVar("T")

MEDIA_TYPE = "application/problem+json"
RETRY_AFTER_S = 5
OCCUPIED_S = 10
FIELDS_NAMED = 50
"""How many wrong fields one answer names; a body can hold many more."""


class Row(msgspec.Struct, frozen=True):
    """How one error and all that derive from it are answered."""

    status: int
    title: str
    retry_after_s: int | None = None


class Problem(msgspec.Struct, frozen=True):
    """An answer to be sent with `MEDIA_TYPE`; a caller may add members to `document`."""

    status: int
    headers: dict[str, str]
    document: dict[str, object]


_STORE_AWAY = Row(503, "The store cannot be used now", RETRY_AFTER_S)

TABLE: Mapping[type[LpmosError], Row] = {
    errors.InvalidInput: Row(422, "The input is invalid"),
    errors.Unauthenticated: Row(401, "Authentication is needed"),
    errors.Forbidden: Row(403, "This is not allowed"),
    errors.NotFound: Row(404, "There is no such thing"),
    firstboot.NotHandedOver: Row(503, "The agent is not done yet", RETRY_AFTER_S),
    errors.Conflict: Row(409, "This contradicts what is there"),
    errors.ForeignMachine: Row(409, "Another machine has this MAC"),
    errors.NoSuitableDisk: Row(409, "No disk can be the root disk"),
    errors.TooLarge: Row(413, "The request is too large"),
    errors.TooBusy: Row(429, "Too many requests", RETRY_AFTER_S),
    errors.Occupied: Row(503, "All places for this are taken", OCCUPIED_S),
    errors.ProviderAway: Row(503, "The identity provider cannot be used now", RETRY_AFTER_S),
    errors.SecretError: Row(500, "A stored secret cannot be used"),
    errors.UnknownKey: Row(503, "A key that secrets are sealed with is missing", RETRY_AFTER_S),
    errors.ImageError: Row(500, "An image cannot be used"),
    errors.DamagedBackup: Row(500, "A backup is damaged"),
    errors.BackupPlaceError: Row(502, "The object store for backups cannot be used"),
    errors.SettingsError: Row(500, "The configuration is wrong"),
    api.Unavailable: _STORE_AWAY,
    api.Ambiguous: Row(503, "The store's answer was lost; look before repeating", RETRY_AFTER_S),
    api.CasConflict: Row(412, "The value has changed meanwhile"),
    api.LeaseNotFound: _STORE_AWAY,
    api.WatchLagged: _STORE_AWAY,
    api.PermissionDenied: _STORE_AWAY,
    api.AuthFailed: _STORE_AWAY,
    api.NoSpace: _STORE_AWAY,
    api.StoreLocked: _STORE_AWAY,
    api.Damaged: _STORE_AWAY,
    api.UnsupportedServer: _STORE_AWAY,
    api.Compacted: Row(500, "A revision of the store is gone"),
    api.FutureRevision: Row(500, "A revision of the store is not there yet"),
    api.InvalidRequest: Row(500, "The store refused a request as wrong"),
    handin.AlreadyHandedIn: Row(409, "This was handed in before"),
    records.DamagedRecord: Row(500, "A record in the store is damaged"),
    records.RecordTooLarge: Row(413, "The document is too large to be stored"),
}


def problem_for(error: Exception, *, instance: str = "") -> Problem:
    """The answer to a call that ended with `error`; `instance` is the request's id.

    msgspec's errors are understood too: text that is not JSON is malformed (400), JSON of another
    shape is invalid (422) and names its field.
    """
    if isinstance(error, msgspec.ValidationError):
        wrong = errors.InvalidInput(field_problem(error))
        return problem_for(wrong, instance=instance)
    if isinstance(error, msgspec.DecodeError | UnicodeDecodeError | RecursionError):
        return problem(400, "malformed", f"The body is not JSON: {error}", instance=instance)
    row = _row(error)
    if row is None or not isinstance(error, LpmosError):
        return problem(
            500,
            "internal",
            "This should not have happened; the log has the cause under the request's id.",
            instance=instance,
        )
    fields = error.problems if isinstance(error, errors.InvalidInput) else ()
    retry_after_s = getattr(error, "retry_after_s", None) or row.retry_after_s
    headers = {} if retry_after_s is None else {"Retry-After": str(retry_after_s)}
    if row.status == HTTPStatus.UNAUTHORIZED:
        headers["WWW-Authenticate"] = 'Bearer realm="lpmos"'
    return problem(
        row.status,
        error.code,
        str(error),
        title=row.title,
        fields=fields,
        headers=headers,
        instance=instance,
    )


def problem(
    status: int,
    code: str,
    detail: str,
    *,
    title: str = "",
    fields: Sequence[FieldProblem] = (),
    headers: Mapping[str, str] | None = None,
    instance: str = "",
) -> Problem:
    """A problem that no error of ours stands for, as a path without a handler."""
    document: dict[str, object] = {
        "type": f"/problems/{code}",
        "title": title or HTTPStatus(status).phrase,
        "status": status,
        "detail": detail,
        "code": code,
        "errors": [{"field": each.field, "message": each.message} for each in fields],
    }
    if instance:
        document["instance"] = instance
    return Problem(status, dict(headers or {}), document)


def decode_body(body: bytes, kind: type[T], check: Callable[[T], object] | None = None) -> T:
    """The document in `body`; every wrong field is named, not only the first.

    Args:
        body: what came.
        kind: its shape.
        check: what the fields' values must satisfy beyond their types; it raises `InvalidInput`.
            Of a document of another shape it is shown what could be read.

    Raises:
        msgspec.DecodeError: it is not JSON, or nested beyond measure.
        InvalidInput: it is JSON of another shape, or `check` refuses it.
    """
    try:
        try:
            document = msgspec.json.decode(body, type=kind)
        except msgspec.ValidationError:
            plain = whole_numbers(msgspec.json.decode(body))
            shape = field_problems(plain, kind)
            if shape:
                values = value_problems(plain, kind, check, shape) if check else []
                raise errors.InvalidInput(*[*shape, *values][:FIELDS_NAMED]) from None
            document = msgspec.convert(plain, kind)
    except (RecursionError, UnicodeDecodeError) as error:
        raise msgspec.DecodeError(str(error)) from None
    if check:
        check(document)
    return document


def _row(error: Exception) -> Row | None:
    for kind in type(error).__mro__:
        if row := TABLE.get(kind):
            return row
    return None
