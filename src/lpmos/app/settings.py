"""Every setting, in one table: it drives the file, the environment, the flags and the reference.

A value is taken from the first of: flag, environment, file, default. Unknown keys are refused, and
all that is wrong is reported together. Secrets are never settings; settings name their files.
"""

import json
import os
import tomllib
from collections.abc import Callable, Mapping, Sequence
from ipaddress import IPv4Network, IPv6Network, ip_network
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import urlsplit

from lpmos.model.access import Role
from lpmos.model.bootplan import UnknownMachines
from lpmos.model.errors import InvalidInput, SettingsError
from lpmos.model.machine import parse_idc
from lpmos.model.retry import RetryPolicy
from lpmos.model.waiting import AWAY, FIRST_BOOT, INSTALLER, LIMITS

DEFAULT_FILE = Path("/etc/lpmos/lpmos.toml")
PARTS = ("up", "control-plane", "region")
UP, CONTROL, REGION = PARTS


def _dhcp_networks(text: str) -> object:
    from lpmos.region.dhcp_networks import parsed_networks  # only who names networks pays for it

    return parsed_networks(text)


def _port(text: str) -> int:
    if not text.isascii() or not text.isdecimal() or not 0 < int(text[:6]) < 65536:
        raise ValueError("a port is a number from 1 to 65535")
    return int(text)


def _words(text: str) -> tuple[str, ...]:
    return tuple(word.strip() for word in text.split(",") if word.strip())


def _choice(*names: str) -> Callable[[str], str]:
    def parse(text: str) -> str:
        if text not in names:
            raise ValueError(f"one of {', '.join(names)}")
        return text

    return parse


def _rate(text: str) -> int:
    if not text.isascii() or not text.isdecimal() or int(text[:9]) > 1_000_000:
        raise ValueError("a whole number from 0 to 1000000")
    return int(text)


def _days(text: str) -> int:
    if not text.isascii() or not text.isdecimal() or not 0 < int(text[:9]) <= 36_500:
        raise ValueError("a whole number of days from 1 to 36500")
    return int(text)


def _seconds(text: str) -> int:
    if not text.isascii() or not text.isdecimal() or int(text[:9]) > 31_536_000:
        raise ValueError("a whole number of seconds from 0 to 31536000")
    return int(text)


def _hours(text: str) -> int:
    if not text.isascii() or not text.isdecimal() or int(text[:9]) > 8_760:
        raise ValueError("a whole number of hours from 0 to 8760")
    return int(text)


def _tries(text: str) -> int:
    if not text.isascii() or not text.isdecimal() or int(text[:9]) > 100:
        raise ValueError("a whole number from 0 to 100")
    return int(text)


def _limit(text: str) -> int:
    if not text.isascii() or not text.isdecimal() or not 0 < int(text[:9]) <= 1_000_000:
        raise ValueError("a whole number from 1 to 1000000")
    return int(text)


def _backup_target(text: str) -> str:
    parts = urlsplit(text)
    local = parts.scheme == "file" and not parts.netloc and len(parts.path) > 1
    remote = parts.scheme in ("s3", "gs", "az") and parts.netloc and "@" not in parts.netloc
    if not (local or remote) or parts.query or parts.fragment:
        raise ValueError(
            "s3://BUCKET/PREFIX, gs://BUCKET/PREFIX, az://CONTAINER/PREFIX or file:///DIRECTORY,"
            " without credentials: those stand in the environment"
        )
    return text.rstrip("/")


def _public_url(text: str) -> str:
    parts = urlsplit(text)
    if parts.scheme not in ("http", "https") or not parts.hostname or parts.query or parts.fragment:
        raise ValueError("a URL as https://lpmos.example.com")
    return text.rstrip("/")


def _issuer(text: str) -> str:
    parts = urlsplit(text)
    local = parts.hostname in ("localhost", "127.0.0.1", "::1")
    allowed = ("https", "http") if local else ("https",)
    if parts.scheme not in allowed or not parts.hostname or parts.query or parts.fragment:
        raise ValueError("an https URL as the provider writes it: https://sso.example.com/realms/x")
    return text


def _role_mapping(text: str) -> tuple[tuple[str, Role], ...]:
    pairs = [[part.strip() for part in word.rpartition("=")] for word in _words(text)]
    if not all(group and role in [*Role] for group, _, role in pairs):
        raise ValueError(f"pairs as lpmos-admins=admin,noc=operator; roles: {', '.join(Role)}")
    return tuple((group, Role(role)) for group, _, role in pairs)


