"""Users, tokens, rules, webhooks, templates, images, secrets and the audit log by command."""

import hashlib
import json
from pathlib import Path

import msgspec

from lpmos.images.catalog import Catalog, ImageFields
from lpmos.images.signatures import public_path, trusted_keys
from lpmos.store import keys
from tests.integration.cli.conftest import Shell
from tests.support.control_plane import RunningControlPlane
from tests.support.polling import until

ZSTANDARD = b"\x28\xb5\x2f\xfd"
"""How a Zstandard frame begins (RFC 8878 section 3.1.1)."""


async def test_user_from_making_to_deleting(shell: Shell) -> None:
    password = "correct horse battery"
    made = await shell.run(
        "user", "create", "alice", "--role", "viewer", "--role", "approver", "--tenant", "team-a",
        "--display-name", "Alice", "--password-file", "-", typed=password,
    )  # fmt: skip
    assert made.out.strip() == "made alice: viewer, approver"
    revision = (await shell.run("user", "show", "alice", "--json")).json["revision"]
    await shell.run("user", "change", "alice", "--lock", "--at-revision", str(revision))
    await shell.run("user", "change", "alice", "--unlock", "--at-revision", str(revision), code=5)
    assert "locked" in (await shell.run("user", "list")).out
    shown = (await shell.run("user", "show", "alice")).out
    assert "not: locked" in shown and "team-a" in shown
    await shell.run("user", "change", "alice", "--unlock", "--no-tenant")
    await shell.run("user", "password", "alice", "--password-file", "-", typed=password * 2)
    refused = await shell.run("user", "delete", "alice", code=2)
    assert "add --yes" in refused.err
    await shell.run("user", "delete", "alice", "--yes")
    await shell.run("user", "show", "alice", code=4)


async def test_user_with_a_short_password_is_refused_by_field(shell: Shell) -> None:
    words = ("user", "create", "bob", "--role", "viewer", "--password-file", "-")
    refused = await shell.run(*words, typed="short", code=2)
    assert "  password: " in refused.err


async def test_token_signed_offline_is_listed_and_revoked(
    shell: Shell, control_plane: RunningControlPlane
) -> None:
    await shell.run("task", "list")

    async def seen() -> bool:
        return bool((await shell.run("token", "list-signed", "-q")).out)

    await until(seen)
    found = (await shell.run("token", "list-signed", "--json")).json["key_tokens"]
    await shell.run("token", "revoke-signed", found[0]["id"], "--yes")
    await shell.run("task", "list", code=3)


async def test_rule_from_trying_to_deleting(shell: Shell, tmp_path: Path) -> None:
    condition = ("--kind", "approve", "--condition", "machine.memory.total_bytes >= GiB")
    tried = await shell.run("rule", "test", *condition)
    assert "matches 0 of 0 machines" in tried.out
    await shell.run("rule", "put", "small", *condition, "--description", "all of them")
    await shell.run("rule", "put", "small", "--priority", "7")
    document = (await shell.run("rule", "show", "small", "--json")).json
    assert (document["priority"], document["description"]) == (7, "all of them")
    await shell.run("rule", "disable", "small")
    assert (await shell.run("rule", "show", "small", "--json")).json["enabled"] is False
    await shell.run("rule", "enable", "small")
    file = tmp_path / "rule.json"
    file.write_text(json.dumps(document))
    await shell.run("rule", "put", "copy", "--from", str(file))
    assert (await shell.run("rule", "list", "-q")).lines == ["copy", "small"]
    wrong = await shell.run(
        "rule", "put", "bad", "--kind", "approve", "--condition", "nonsense(", code=2
    )
    assert "  condition: " in wrong.err
    await shell.run("rule", "put", "small", "--priority", "8", "--at-revision", "1", code=5)
    await shell.run("rule", "delete", "copy", "--yes")
    await shell.run("rule", "delete", "copy", "--yes", code=4)


