"""What schemathesis must be told of the control plane that it tests; `schemathesis.toml` loads it.

In positive cases a hook puts in what OpenAPI cannot say: texts of formats that only this API has,
and names of things that are there. Negative cases stay as they are.
"""

import itertools
import json
import os
import random
import uuid
from base64 import urlsafe_b64decode
from collections.abc import Callable, Mapping
from typing import Any

import httpx
import schemathesis
from schemathesis.generation import GenerationMode
from schemathesis.generation.meta import TestPhase

URL = os.environ["LPMOS_URL"]
TOKEN = os.environ["LPMOS_TOKEN"]
SESSIONS = itertools.cycle(os.environ["LPMOS_SESSIONS"].split())
"""Tokens of sessions that may end; the token of all other calls must not."""

OWN_ID = json.loads(urlsafe_b64decode(TOKEN.split(".")[1] + "=="))["jti"]

HEADERS = {"Authorization": f"Bearer {TOKEN}"}
CHANCE = random.Random(1)  # noqa: S311 - the same every time

CONDITIONS = (
    "machine.cpu.cores >= 8",
    "machine.memory.total_bytes >= 64*GiB && machine.product.vendor == 'Example'",
    "machine.disks.all(d, d.size_bytes > 1*GB)",
)
TEMPLATES = (
    "",
    "plain text\n",
    "#!/bin/sh\necho {{ task.hostname }}\n",
    "{% if true %}x{% endif %}",
)
TEXTS = ("seen with Carol", "web 1", "Größe 中文")
VALUES: Mapping[str, tuple[str, ...]] = {
    "cel": CONDITIONS,
    "jinja": TEMPLATES,
    "printable": TEXTS,
    "password": ("four words that last", "Korrekt, Pferd! Batterie"),
    "host": ("192.0.2.90", "2001:db8::90", "bmc-1.example.net"),
    "host-name-pattern": ("node", "node-{sn}", "n{mac}.example.net"),
    "ip-address": ("192.0.2.53", "2001:db8::53"),
    "ip-interface": ("192.0.2.10/24", "192.0.2.99/25"),
    "ip-gateway": ("192.0.2.1",),
    "receiver-url": ("http://127.0.0.1:9/lpmos",),
}
"""What stands for texts of formats that only this API has."""

ADDRESSES = (f"10.9.{high}.{low}" for high in range(256) for low in range(1, 255))
"""Addresses of machines: no two may have the same."""

OF_JOBS = ("idc", "region_id", "mac", "target_mac", "sn", "hostname", "tags", "tenant", "job")
"""The fields of a new task that is a job; how its steps hang together, OpenAPI does not say."""
ROWS = "idc,mac,os_type,os_version\ndc1,52:54:00:ab:{:02x}:{:02x},debian,12\n"


@schemathesis.auth(refresh_interval=None)
class Bearer:
    """Who calls: the administrator; a session that may end where the call ends it."""

    def get(self, case: Any, context: Any) -> str:
        """The token for this call."""
        name = case.operation.definition.raw["operationId"]
        return next(SESSIONS) if name == "log_out_program" else TOKEN

    def set(self, case: Any, data: str, context: Any) -> None:
        """Show it."""
        case.headers["Authorization"] = f"Bearer {data}"


@schemathesis.hook
def before_call(context: Any, case: Any, kwargs: dict[str, Any]) -> None:
    """Let positive cases, but for those of a chain, be about what is there."""
    name = case.operation.definition.raw["operationId"]
    if name == "revoke_key_token" and case.path_parameters.get("key_token_id") == OWN_ID:
        case.path_parameters = {"key_token_id": str(uuid.uuid4())}
    if case.meta is None or case.meta.generation.mode is not GenerationMode.POSITIVE:
        return
    for location in case.meta.components:
        if case.meta.components[location].mode is not GenerationMode.POSITIVE:
            return
    if case.meta.phase.name is not TestPhase.STATEFUL:
        _name_what_is_there(case)
    if isinstance(case.body, dict | list) and case.media_type == "application/json":
        schema = case.operation.get_body_for_media_type(case.media_type).validation_schema
        case.body = _possible(_formatted(case.body, schema, schema.get("x-bundled", {})))
    elif case.media_type == "text/csv":
        case.body = ROWS.format(CHANCE.randrange(256), CHANCE.randrange(256))
    if case.query and "region_id" in case.query:
        case.query.pop("idc", None)