def _networks(text: str) -> tuple[IPv4Network | IPv6Network, ...]:
    return tuple(ip_network(word) for word in _words(text))


def _yes_or_no(text: str) -> bool:
    return _choice("yes", "no")(text) == "yes"


def _unknown_machines(text: str) -> UnknownMachines:
    return UnknownMachines(_choice(*UnknownMachines)(text))


class Setting(NamedTuple):
    """One row of the table. `parse` raises ValueError or InvalidInput for a wrong value."""

    name: str
    parse: Callable[[str], Any]
    default: Any
    parts: tuple[str, ...]
    help: str
    aliases: tuple[str, ...] = ()
    environment: tuple[str, ...] = ()

    @property
    def flags(self) -> tuple[str, ...]:
        """The command-line flags, the present name first."""
        return tuple("--" + name.replace("_", "-") for name in (self.name, *self.aliases))

    @property
    def variables(self) -> tuple[str, ...]:
        """The environment variables, the first that is set counts."""
        return (f"LPMOS_{self.name.upper()}", *self.environment)


TABLE: tuple[Setting, ...] = (
    Setting(
        "idc",
        parse_idc,
        None,
        (UP, REGION),
        "The data center that this region serves (`lpmos up` takes `dc1` where none is given).",
        ("label", "region_id"),
        ("REGION_LABEL", "REGION_ID"),
    ),
    Setting(
        "state_dir",
        Path,
        Path("/var/lib/lpmos"),
        PARTS,
        "Where a part keeps its own files: the embedded store, keys, logs, DHCP leases.",
    ),
    Setting(
        "images_dir",
        Path,
        None,
        PARTS,
        "OS and agent images; `images` in the state directory where not given.",
    ),
    Setting(
        "image_trusted_keys",
        Path,
        None,
        PARTS,
        "Public keys (Ed25519, PEM): a file, or a directory of `*.pub` and `*.pem`. Where it is"
        " given, only images that one of them signed are offered and served.",
    ),
    Setting(
        "etcd_endpoints",
        _words,
        (),
        (CONTROL, REGION),
        "The store: `https://host:2379`, several separated by commas.",
    ),
    Setting("etcd_ca", Path, None, (CONTROL, REGION), "CA certificate of the store's servers."),
    Setting("etcd_cert", Path, None, (CONTROL, REGION), "Client certificate for the store."),
    Setting("etcd_key", Path, None, (CONTROL, REGION), "Private key of the client certificate."),
    Setting("etcd_user", str, None, (CONTROL, REGION), "User name for the store."),
    Setting(
        "etcd_password_file",
        Path,
        None,
        (CONTROL, REGION),
        "File with the password of `etcd_user`.",
    ),
    Setting(
        "listen_addr",
        _words,
        ("127.0.0.1:8080",),
        (UP, CONTROL),
        "Where the API and dashboard listen: `host:port`, or `fd:3` for an inherited socket;"
        " several separated by commas.",
    ),
    Setting("tls_cert", Path, None, (UP, CONTROL), "Certificate chain of the API (TLS 1.3)."),
    Setting("tls_key", Path, None, (UP, CONTROL), "Private key of `tls_cert`."),
    Setting(
        "auth_key_file",
        Path,
        None,
        (UP, CONTROL),
        "Key that signs API tokens, the same for all control planes; `auth.key` in the state"
        " directory where not given, made at the first start.",
    ),
    Setting(
        "second_person",
        _yes_or_no,
        False,
        (UP, CONTROL),
        "`yes`: a task is approved by another person than the one who created it.",
    ),
    Setting(
        "public_url",
        _public_url,
        None,
        (UP, CONTROL),
        "Where people reach the API, for the links in notifications: `https://lpmos.example.com`.",
    ),
    Setting(
        "otlp_url",
        _public_url,
        None,
        (UP, CONTROL),
        "Where each task that ends is sent as one trace, by OTLP over HTTP:"
        " `http://collector:4318/v1/traces`.",
    ),
    Setting(
        "unmatched_limit",
        _limit,
        10,
        (UP, CONTROL),
        "How many reports without a task one data center may have before it is told of.",
    ),
    *(
        Setting(
            limit.setting,
            _seconds,
            limit.default_s,
            (UP, CONTROL),
            f"Seconds after which a task fails because {limit.meaning}; 0: never.",
        )
        for limit in (*LIMITS.values(), AWAY, FIRST_BOOT, INSTALLER)
    ),
    Setting(
        "retry_limit",
        _tries,
        RetryPolicy().limit,
        (UP, CONTROL),
        "How often in a row a task is tried again by itself that failed for a passing reason"
        " before anything was written; each time it needs a new approval. 0: never.",
    ),
    Setting(
        "retry_first_s",
        _seconds,
        RetryPolicy().first_s,
        (UP, CONTROL),
        "Seconds before the first such retry; each further one waits twice as long.",
    ),
    Setting(
        "retry_longest_s",
        _seconds,
        RetryPolicy().longest_s,
        (UP, CONTROL),
        "The longest such wait in seconds.",
    ),
    Setting(
        "webhook_networks",
        _networks,
        (),
        (UP, CONTROL),
        "Networks that tenants' webhooks may reach besides public addresses: `192.0.2.0/24`,"
        " several separated by commas.",
    ),
    Setting(
        "secrets_key_file",
        Path,
        None,
        (UP, CONTROL, REGION),
        "Keys that stored secrets are sealed with, a line `ID BASE64` for each; `secrets.key` in"
        " the state directory where not given, made at a control plane's first start. A region"
        " needs them for tasks with passwords and other secrets.",
    ),
    Setting(
        "vault_addr",
        str,
        None,
        (UP, CONTROL, REGION),
        "HashiCorp Vault that keeps these keys instead: `https://host:8200`.",
    ),
    Setting(
        "vault_token_file",
        Path,
        None,
        (UP, CONTROL, REGION),
        "File with the token for Vault; read anew for each call.",
    ),
    Setting("vault_mount", str, "secret", (UP, CONTROL, REGION), "Vault's KV version 2 engine."),
    Setting("vault_path", str, "lpmos/keys", (UP, CONTROL, REGION), "The secret in it."),
    Setting("vault_ca", Path, None, (UP, CONTROL, REGION), "CA certificate of Vault's server."),
    Setting(
        "oidc_issuer",
        _issuer,
        None,
        (UP, CONTROL),
        "OpenID provider that people sign in at: its issuer, exactly as it writes it. It needs"
        " `oidc_client_id`, `oidc_roles` and `public_url`.",
    ),
    Setting("oidc_client_id", str, None, (UP, CONTROL), "The control plane's name at it."),
    Setting(
        "oidc_client_secret_file",
        Path,
        None,
        (UP, CONTROL),
        "File with the client's secret; a public client has none.",
    ),
    Setting("oidc_ca", Path, None, (UP, CONTROL), "CA certificate of the provider's server."),
    Setting(
        "oidc_roles",
        _role_mapping,
        (),
        (UP, CONTROL),
        "Which group gives which role: `lpmos-admins=admin,noc=operator`. Who is in none of them"
        " has no access.",
    ),
    Setting("oidc_roles_claim", str, "groups", (UP, CONTROL), "The claim that names the groups."),
    Setting(
        "oidc_tenant_claim",
        str,
        None,
        (UP, CONTROL),
        "The claim that names the tenant, `*` for the provider's own staff; without it all who"
        " sign in there are staff.",
    ),
    Setting(
        "oidc_name_claim",
        str,
        "preferred_username",
        (UP, CONTROL),
        "The claim that a user's name is taken from at the first login.",
    ),
    Setting(
        "trusted_proxies",
        _networks,
        (),
        (UP, CONTROL),
        "Balancers whose `X-Forwarded-For` and `X-Forwarded-Proto` are believed: addresses or"
        " networks, several separated by commas.",
    ),
    Setting(
        "audit_days",
        _days,
        400,
        (UP, CONTROL),
        "How many days the audit log keeps its entries; older ones are deleted by the thousand.",
    ),
    Setting(
        "unmatched_days",
        _days,
        30,
        (UP, CONTROL),
        "How many days a report without a task is kept that its machine does not repeat.",
    ),
    Setting(
        "backup_every_h",
        _hours,
        0,
        (UP, CONTROL),
        "Hours between backups of the store, made by the elected control plane; 0: none.",
    ),
    Setting(
        "backup_dir",
        Path,
        None,
        (UP, CONTROL),
        "Where backups are, and where those for `backup_target` are made and tested first;"
        " `backups` in the state directory where not given.",
    ),
    Setting(
        "backup_target",
        _backup_target,
        None,
        (UP, CONTROL),
        "Where backups are instead: s3://BUCKET/PREFIX, gs://BUCKET/PREFIX, az://CONTAINER/PREFIX"
        " or file:///DIRECTORY. Credentials are taken from the environment, and never stand here.",
    ),
    Setting(
        "backup_keep",
        _limit,
        14,
        (UP, CONTROL),
        "How many of the newest backups are kept.",
    ),
    Setting(
        "rate_limit_per_s",
        _rate,
        200,
        (UP, CONTROL),
        "Requests a second of one user, twice as many at once; 0: no limit.",
    ),
    Setting(
        "rate_limit_address_per_s",
        _rate,
        20,
        (UP, CONTROL),
        "Requests a second without a user from one address, five times as many at once; 0: no"
        " limit.",
    ),
    Setting(
        "region_addr",
        str,
        None,
        (UP, REGION),
        "This host's address, at which machines reach this region.",
    ),
    Setting(
        "service_address",
        str,
        None,
        (UP, REGION),
        "The address of the region itself, the same for its active and its standby client and free"
        " otherwise: the active one has it, and machines know no other. `region_addr` where not"
        " given.",
    ),
    Setting(
        "service_interface",
        str,
        None,
        (UP, REGION),
        "Interface that `service_address` is put on; `dhcp_interface` where not given.",
    ),
    Setting(
        "identity",
        str,
        None,
        (UP, REGION),
        "This client's name among those of its region; the host's name where not given.",
    ),
    Setting("api_host", str, "0.0.0.0", (UP, REGION), "Address that the region listens on."),  # noqa: S104
    Setting(
        "api_port",
        _port,
        8081,
        (UP, REGION),
        "Port of HTTP boot and the agent API.",
        environment=("API_PORT",),
    ),
    Setting(
        "agent_identity",
        _choice("required", "optional"),
        "required",
        (UP, REGION),
        "`required`: agents call with the identity that their boot script lets them have;"
        " `optional` takes calls without one, too, while older agent images run.",
    ),
    Setting(
        "mirror_gib",
        _limit,
        20,
        (UP, REGION),
        "How many GiB the region keeps of what installers fetched through it from their"
        " repositories; what was used longest ago goes first.",
    ),
    Setting(
        "agent_tls_cert",
        Path,
        None,
        (UP, REGION),
        "Certificate chain of the agent API, for the address at which agents call (TLS 1.3). With"
        " it agents are answered at `agent_tls_port` only.",
    ),
    Setting("agent_tls_key", Path, None, (UP, REGION), "Private key of `agent_tls_cert`."),
    Setting(
        "agent_tls_ca",
        Path,
        None,
        (UP, REGION),
        "Certificate of the CA that issued it, the same for all clients of the region: agents trust"
        " it alone, by its fingerprint in their kernel line.",
    ),
    Setting(
        "agent_tls_port", _port, 8443, (UP, REGION), "Port of the agent API with `agent_tls_cert`."
    ),
    Setting(
        "dhcp_mode",
        _choice("full", "proxy", "off"),
        "full",
        (UP, REGION),
        "`full`: the only DHCP server on `dhcp_interface`; `proxy`: another server there gives the"
        " addresses of `dhcp_subnet`; `off` leaves DHCP and TFTP to others.",
    ),
    Setting("dhcp_interface", str, None, (UP, REGION), "Interface that DHCP and TFTP serve."),
    Setting(
        "dhcp_range",
        _words,
        (),
        (UP, REGION),
        "First and last address for machines: `192.0.2.100,192.0.2.200`.",
    ),
    Setting(
        "dhcp_subnet",
        str,
        None,
        (UP, REGION),
        "The network on `dhcp_interface`: `192.0.2.0/24`; the interface's own where not given.",
    ),
    Setting(
        "dhcp_network",
        _dhcp_networks,
        (),
        (UP, REGION),
        "Several networks: in the file a table `[[dhcp_network]]` for each, else a list in JSON.",
    ),
    Setting(
        "dhcp_known_only",
        _yes_or_no,
        False,
        (UP, REGION),
        "`yes`: DHCP answers only machines that reported before or have a task.",
    ),
    Setting("dhcp_router", str, None, (UP, REGION), "Default gateway given to machines."),
    Setting("dhcp_dns", _words, (), (UP, REGION), "Name servers given to machines."),
    Setting(
        "unknown_machines",
        _unknown_machines,
        UnknownMachines.DISCOVER,
        (UP, REGION),
        "What a machine without a task boots: `discover` (the agent, which reports and waits)"
        " or `local-disk`.",
    ),
    Setting(
        "log_level",
        _choice("debug", "info", "warning", "error"),
        "info",
        PARTS,
        "The least level that is logged.",
    ),
    Setting("log_format", _choice("text", "json"), "text", PARTS, "How log lines look."),
)

