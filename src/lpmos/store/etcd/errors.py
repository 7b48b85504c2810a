"""What a failed call means: a gRPC status from etcd or from the channel, as one of our errors.

The rule: a call counts as not applied only where that is certain, because it never left this
process or because the server says that it refused it. Every other failure of a write is
`Ambiguous`; a read is never ambiguous.

Source: the messages are those of etcd 3.4 to 3.6 (`rpctypes/error.go`); the texts for a call that
was never sent are those of gRPC's channel.
"""

import grpc
import grpc.aio

from lpmos.store.api import (
    Ambiguous,
    AuthFailed,
    Compacted,
    FutureRevision,
    InvalidRequest,
    LeaseNotFound,
    NoSpace,
    PermissionDenied,
    StoreError,
    Unavailable,
    UnsupportedServer,
)

_Code = grpc.StatusCode

_BY_MESSAGE: dict[str, type[StoreError]] = {
    "etcdserver: mvcc: required revision is a future revision": FutureRevision,
    "etcdserver: mvcc: database space exceeded": NoSpace,
    "etcdserver: requested lease not found": LeaseNotFound,
    "etcdserver: permission denied": PermissionDenied,
    "etcdserver: user name is empty": AuthFailed,
    "etcdserver: user name not found": AuthFailed,
    "etcdserver: authentication failed, invalid user ID or password": AuthFailed,
    "etcdserver: authentication is not enabled": AuthFailed,
    "etcdserver: invalid auth token": AuthFailed,
    "auth: revision in header is old": AuthFailed,
    "etcdserver: revision of auth store is old": AuthFailed,
    # Refused before they were proposed to the other members: never applied.
    "etcdserver: no leader": Unavailable,
    "etcdserver: not capable": Unavailable,
    "etcdserver: too many requests": Unavailable,
    "etcdserver: unhealthy cluster": Unavailable,
    "etcdserver: rpc not supported for learner": Unavailable,
    "raft proposal dropped": Unavailable,
}
_COMPACTED = "etcdserver: mvcc: required revision has been compacted"
_TOKEN_REFUSED = {
    "etcdserver: invalid auth token",
    "auth: revision in header is old",
    "etcdserver: revision of auth store is old",
}
_NEVER_SENT = ("failed to connect to all addresses", "errors resolving", "DNS resolution failed")
_BY_CODE: dict[grpc.StatusCode, type[StoreError]] = {
    _Code.INVALID_ARGUMENT: InvalidRequest,
    _Code.OUT_OF_RANGE: InvalidRequest,
    _Code.FAILED_PRECONDITION: InvalidRequest,
    _Code.RESOURCE_EXHAUSTED: InvalidRequest,  # gRPC's own limit on the size of a message
    _Code.PERMISSION_DENIED: PermissionDenied,
    _Code.UNAUTHENTICATED: AuthFailed,
    _Code.UNIMPLEMENTED: UnsupportedServer,
}
_ADVICE: dict[type[StoreError], str] = {
    AuthFailed: "check the store's user, password and client certificate",
    PermissionDenied: "grant the store's user this key or call",
    NoSpace: "compact and defragment etcd, or raise its quota, then disarm its alarm",
}


def token_refused(message: str) -> bool:
    """Whether a new token may help, after the server's `message`."""
    return message in _TOKEN_REFUSED


def from_message(message: str, *, where: str) -> StoreError | None:
    """The error that etcd's `message` names; None for one that is not known.

    The reason of a cancelled watch comes as `rpc error: code = … desc = <message>`.
    """
    message = message.rpartition(" desc = ")[2]
    if message == _COMPACTED:
        return Compacted(0)
    if kind := _BY_MESSAGE.get(message):
        return kind(_text(where, message, kind))
    return None


def from_call(error: grpc.aio.AioRpcError, *, write: bool, where: str) -> StoreError:
    """What a failed call means to its caller; `where` is the endpoint's URL."""
    message = error.details() or ""
    if known := from_message(message, where=where):
        return known
    if kind := _BY_CODE.get(error.code()):
        return kind(_text(where, message, kind))
    text = f"{where}: {error.code().name.lower().replace('_', ' ')}: {message}"
    if message.startswith(_NEVER_SENT):
        return Unavailable(f"{text}{_handshake_advice(where)}")
    return Ambiguous(f"{text}; read before doing it again") if write else Unavailable(text)


def _text(where: str, message: str, kind: type[StoreError]) -> str:
    advice = _ADVICE.get(kind)
    return f"{where}: {message}; {advice}" if advice else f"{where}: {message}"


def _handshake_advice(where: str) -> str:
    if not where.startswith("https:"):
        return ""
    return "; where the server is up, check the CA, client certificate and key"
