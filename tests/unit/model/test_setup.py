"""What a task says of its system: every wrong field by its name, and nothing secret in a task."""

from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lpmos.core.problems import decode_body
from lpmos.model.cloudconfig import HEADERS, USER_DATA_CHARACTERS, user_data_problem
from lpmos.model.errors import InvalidInput
from lpmos.model.newtask import NewTask, TaskSpec
from lpmos.model.newtaskcheck import check_new_task
from lpmos.model.setup import SETUP_BYTES, TaskSecrets

HASH = "$6$saltsalt$" + "a" * 43
KEY = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIA me"
FULL: dict[str, Any] = {
    "users": [{"name": "alice", "ssh_keys": [KEY], "sudo": "password", "groups": ["adm"],
               "shell": "/bin/zsh", "password_hash": HASH}],
    "root_password_hash": HASH,
    "packages": ["nginx", "g++", "@web", "linux-image-6.1:amd64", "vim=2:9.0~rc1-1+b1"],
    "commands": ["echo one", "set -x\ncd /srv\n\tmake 'it' \"so\" $(id)\n"],
    "cloud_init": {"user_data": "#cloud-config\nruncmd: [[id]]\n"},
    "ansible": {"repository": "git@git.example.net:site.git", "playbook": "a/web.yml",
                "branch": "main", "inventory": "hosts", "variables": {"a": 1, "b": "x"}},
    "puppet": {"server": "puppet.example.net", "certname": "web-1.example.net"},
    "timezone": "America/Argentina/Buenos_Aires",
    "locale": "de_DE.UTF-8",
    "secrets": {"TOKEN": "not to be seen"},
}  # fmt: skip


def spec_of(setup: Any) -> TaskSpec:
    body = {"idc": "dc1", "mac": "52:54:00:12:34:56", "os_type": "debian", "os_version": "12"}
    return check_new_task(
        decode_body(msgspec.json.encode({**body, "setup": setup}), NewTask, check_new_task)
    )


def wrong(setup: Any) -> dict[str, str]:
    with pytest.raises(InvalidInput) as raised:
        spec_of(setup)
    return {problem.field: problem.message for problem in raised.value.problems}


def test_setup_of_a_task_says_all_that_is_not_secret() -> None:
    spec = spec_of(FULL)
    said = msgspec.to_builtins(spec.setup)
    (user,) = said.pop("users")
    assert user == {"name": "alice", "ssh_keys": (KEY,), "sudo": "password", "groups": ("adm",),
                    "shell": "/bin/zsh", "has_password": True}  # fmt: skip
    assert said.pop("has_root_password") is True and said.pop("secret_names") == ("TOKEN",)
    again = msgspec.json.decode(msgspec.json.encode(said))
    for name in set(FULL) - {"users", "root_password_hash", "secrets", "puppet"}:
        assert again[name] == FULL[name]
    assert again["puppet"] == {**FULL["puppet"], "environment": "production"}
    text = msgspec.json.encode(spec.setup).decode()
    assert HASH not in text and "not to be seen" not in text
    assert spec.secrets == TaskSecrets(
        root_password_hash=HASH, password_hashes={"alice": HASH}, values={"TOKEN": "not to be seen"}
    )


def test_secrets_are_not_in_their_own_representation() -> None:
    spec = spec_of(FULL)
    for text in (repr(spec), str(spec.secrets), f"{spec.secrets!r}"):
        assert HASH not in text and "not to be seen" not in text


def test_task_without_a_setup_has_nothing_to_seal() -> None:
    spec = spec_of({})
    assert not spec.setup.has_secrets and not spec.setup.has_hooks
    assert spec.secrets == TaskSecrets()