async def test_webhook_from_making_to_deleting(shell: Shell) -> None:
    made = (
        await shell.run(
            "webhook", "create", "chat", "--url", "-", "--event", "task.*", "--json",
            typed="https://hooks.example.com/T0/secret-path\n",
        )
    ).json  # fmt: skip
    hook, secret = made["webhook_id"], made["secret"]
    shown = (await shell.run("webhook", "show", hook)).out
    assert "secret-path" not in shown and secret not in shown
    await shell.run("webhook", "change", hook, "--event", "task.failed", "--idc", "dc1", "--off")
    assert (await shell.run("webhook", "show", hook, "--json")).json["events"] == ["task.failed"]
    again = (await shell.run("webhook", "rotate-secret", hook, "--json")).json
    assert again["secret"] not in (None, secret)
    assert (await shell.run("webhook", "deliveries", hook)).out == ""
    await shell.run("webhook", "redeliver", hook, "20260102T030405.000000Z-0123456789ab", code=5)
    await shell.run("webhook", "change", hook, "--on", "--any-idc")
    await shell.run("webhook", "redeliver", hook, "20260102T030405.000000Z-0123456789ab", code=4)
    assert "chat" in (await shell.run("webhook", "list")).out
    failed = await shell.try_("webhook", "test", hook)
    assert failed.code in (1, 5)
    await shell.run("webhook", "delete", hook, "--yes")
    await shell.run("webhook", "show", hook, code=4)


async def test_template_from_checking_to_deleting(
    shell: Shell, control_plane: RunningControlPlane, tmp_path: Path
) -> None:
    file = tmp_path / "hello.j2"
    file.write_text("hello {{ task.hostname }}\n")
    assert "valid template" in (await shell.run("template", "validate", str(file))).out
    broken = await shell.run("template", "validate", "-", typed="{% if", code=1)
    assert "is no valid template" in broken.err
    first = (await shell.run("template", "put", "hello", str(file), "--json")).json
    await shell.run("template", "put", "hello", "-", "--description", "v2", typed="bye\n")
    await shell.run(
        "template", "put", "hello", str(file), "--at-revision", str(first["revision"]), code=5
    )
    assert (await shell.run("template", "show", "hello")).out == "bye\n"
    assert (await shell.run("template", "show", "hello", "--version", "1")).out == file.read_text()
    assert (await shell.run("template", "versions", "hello", "-q")).lines == ["2", "1"]
    await shell.run(
        "task", "create", "--idc", "dc1", "--mac", "52:54:00:00:00:01", "--sn", "S1", "--os",
        "debian", "12",
    )  # fmt: skip
    preview = ("template", "preview", "hello", "--task", "S1")
    assert (await shell.run(*preview)).out == "bye\n"
    assert (await shell.run(*preview, "--file", str(file))).out == "hello s1\n"
    assert "hello" in (await shell.run("template", "list")).out
    await shell.run("template", "delete", "hello", "--yes")
    await shell.run("template", "show", "hello", code=4)


async def test_image_upload_brings_the_bytes_and_verify_reads_them(
    shell: Shell, tmp_path: Path
) -> None:
    archive = tmp_path / "root.tar.zst"
    archive.write_bytes(ZSTANDARD + bytes(range(256)) * 80_000)
    words = ("image", "upload", "debian-12", "--file", str(archive), "--family", "debian", "--os",
             "debian", "12", "--unpacked-bytes", "30000000")  # fmt: skip
    done = (await shell.run(*words, "--json")).json
    assert done["sha256"] == hashlib.sha256(archive.read_bytes()).hexdigest()
    assert sum("PATCH" in call for call in shell.calls) == 1
    assert "the digest matches" in (await shell.run("image", "verify", "debian-12")).out
    assert (await shell.run("image", "list", "-q")).out == "debian-12\n"
    assert "debian 12" in (await shell.run("image", "show", "debian-12")).out
    await shell.run("image", "delete", "debian-12", "--yes")
    await shell.run("image", "show", "debian-12", code=4)
    await shell.run("image", "upload", "x", "--file", str(archive), code=2)


async def test_image_upload_takes_all_from_a_catalog(shell: Shell, tmp_path: Path) -> None:
    root = tmp_path / "root"
    root.write_bytes(ZSTANDARD + b"archive" * 1000)
    catalog = tmp_path / "catalog"
    fields = ImageFields(
        name="mine", family="debian", os_type="debian", os_version="12", unpacked_bytes=7000
    )
    Catalog(catalog).add(fields, root)
    await shell.run("image", "upload", "mine", "--images-dir", str(catalog))
    assert (await shell.run("image", "list", "--images-dir", str(catalog))).code == 0
    assert (await shell.run("image", "list", "-q")).out == "mine\n"


