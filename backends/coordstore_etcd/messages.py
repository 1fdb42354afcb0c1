"""The messages of etcd's v3 API that the backend uses, declared here and built in a descriptor pool of their own.

Nothing is generated and nothing is registered in protobuf's global pool, so the backend lives beside any other
library that brings its own copy of these messages. A declaration is a message's name and its fields with their
numbers; ``*`` before a type repeats it, ``a|b`` groups fields in a oneof. Enumerations travel as their numbers.
"""

from __future__ import annotations

from typing import Any, Final

from google.protobuf import descriptor_pb2, descriptor_pool, message_factory

__all__ = ["DELETED", "EQUAL", "LESS", "NOSPACE", "TARGET_CREATE", "TARGET_MOD", "messages"]

EQUAL: Final = 0
LESS: Final = 2
TARGET_CREATE: Final = 1
TARGET_MOD: Final = 2
DELETED: Final = 1
NOSPACE: Final = 1

_DECLARED: Final = """
ResponseHeader: uint64 cluster_id=1, uint64 member_id=2, int64 revision=3, uint64 raft_term=4
KeyValue: bytes key=1, int64 create_revision=2, int64 mod_revision=3, int64 version=4, bytes value=5, int64 lease=6
Event: int32 type=1, KeyValue kv=2
RangeRequest: bytes key=1, bytes range_end=2, int64 limit=3, int64 revision=4, bool keys_only=8, bool count_only=9
RangeResponse: ResponseHeader header=1, *KeyValue kvs=2, bool more=3, int64 count=4
PutRequest: bytes key=1, bytes value=2, int64 lease=3
PutResponse: ResponseHeader header=1
DeleteRangeRequest: bytes key=1, bytes range_end=2
DeleteRangeResponse: ResponseHeader header=1, int64 deleted=2
RequestOp: op|RangeRequest range=1, op|PutRequest put=2, op|DeleteRangeRequest delete=3, op|TxnRequest txn=4
ResponseOp: op|RangeResponse range=1, op|PutResponse put=2, op|DeleteRangeResponse delete=3, op|TxnResponse txn=4
Compare: int32 result=1, int32 target=2, bytes key=3, to|int64 create_revision=5, to|int64 mod_revision=6, \
bytes range_end=64
TxnRequest: *Compare compare=1, *RequestOp success=2, *RequestOp failure=3
TxnResponse: ResponseHeader header=1, bool succeeded=2, *ResponseOp responses=3
CompactionRequest: int64 revision=1, bool physical=2
CompactionResponse: ResponseHeader header=1
WatchRequest: kind|WatchCreateRequest create=1, kind|WatchProgressRequest progress=3
WatchCreateRequest: bytes key=1, bytes range_end=2, int64 start_revision=3, bool fragment=8
WatchProgressRequest:
WatchResponse: ResponseHeader header=1, int64 watch_id=2, bool created=3, bool canceled=4, int64 compact_revision=5, \
string cancel_reason=6, bool fragment=7, *Event events=11
LeaseGrantRequest: int64 ttl=1, int64 id=2
LeaseGrantResponse: ResponseHeader header=1, int64 id=2, int64 ttl=3, string error=4
LeaseRevokeRequest: int64 id=1
LeaseRevokeResponse: ResponseHeader header=1
LeaseKeepAliveRequest: int64 id=1
LeaseKeepAliveResponse: ResponseHeader header=1, int64 id=2, int64 ttl=3
LeaseTimeToLiveRequest: int64 id=1, bool keys=2
LeaseTimeToLiveResponse: ResponseHeader header=1, int64 id=2, int64 ttl=3, int64 granted_ttl=4, *bytes keys=5
AuthenticateRequest: string name=1, string password=2
AuthenticateResponse: ResponseHeader header=1, string token=2
StatusRequest:
StatusResponse: ResponseHeader header=1, string version=2, int64 db_size=3, uint64 leader=4, uint64 raft_index=5, \
uint64 raft_term=6, uint64 raft_applied_index=7, *string errors=8, int64 db_size_in_use=9, bool is_learner=10, \
int64 db_size_quota=12
AlarmRequest: int32 action=1, uint64 member_id=2, int32 alarm=3
AlarmMember: uint64 member_id=1, int32 alarm=2
AlarmResponse: ResponseHeader header=1, *AlarmMember alarms=2
"""
_PACKAGE: Final = "coordstore.etcd"
_Field = descriptor_pb2.FieldDescriptorProto
_SCALARS: Final = {
    "bool": _Field.TYPE_BOOL,
    "bytes": _Field.TYPE_BYTES,
    "int32": _Field.TYPE_INT32,
    "int64": _Field.TYPE_INT64,
    "string": _Field.TYPE_STRING,
    "uint64": _Field.TYPE_UINT64,
}


def _declare(message: Any, text: str) -> None:  # noqa: ANN401  (protobuf publishes no types)
    for declared in filter(None, (part.strip() for part in text.split(","))):
        kind, _, rest = declared.partition(" ")
        name, _, number = rest.partition("=")
        field = message.field.add(name=name, number=int(number), label=_Field.LABEL_OPTIONAL)
        group, grouped, kind = kind.rpartition("|")
        if grouped:
            if group not in [each.name for each in message.oneof_decl]:
                message.oneof_decl.add(name=group)
            field.oneof_index = len(message.oneof_decl) - 1
        if kind.startswith("*"):
            field.label, kind = _Field.LABEL_REPEATED, kind[1:]
        if kind in _SCALARS:
            field.type = _SCALARS[kind]
        else:
            field.type, field.type_name = _Field.TYPE_MESSAGE, f".{_PACKAGE}.{kind}"


def _build() -> dict[str, Any]:
    file = descriptor_pb2.FileDescriptorProto(name="coordstore_etcd.proto", package=_PACKAGE, syntax="proto3")
    for line in _DECLARED.strip().splitlines():
        name, _, fields = line.partition(":")
        _declare(file.message_type.add(name=name), fields)
    pool = descriptor_pool.DescriptorPool()
    pool.Add(file)
    return {
        message.name: message_factory.GetMessageClass(pool.FindMessageTypeByName(f"{_PACKAGE}.{message.name}"))
        for message in file.message_type
    }


class _Messages:
    """The message classes as attributes."""

    def __init__(self) -> None:
        vars(self).update(_build())

    def __getattr__(self, name: str) -> Any:  # noqa: ANN401  (classes made from descriptors)
        raise AttributeError(name)


messages: Final = _Messages()