def _formatted(value: Any, schema: Any, named: Mapping[str, Any]) -> Any:
    """The value with a text of its format in place of each that has one of ours."""
    if not isinstance(schema, dict):
        return value
    if "$ref" in schema:
        return _formatted(value, named[schema["$ref"].rpartition("/")[2]], named)
    for choice in schema.get("anyOf", ()):
        value = _formatted(value, choice, named)
    if isinstance(value, str) and schema.get("format") == "ip-of-machine":
        return next(ADDRESSES)
    if isinstance(value, str) and schema.get("format") in VALUES:
        return CHANCE.choice(VALUES[schema["format"]])
    if isinstance(value, dict) and "properties" in schema:
        parts = schema["properties"]
        return {key: _formatted(part, parts.get(key), named) for key, part in value.items()}
    if isinstance(value, list) and "items" in schema:
        return [_formatted(part, schema["items"], named) for part in value]
    return value


def _possible(body: Any) -> Any:
    """A task's fields as its region can do it; a name and its older one never contradict."""
    if isinstance(body, list):
        return [_possible(each) for each in body]
    if not isinstance(body, dict):
        return body
    body = _one_name({key: _possible(part) for key, part in body.items()})
    if isinstance(body.get("job"), dict) and {"idc", "region_id"} & body.keys():
        body = {name: body[name] for name in body if name in OF_JOBS}
        body["job"] = {"steps": [{"step": "memory_test"}]}
    for name, value in (("os_type", "debian"), ("os_version", "12"), ("method", "image")):
        if name in body and not isinstance(body.get("job"), dict):
            body[name] = value
    for name in ("idc", "region_id"):
        if isinstance(body.get(name), str) and {"os_type", "job"} & body.keys():
            body[name] = "dc1"
    if body.get("kind") == "create" and "plan" in str(body.get("condition")):
        body["condition"] = CONDITIONS[0]
    for name, possible in (("network_config", _network), ("setup", _setup)):
        if isinstance(body.get(name), dict):
            body[name] = possible(body[name])
    if {"family", "sha256"} <= body.keys():
        return _image(body)
    return _with_disks(body) if "os_type" in body else body


def _one_name(body: dict[str, Any]) -> dict[str, Any]:
    """The present name of a field, where its older one is there, too."""
    for name, older in (("idc", "region_id"), ("mac", "target_mac")):
        if body.get(name) is not None:
            body.pop(older, None)
    return body


def _setup(setup: dict[str, Any]) -> dict[str, Any]:
    """What OpenAPI can say of the parts of a system that depend on each other is too little."""
    names = ("packages", "timezone", "locale")
    kept: dict[str, Any] = {name: setup[name] for name in names if name in setup}
    if setup.get("users"):
        kept["users"] = [{"name": "admin", "sudo": "nopasswd"}]
    if setup.get("cloud_init"):
        kept["cloud_init"] = {"user_data": "#cloud-config\npackage_update: false\n"}
    return kept


def _image(body: dict[str, Any]) -> dict[str, Any]:
    """An archive is of a family that is installed from one, and says how large it is unpacked."""
    if body.get("source_format", "tar.zst") == "tar.zst":
        body["family"] = "debian"
        body["unpacked_bytes"] = body.get("unpacked_bytes") or 1_000_000
        body.pop("cloud_init", None)
        body.pop("network", None)
    else:
        body.pop("unpacked_bytes", None)
    return body