async def test_disk_is_uploaded_by_what_its_name_says_and_signed(
    shell: Shell, tmp_path: Path
) -> None:
    disk = tmp_path / "cloud.img"
    disk.write_bytes((bytes(510) + b"\x55\xaa").ljust(1 << 20, b"\0"))
    words = ("image", "upload", "rocky-9", "--file", str(disk), "--family", "rhel", "--os", "rocky",
             "9", "--network", "networkmanager", "--cloud-init")  # fmt: skip
    done = (await shell.run(*words, "--json")).json
    assert (done["format"], done["disk_bytes"]) == ("raw.zst", 1 << 20)
    key = tmp_path / "signing.key"
    fingerprint = (await shell.run("image", "keygen", str(key), "-q")).out.strip()
    await shell.run("image", "sign", "rocky-9", "--key", str(key))
    assert (await shell.run("image", "show", "rocky-9", "--json")).json["signed_by"] == fingerprint
    await shell.run("image", "sign", "rocky-9", "--key", str(disk), code=1)
    await shell.run("image", "sign", "none", "--key", str(key), code=4)
    unnamed = tmp_path / "disk"
    disk.rename(unnamed)
    await shell.run(*("image", "upload", "x", "--file", str(unnamed)), *words[5:], code=2)


async def test_image_of_a_directory_is_signed_there(shell: Shell, tmp_path: Path) -> None:
    root = tmp_path / "root"
    root.write_bytes(ZSTANDARD + b"archive" * 1000)
    fields = ImageFields(
        name="mine", family="debian", os_type="debian", os_version="12", unpacked_bytes=7000
    )
    images = tmp_path / "catalog"
    Catalog(images).add(fields, root)
    key = tmp_path / "signing.key"
    await shell.run("image", "keygen", str(key))
    await shell.run("image", "sign", "mine", "--key", str(key), "--images-dir", str(images))
    trusted = trusted_keys(public_path(key))
    assert [image.name for image in Catalog(images, trusted.refuses).manifests()] == ["mine"]


async def test_secrets_are_rotated_to_the_end(shell: Shell) -> None:
    first = (await shell.run("secrets", "status", "--json")).json["current"]
    await shell.run("secrets", "rotate")
    now = (await shell.run("secrets", "status", "--json")).json
    assert now["current"] != first
    await shell.run("secrets", "remove-key", first, code=2)
    await shell.run("secrets", "remove-key", first, "--yes")
    assert "current" in (await shell.run("secrets", "status")).out


async def test_audit_is_listed_exported_and_found_broken(
    shell: Shell, control_plane: RunningControlPlane
) -> None:
    await shell.run("user", "create", "bob", "--role", "viewer", "--no-password")

    async def audited() -> bool:
        return bool((await shell.run("audit", "list", "--action", "user.", "-q")).out)

    await until(audited)
    entry = (await shell.run("audit", "list", "--action", "user.", "--json")).json["entries"][0]
    assert entry["event"]["target"] == "user/bob"
    assert "user/bob" in (await shell.run("audit", "show", str(entry["seq"]))).out
    exported = await shell.run("audit", "export")
    assert json.loads(exported.lines[-1])["seq"] >= entry["seq"]
    assert "the chain holds" in (await shell.run("audit", "verify")).out
    told = "\n".join(json.dumps({"entry": json.loads(line)}) for line in exported.lines)
    assert (
        "as the saved log tells"
        in (await shell.run("audit", "verify", "--log", "-", typed=told)).out
    )

    key = keys.audit_entry(entry["seq"])
    kv = await control_plane.store.get(key)
    assert kv is not None
    forged = kv.value.replace(b"bob", b"eve")
    assert forged != kv.value and msgspec.json.decode(forged)
    await control_plane.store.put(key, forged)
    broken = await shell.run("audit", "verify", code=1)
    assert f"  {entry['seq']}: was changed after it was written" in broken.err