BY_NAME = {setting.name: setting for setting in TABLE}


class Settings:
    """The values of one part's settings, each as an attribute by its name in `TABLE`."""

    def __init__(self, values: Mapping[str, Any]) -> None:
        self._values = dict(values)

    def __getattr__(self, name: str) -> Any:
        try:
            return self._values[name]
        except KeyError:
            raise AttributeError(name) from None

    def with_default(self, name: str, value: object) -> "Settings":
        """The same settings, with `value` where `name` was not given."""
        given = self._values.get(name)
        return Settings({**self._values, name: value if given is None else given})


def for_part(part: str) -> list[Setting]:
    """The rows that a part takes."""
    return [setting for setting in TABLE if part in setting.parts]


def load(
    part: str,
    flags: Mapping[str, str | None],
    environment: Mapping[str, str] | None = None,
    file: Path | None = None,
) -> Settings:
    """Put the settings of `part` together.

    Args:
        part: one of `PARTS`.
        flags: what the command line gave, by name; None where a flag was not given.
        environment: the process's where None.
        file: TOML; a file that is named must exist, `DEFAULT_FILE` need not.

    Raises:
        SettingsError: lists every wrong or unknown value with where it came from.
    """
    environment = os.environ if environment is None else environment
    problems: list[str] = []
    from_file = _read_file(file, problems)
    values: dict[str, Any] = {}
    for setting in for_part(part):
        source, text = _first(setting, flags, environment, from_file)
        values[setting.name] = setting.default
        if text is None:
            continue
        try:
            values[setting.name] = setting.parse(text)
        except (ValueError, InvalidInput) as error:
            problems.append(f"{source}: {text!r} is refused: {error}")
    if problems:
        raise SettingsError("; ".join(problems))
    return Settings(values)