def _with_disks(body: dict[str, Any]) -> dict[str, Any]:
    """A layout that is whole, hints for as many disks as it has, a passphrase where it encrypts."""
    layout = body.get("disk_layout", "auto")
    is_secret = body.get("disk_passphrase") is not None
    if isinstance(layout, dict):
        layout = {name: value for name, value in layout.items() if name not in _OF_DISKS}
        layout |= {"lvm": True, "partitions": [{"mount": "/var", "size_bytes": 2**30}]}
    if is_secret:
        layout = {"lvm": True, "encrypt": True}
    if "disk_layout" in body or is_secret:
        body["disk_layout"] = layout
    raid = layout.get("raid") if isinstance(layout, dict) else str(layout).startswith("raid")
    if raid and isinstance(body.get("root_disk"), dict):
        named = {"serial", "wwn", "device", "path"}
        body["root_disk"] = {k: v for k, v in body["root_disk"].items() if k not in named}
    return body


_OF_DISKS = frozenset({"disks", "members", "encrypt"})


def _network(network: dict[str, Any]) -> dict[str, Any]:
    """One address, or links: of these one card, since OpenAPI cannot say what they are built on."""
    if network.get("links"):
        network = {name: network[name] for name in ("dns", "search") if name in network}
        network["links"] = [{"kind": "ethernet", "name": "lan0", "dhcp": True}]
    else:
        network = {"address": "192.0.2.10/24", **network}
        network["address"] = network["address"] or "192.0.2.10/24"
    if "search" in network:
        network["search"] = ["example.org"][: len(network["search"])]
    return network


def _ids(path: str, key: str, *fields: str) -> Callable[[], list[tuple[str, ...]]]:
    """Reads what there is of a kind."""

    def read() -> list[tuple[str, ...]]:
        document = httpx.get(f"{URL}/api/v1/{path}", headers=HEADERS, timeout=10).json()
        return [tuple(str(each[field]) for field in fields) for each in document.get(key, [])]

    return read


KINDS: Mapping[str, tuple[tuple[str, ...], Callable[[], list[tuple[str, ...]]]]] = {
    "/tasks/{task_id}": (("task_id",), _ids("tasks?limit=500", "tasks", "task_id")),
    "/tasks/{task_id}/approve": (
        ("task_id",),
        _ids("tasks?limit=500&status=pending_approval", "tasks", "task_id"),
    ),
    "/dlq/{task_id}": (("task_id",), _ids("dlq", "dead_letters", "task_id")),
    "/machines/{idc}/{sn}": (("idc", "sn"), _ids("machines", "machines", "idc", "sn")),
    "/regions/{idc}": (("idc",), _ids("regions", "regions", "idc")),
    "/users/{name}": (("name",), _ids("users", "users", "name")),
    "/tokens/{token_id}": (("token_id",), _ids("tokens?user=alice", "tokens", "id")),
    "/templates/{name}": (("name",), _ids("templates", "templates", "name")),
    "/images/uploads/{upload_id}": (("upload_id",), list),
    "/images/{name}": (("name",), _ids("images", "images", "name")),
    "/audit/{seq}": (("seq",), lambda: [(str(seq),) for seq in range(1, 50)]),
    "/rules/{name}": (("name",), _ids("rules", "rules", "name")),
    "/unmatched-reports/{report}": (("report",), _ids("unmatched-reports", "reports", "id")),
    "/webhooks/{webhook_id}": (("webhook_id",), _ids("webhooks", "webhooks", "webhook_id")),
}


def _name_what_is_there(case: Any) -> None:
    """Half of the paths name something that there is."""
    path = case.operation.path.removeprefix("/api/v1")
    kinds = [kind for kind in KINDS if path.startswith(kind)]
    if not kinds or CHANCE.random() < 0.5:
        return
    names, read = KINDS[max(kinds, key=len)]
    there = read()
    if there:
        chosen = dict(zip(names, CHANCE.choice(there), strict=True))
        case.path_parameters = {**(case.path_parameters or {}), **chosen}
