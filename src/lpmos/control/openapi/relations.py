"""What the types of bodies cannot say: how one field depends on another.

Each entry says of a type what its check function says.
"""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

from lpmos.control.resources.session import Login
from lpmos.control.resources.unmatched import MatchReport
from lpmos.model.job import DiskErase, DiskTest, MemoryTest
from lpmos.model.newtask import NewTask
from lpmos.model.rule import NewRule, RuleFields

TEXT, THING, NULL = {"type": "string"}, {"type": "object"}, {"type": "null"}


def _given(like: Mapping[str, Any], *names: str, **others: Any) -> dict[str, Any]:
    """These fields are given; the others are like this where they are."""
    return {"required": list(names), "properties": dict.fromkeys(names, like) | others}


_RULE = {
    "oneOf": [
        {"properties": {"kind": {"const": "approve"}, "task": NULL}},
        _given(
            THING,
            "task",
            kind={"const": "create"},
            tenant=NULL,
            allow_overwrite={"const": False},
            jobs={"const": "none"},
        ),
    ]
}

_JOB = _given(THING, "job", os_type=NULL, os_version=NULL)
"""A job says nothing of an install either, but this much tells it from one."""
_BY_SERIAL = {
    "required": ["disks"],
    "properties": {
        "disks": {
            "minItems": 1,
            "items": {"required": ["serial"], "properties": {"serial": TEXT}},
        }
    },
}
"""What is written is named."""

RELATIONS: Mapping[type, Mapping[str, Any]] = MappingProxyType(
    {
        NewTask: {
            "allOf": [
                {"anyOf": [_given(TEXT, "idc"), _given(TEXT, "region_id")]},
                {"anyOf": [_given(TEXT, "mac"), _given(TEXT, "target_mac")]},
                {"oneOf": [_given(TEXT, "os_type", "os_version", job=NULL), _JOB]},
            ]
        },
        DiskTest: {"anyOf": [{"properties": {"mode": {"const": "read"}}}, _BY_SERIAL]},
        DiskErase: {"anyOf": [_BY_SERIAL]},
        MemoryTest: {
            "anyOf": [
                {"properties": {"percent": {"const": 100}}},
                {"properties": {"size_bytes": NULL}},
            ]
        },
        Login: {
            "oneOf": [
                _given(TEXT, "username", "password", token=NULL),
                _given(TEXT, "token", username=NULL, password=NULL),
            ]
        },
        MatchReport: {
            "oneOf": [{"required": ["task_id"]}, {"required": ["create"]}],
            "dependentSchemas": {"create": {"properties": {"force": {"const": False}}}},
        },
        RuleFields: _RULE,
        NewRule: _RULE,
    }
)