def _first(
    setting: Setting,
    flags: Mapping[str, str | None],
    environment: Mapping[str, str],
    from_file: Mapping[str, str],
) -> tuple[str, str | None]:
    """Where the value comes from, and its text."""
    if (text := flags.get(setting.name)) is not None:
        return setting.flags[0], text
    for variable in setting.variables:
        if variable in environment:
            return variable, environment[variable]
    return f"{setting.name} in the file", from_file.get(setting.name)


def _read_file(file: Path | None, problems: list[str]) -> dict[str, str]:
    path = file or DEFAULT_FILE
    if file is None and not path.exists():
        return {}
    try:
        table = tomllib.loads(path.read_text())
    except (OSError, ValueError) as error:
        problems.append(f"{path}: {error}")
        return {}
    problems += [f"{path}: {name!r} is no setting" for name in table if name not in BY_NAME]
    return {name: _text_of(value) for name, value in table.items()}


def _text_of(value: Any) -> str:
    """A value of the file as a flag would give it; tables become JSON, `true` is `yes`."""
    if isinstance(value, bool):
        return "yes" if value else "no"
    if not isinstance(value, list):
        return str(value)
    if value and all(isinstance(each, dict) for each in value):
        return json.dumps(value, default=str)
    return ",".join(map(str, value))


def reference() -> str:
    """The table as the documentation shows it (`docs/reference/settings.md`)."""
    lines = [
        "# Settings",
        "",
        "A value is taken from the first of: flag, environment variable, file"
        f" (`--config`, else `{DEFAULT_FILE}`), default. The file is TOML, one key for each",
        "setting; unknown keys are refused. This page is generated from the one table in the code.",
        "",
        "| key | flags | environment | default | parts | what it is |",
        "|---|---|---|---|---|---|",
    ]
    lines += [_row(setting) for setting in TABLE]
    return "\n".join(lines) + "\n"


def _row(setting: Setting) -> str:
    def code(names: Sequence[str]) -> str:
        return ", ".join(f"`{name}`" for name in names)

    default = setting.default
    text = ",".join(default) if isinstance(default, tuple) else default
    if isinstance(text, bool):
        text = _text_of(text)
    cells = (
        f"`{setting.name}`",
        code(setting.flags),
        code(setting.variables),
        f"`{text}`" if text not in (None, "") else "",
        ", ".join(setting.parts),
        setting.help,
    )
    return f"| {' | '.join(cells)} |"
