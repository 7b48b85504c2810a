"""The part of etcd's public v3 API that is used here: its messages and calls, as one table.

The messages are made from the table at run time, in a descriptor pool of our own: there is no
generated code, and no clash with another package that declares etcd's messages too. A field that
is not in the table is skipped when it arrives.

Source: the API reference of etcd 3.4 to 3.6 (`rpc.proto`, `kv.proto`). Enumerations are declared
as int32, which is the same on the wire.
"""

from typing import Any, NamedTuple

from google.protobuf import descriptor_pb2, descriptor_pool, message_factory

Message = Any  # a message of a class made here, which no type checker can know

PACKAGE = "lpmos.store.etcd"

# Message, then its fields: number, name, type (`[]`: repeated), and the oneof it belongs to.
MESSAGES = """
ResponseHeader
    2   member_id               uint64
    3   revision                int64

KeyValue
    1   key                     bytes
    2   create_revision         int64
    3   mod_revision            int64
    4   version                 int64
    5   value                   bytes
    6   lease                   int64

Event
    1   type                    int32
    2   kv                      KeyValue

RangeRequest
    1   key                     bytes
    2   range_end               bytes
    3   limit                   int64
    4   revision                int64
    8   keys_only               bool

RangeResponse
    1   header                  ResponseHeader
    2   kvs                     KeyValue[]
    3   more                    bool
    4   count                   int64

PutRequest
    1   key                     bytes
    2   value                   bytes
    3   lease                   int64

PutResponse
    1   header                  ResponseHeader

DeleteRangeRequest
    1   key                     bytes
    2   range_end               bytes

DeleteRangeResponse
    1   header                  ResponseHeader
    2   deleted                 int64

Compare
    1   result                  int32
    2   target                  int32
    3   key                     bytes
    4   version                 int64           target_union
    5   create_revision         int64           target_union
    6   mod_revision            int64           target_union
    7   value                   bytes           target_union

RequestOp
    1   request_range           RangeRequest            request
    2   request_put             PutRequest              request
    3   request_delete_range    DeleteRangeRequest      request

ResponseOp
    1   response_range          RangeResponse           response
    2   response_put            PutResponse             response
    3   response_delete_range   DeleteRangeResponse     response

TxnRequest
    1   compare                 Compare[]
    2   success                 RequestOp[]
    3   failure                 RequestOp[]

TxnResponse
    1   header                  ResponseHeader
    2   succeeded               bool
    3   responses               ResponseOp[]

CompactionRequest
    1   revision                int64
    2   physical                bool

CompactionResponse
    1   header                  ResponseHeader

WatchRequest
    1   create_request          WatchCreateRequest      request_union

WatchCreateRequest
    1   key                     bytes
    2   range_end               bytes
    3   start_revision          int64
    8   fragment                bool

WatchResponse
    1   header                  ResponseHeader
    3   created                 bool
    4   canceled                bool
    5   compact_revision        int64
    6   cancel_reason           string
    7   fragment                bool
    11  events                  Event[]

LeaseGrantRequest
    1   TTL                     int64

LeaseGrantResponse
    1   header                  ResponseHeader
    2   ID                      int64
    3   TTL                     int64

LeaseRevokeRequest
    1   ID                      int64

LeaseRevokeResponse
    1   header                  ResponseHeader

LeaseKeepAliveRequest
    1   ID                      int64

LeaseKeepAliveResponse
    1   header                  ResponseHeader
    2   ID                      int64
    3   TTL                     int64

StatusRequest

StatusResponse
    1   header                  ResponseHeader
    2   version                 string
    3   dbSize                  int64
    4   leader                  uint64
    8   errors                  string[]
    9   dbSizeInUse             int64
    12  dbSizeQuota             int64

SnapshotRequest

SnapshotResponse
    2   remaining_bytes         uint64
    3   blob                    bytes

AuthenticateRequest
    1   name                    string
    2   password                string

AuthenticateResponse
    2   token                   string
"""

_Field = descriptor_pb2.FieldDescriptorProto
_SCALARS = {
    "bool": _Field.TYPE_BOOL,
    "bytes": _Field.TYPE_BYTES,
    "int32": _Field.TYPE_INT32,
    "int64": _Field.TYPE_INT64,
    "string": _Field.TYPE_STRING,
    "uint64": _Field.TYPE_UINT64,
}


def _declare_field(message: Any, number: str, name: str, kind: str, oneof: str = "") -> None:
    field = message.field.add(name=name, number=int(number))
    base = kind.removesuffix("[]")
    field.label = _Field.LABEL_REPEATED if base != kind else _Field.LABEL_OPTIONAL
    if base in _SCALARS:
        field.type = _SCALARS[base]
    else:
        field.type = _Field.TYPE_MESSAGE
        field.type_name = f".{PACKAGE}.{base}"
    if oneof:
        if not message.oneof_decl:
            message.oneof_decl.add(name=oneof)
        field.oneof_index = 0


def build(table: str) -> dict[str, Any]:
    """The message classes that `table` declares, by name."""
    file = descriptor_pb2.FileDescriptorProto(name="etcd.proto", package=PACKAGE, syntax="proto3")
    message: Any = None
    for line in filter(str.strip, table.splitlines()):
        if line.startswith(" "):
            _declare_field(message, *line.split())
        else:
            message = file.message_type.add(name=line.strip())
    pool = descriptor_pool.DescriptorPool()
    pool.Add(file)
    return {
        message.name: message_factory.GetMessageClass(
            pool.FindMessageTypeByName(f"{PACKAGE}.{message.name}")
        )
        for message in file.message_type
    }


_CLASSES = build(MESSAGES)


class Method(NamedTuple):
    """One call of the API: its path and the classes of its request and response."""

    path: str
    request: Any
    response: Any

    @property
    def name(self) -> str:
        """What the API calls it."""
        return self.path.rpartition("/")[2]


def _method(service: str, name: str, message: str = "") -> Method:
    message = message or name
    return Method(
        f"/etcdserverpb.{service}/{name}",
        _CLASSES[f"{message}Request"],
        _CLASSES[f"{message}Response"],
    )


RANGE = _method("KV", "Range")
PUT = _method("KV", "Put")
DELETE_RANGE = _method("KV", "DeleteRange")
TXN = _method("KV", "Txn")
COMPACT = _method("KV", "Compact", "Compaction")
WATCH = _method("Watch", "Watch")
LEASE_GRANT = _method("Lease", "LeaseGrant")
LEASE_REVOKE = _method("Lease", "LeaseRevoke")
LEASE_KEEP_ALIVE = _method("Lease", "LeaseKeepAlive")
STATUS = _method("Maintenance", "Status")
SNAPSHOT = _method("Maintenance", "Snapshot")
AUTHENTICATE = _method("Auth", "Authenticate")

# Values of the enumerations.
EVENT_DELETE = 1
COMPARE_RESULT = {"=": 0, ">": 1, "<": 2, "!=": 3}
COMPARE_TARGET = {"version": 0, "create": 1, "mod": 2, "value": 3}
