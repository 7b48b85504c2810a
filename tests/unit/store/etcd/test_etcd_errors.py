"""What a failed call means: only what was surely not applied counts as that."""

import grpc
import grpc.aio
import pytest

from lpmos.store import api
from lpmos.store.etcd import errors
from lpmos.store.etcd.client import check_version

Code = grpc.StatusCode
WHERE = "http://127.0.0.1:2379"


def _failure(code: grpc.StatusCode, message: str) -> grpc.aio.AioRpcError:
    return grpc.aio.AioRpcError(code, grpc.aio.Metadata(), grpc.aio.Metadata(), details=message)


@pytest.mark.parametrize(
    ("code", "message", "expected"),
    [
        (Code.INVALID_ARGUMENT, "etcdserver: key is not provided", api.InvalidRequest),
        (Code.INVALID_ARGUMENT, "etcdserver: request is too large", api.InvalidRequest),
        (
            Code.INVALID_ARGUMENT,
            "etcdserver: duplicate key given in txn request",
            api.InvalidRequest,
        ),
        (Code.RESOURCE_EXHAUSTED, "grpc: received message larger than max", api.InvalidRequest),
        (Code.RESOURCE_EXHAUSTED, "etcdserver: mvcc: database space exceeded", api.NoSpace),
        (Code.NOT_FOUND, "etcdserver: requested lease not found", api.LeaseNotFound),
        (
            Code.OUT_OF_RANGE,
            "etcdserver: mvcc: required revision has been compacted",
            api.Compacted,
        ),
        (
            Code.OUT_OF_RANGE,
            "etcdserver: mvcc: required revision is a future revision",
            api.FutureRevision,
        ),
        (Code.PERMISSION_DENIED, "etcdserver: permission denied", api.PermissionDenied),
        (Code.UNAUTHENTICATED, "etcdserver: invalid auth token", api.AuthFailed),
        (Code.INVALID_ARGUMENT, "etcdserver: user name is empty", api.AuthFailed),
        (Code.UNIMPLEMENTED, "unknown service etcdserverpb.KV", api.UnsupportedServer),
        # Refused before the write was proposed to the other members.
        (Code.UNAVAILABLE, "etcdserver: no leader", api.Unavailable),
        (Code.RESOURCE_EXHAUSTED, "etcdserver: too many requests", api.Unavailable),
        (Code.UNKNOWN, "raft proposal dropped", api.Unavailable),
        # Never sent.
        (
            Code.UNAVAILABLE,
            "failed to connect to all addresses; last error: Connection refused",
            api.Unavailable,
        ),
        (Code.UNAVAILABLE, "errors resolving etcd.example:2379: not found", api.Unavailable),
        # Sent, and then nobody knows.
        (Code.UNAVAILABLE, "Socket closed", api.Ambiguous),
        (Code.UNAVAILABLE, "Stream removed (Socket closed)", api.Ambiguous),
        (Code.UNAVAILABLE, "etcdserver: request timed out", api.Ambiguous),
        (Code.UNAVAILABLE, "etcdserver: leader changed", api.Ambiguous),
        (Code.UNAVAILABLE, "etcdserver: server stopped", api.Ambiguous),
        (Code.DEADLINE_EXCEEDED, "Deadline Exceeded", api.Ambiguous),
        (Code.INTERNAL, "Received RST_STREAM with error code 2", api.Ambiguous),
        (Code.UNKNOWN, "something new", api.Ambiguous),
        (Code.CANCELLED, "", api.Ambiguous),
    ],
)
def test_failed_write_has_the_meaning_of_its_cause(
    code: grpc.StatusCode, message: str, expected: type[api.StoreError]
) -> None:
    error = errors.from_call(_failure(code, message), write=True, where=WHERE)
    assert type(error) is expected
    assert expected is api.Compacted or WHERE in str(error)


@pytest.mark.parametrize("code", list(Code))
@pytest.mark.parametrize("message", ["", "Socket closed", "etcdserver: request timed out"])
def test_failed_read_is_never_ambiguous(code: grpc.StatusCode, message: str) -> None:
    error = errors.from_call(_failure(code, message), write=False, where=WHERE)
    assert not isinstance(error, api.Ambiguous)


def test_failed_handshake_says_what_to_check() -> None:
    failure = _failure(Code.UNAVAILABLE, "failed to connect to all addresses; last error: ssl")
    error = errors.from_call(failure, write=True, where="https://127.0.0.1:2379")
    assert type(error) is api.Unavailable
    assert "check the CA, client certificate and key" in str(error)


@pytest.mark.parametrize("version", ["3.5.0", "3.5.1", "3.5.2"])
def test_version_that_loses_writes_is_refused(version: str) -> None:
    with pytest.raises(api.UnsupportedServer, match=version):
        check_version(version, WHERE)


@pytest.mark.parametrize("version", ["3.4.23", "3.5.3", "3.5.21", "3.6.0"])
def test_version_that_is_sound_is_accepted(version: str) -> None:
    check_version(version, WHERE)