@pytest.mark.parametrize(
    ("setup", "fields"),
    [
        ({"users": [{"name": "root"}]}, {"setup.users.0.name"}),
        ({"users": [{"name": "a"}, {"name": "a"}]}, {"setup.users.0.name", "setup.users.1.name"}),
        ({"users": [{"name": "-a"}, {"name": "A b"}, {"name": "x;id"}]},
         {"setup.users.0.name", "setup.users.1.name", "setup.users.2.name"}),
        ({"users": [{"name": "a", "sudo": "password"}]}, {"setup.users.0.sudo"}),
        ({"users": [{"name": "a", "sudo": "always"}]}, {"setup.users.0.sudo"}),
        ({"users": [{"name": "a", "shell": "bash"}]}, {"setup.users.0.shell"}),
        ({"users": [{"name": "a", "groups": ["b c"]}]}, {"setup.users.0.groups.0"}),
        ({"users": [{"name": "a", "ssh_keys": ["ssh-rsa nothing"]}]},
         {"setup.users.0.ssh_keys.0"}),
        ({"users": [{"name": "a", "password_hash": "secret"}]}, {"setup.users.0.password_hash"}),
        ({"root_password_hash": "$1$weak$abcdefghij"}, {"setup.root_password_hash"}),
        ({"packages": ["-y", "nginx-", "a b", "$(id)"]},
         {f"setup.packages.{number}" for number in range(4)}),
        ({"packages": ["nginx", "nginx"]}, {"setup.packages.1"}),
        ({"commands": ["", "  \n", "a\0b", "a\x1b[0m"]},
         {f"setup.commands.{number}" for number in range(4)}),
        ({"cloud_init": {"user_data": "packages: [a]"}}, {"setup.cloud_init.user_data"}),
        ({"ansible": {"repository": "https://me:pw@git.example.net/a.git"}},
         {"setup.ansible.repository"}),
        ({"ansible": {"repository": "--upload-pack=id", "playbook": "../x.yml", "branch": "-b"}},
         {"setup.ansible.repository", "setup.ansible.playbook", "setup.ansible.branch"}),
        ({"ansible": {"repository": "https://g.example/a", "variables": {"a b": 1}}},
         {"setup.ansible.variables"}),
        ({"puppet": {"server": "a b", "environment": "A-b", "certname": "UP"}},
         {"setup.puppet.server", "setup.puppet.environment", "setup.puppet.certname"}),
        ({"timezone": "../etc/shadow", "locale": "de_DE;id"}, {"setup.timezone", "setup.locale"}),
        ({"secrets": {"PATH": "abcd"}}, {"setup.secrets.PATH"}),
        ({"secrets": {"A": "abc"}}, {"setup.secrets.A"}),
        ({"commands": ["a" * 8000, "b" * 8000, "c" * 1000]}, {"setup"}),
        ({"surprise": 1, "users": [{"name": "a", "uid": 0}]},
         {"setup.surprise", "setup.users.0.uid"}),
    ],
)  # fmt: skip
def test_wrong_setup_names_every_field_and_no_secret(
    setup: dict[str, Any], fields: set[str]
) -> None:
    found = wrong(setup)
    assert set(found) == fields
    assert not any("secret" in text or "$1$weak" in text for text in found.values())


def test_wrong_text_in_one_part_hides_nothing_that_is_wrong_in_another() -> None:
    found = wrong(
        {"users": [{"name": "A"}], "cloud_init": {"user_data": "x"}, "secrets": {"HOME": "abcd"}}
    )
    assert set(found) == {
        "setup.users.0.name",
        "setup.cloud_init.user_data",
        "setup.secrets.HOME",
    }


@pytest.mark.parametrize("header", HEADERS)
def test_user_data_with_a_header_of_cloud_init_is_taken(header: str) -> None:
    body = "- a: 1\n" if header.endswith("archive") else "a: 1\n"
    assert user_data_problem(f"{header}\n{body}") is None


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("#cloud-configs\na: 1\n", "must begin"),
        ("", "must begin"),
        ("#cloud-config\n", "is not a mapping"),
        ("#cloud-config\n- a\n", "is not a mapping"),
        ("#cloud-config-archive\na: 1\n", "is not a list"),
        ("#cloud-config\na: [1\nb: 2\n", "is not YAML: line 3"),
        ("#cloud-config\na: *b\n", "is not YAML"),
        ("#cloud-config\na: 1\n---\nb: 1\n", "is not YAML"),
        ("#cloud-config\na: " + "[" * 10_000, "is not YAML"),
        ("#cloud-config\na: \x01\n", "is not YAML"),
    ],
)
def test_user_data_that_cloud_init_would_not_read_is_refused(text: str, said: str) -> None:
    assert said in (user_data_problem(text) or "")


def test_user_data_that_grows_when_it_is_read_is_not_built() -> None:
    """Merge keys double at each line: built, this would take all memory."""
    lines = ["#cloud-config", "a0: &a0 {k: v}"]
    lines += [f"a{n}: &a{n} {{<<: [*a{n - 1}, *a{n - 1}]}}" for n in range(1, 300)]
    assert user_data_problem("\n".join(lines)) is None


@given(st.text(max_size=USER_DATA_CHARACTERS // 50))
def test_any_user_data_is_taken_or_refused_in_words(text: str) -> None:
    for whole in (text, f"#cloud-config\n{text}", f"#cloud-config-archive\n{text}"):
        assert user_data_problem(whole) is None or user_data_problem(whole)


def test_largest_setup_fits_into_a_task() -> None:
    spec = spec_of({"commands": ["a" * 8000, "b" * 8000]})
    assert SETUP_BYTES - 1000 < len(msgspec.json.encode(spec.setup)) < SETUP_BYTES + 400
