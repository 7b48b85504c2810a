"""Every setting, in one table: it drives the file, the environment, the flags and the reference."""

from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

from lpmos.app.setting_values import (
    DAYS,
    HOURS,
    LIMIT,
    RATE,
    SECONDS,
    TRIES,
    backup_target,
    choice,
    dhcp_networks,
    images_url,
    issuer,
    networks,
    port,
    public_url,
    role_mapping,
    unknown_machines,
    words,
    yes_or_no,
)
from lpmos.model.bootplan import UnknownMachines
from lpmos.model.kernelline import parse_region_arguments
from lpmos.model.machine import parse_idc
from lpmos.model.retry import RetryPolicy
from lpmos.model.waiting import AWAY, FIRST_BOOT, INSTALLER, LIMITS

PARTS = ("up", "control-plane", "region")
UP, CONTROL, REGION = PARTS


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
        "images_url",
        images_url,
        None,
        (REGION,),
        "Control plane whose images this region fetches ahead, verified, and keeps on its own disk:"
        " `https://lpmos.example.com`. It needs `images_token_file`. Without it, `images_dir` is"
        " filled by hand.",
    ),
    Setting(
        "images_token_file",
        Path,
        None,
        (REGION,),
        "File with a token of a user with the role viewer, for `images_url`; read anew for each"
        " call.",
    ),
    Setting(
        "images_ca",
        Path,
        None,
        (REGION,),
        "CA certificate of the control plane at `images_url`; the system's where not given.",
    ),
    Setting(
        "etcd_endpoints",
        words,
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
        words,
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
        yes_or_no,
        False,
        (UP, CONTROL),
        "`yes`: a task is approved by another person than the one who created it.",
    ),
    Setting(
        "public_url",
        public_url,
        None,
        (UP, CONTROL),
        "Where people reach the API, for the links in notifications: `https://lpmos.example.com`.",
    ),
    Setting(
        "otlp_url",
        public_url,
        None,
        (UP, CONTROL, REGION),
        "Where each task that ends is sent as one trace, and calls that were slow, of the API and"
        " of machines, by OTLP over HTTP: `http://collector:4318/v1/traces`.",
    ),
    Setting(
        "unmatched_limit",
        LIMIT,
        10,
        (UP, CONTROL),
        "How many reports without a task one data center may have before it is told of.",
    ),
    *(
        Setting(
            limit.setting,
            SECONDS,
            limit.default_s,
            (UP, CONTROL),
            f"Seconds after which a task fails because {limit.meaning}; 0: never.",
        )
        for limit in (*LIMITS.values(), AWAY, FIRST_BOOT, INSTALLER)
    ),
    Setting(
        "retry_limit",
        TRIES,
        RetryPolicy().limit,
        (UP, CONTROL),
        "How often in a row a task is tried again by itself that failed for a passing reason"
        " before anything was written; each time it needs a new approval. 0: never.",
    ),
    Setting(
        "retry_first_s",
        SECONDS,
        RetryPolicy().first_s,
        (UP, CONTROL),
        "Seconds before the first such retry; each further one waits twice as long.",
    ),
    Setting(
        "retry_longest_s",
        SECONDS,
        RetryPolicy().longest_s,
        (UP, CONTROL),
        "The longest such wait in seconds.",
    ),
    Setting(
        "webhook_networks",
        networks,
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
        issuer,
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
        role_mapping,
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
        networks,
        (),
        (UP, CONTROL),
        "Balancers whose `X-Forwarded-For` and `X-Forwarded-Proto` are believed: addresses or"
        " networks, several separated by commas.",
    ),
    Setting(
        "audit_days",
        DAYS,
        400,
        (UP, CONTROL),
        "How many days the audit log keeps its entries; older ones are deleted by the thousand.",
    ),
    Setting(
        "unmatched_days",
        DAYS,
        30,
        (UP, CONTROL),
        "How many days a report without a task is kept that its machine does not repeat.",
    ),
    Setting(
        "backup_every_h",
        HOURS,
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
        backup_target,
        None,
        (UP, CONTROL),
        "Where backups are instead: s3://BUCKET/PREFIX, gs://BUCKET/PREFIX, az://CONTAINER/PREFIX"
        " or file:///DIRECTORY. Credentials are taken from the environment, and never stand here.",
    ),
    Setting(
        "backup_keep",
        LIMIT,
        14,
        (UP, CONTROL),
        "How many of the newest backups are kept.",
    ),
    Setting(
        "rate_limit_per_s",
        RATE,
        200,
        (UP, CONTROL),
        "Requests a second of one user, twice as many at once; 0: no limit.",
    ),
    Setting(
        "rate_limit_address_per_s",
        RATE,
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
        port,
        8081,
        (UP, REGION),
        "Port of HTTP boot and the agent API.",
        environment=("API_PORT",),
    ),
    Setting(
        "agent_identity",
        choice("required", "optional"),
        "required",
        (UP, REGION),
        "`required`: agents call with the identity that their boot script lets them have;"
        " `optional` takes calls without one, too, while older agent images run.",
    ),
    Setting(
        "kernel_arguments",
        parse_region_arguments,
        "",
        (UP, REGION),
        "What ends the kernel line of the agent and of each distribution's installer, for machines"
        " that need it: `console=ttyS1,115200n8`. Of the installed system's, tasks say it.",
    ),
    Setting(
        "mirror_gib",
        LIMIT,
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
        "agent_tls_port", port, 8443, (UP, REGION), "Port of the agent API with `agent_tls_cert`."
    ),
    Setting(
        "dhcp_mode",
        choice("full", "proxy", "off"),
        "full",
        (UP, REGION),
        "`full`: the only DHCP server on `dhcp_interface`; `proxy`: another server there gives the"
        " addresses of `dhcp_subnet`; `off` leaves DHCP and TFTP to others.",
    ),
    Setting("dhcp_interface", str, None, (UP, REGION), "Interface that DHCP and TFTP serve."),
    Setting(
        "dhcp_range",
        words,
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
        dhcp_networks,
        (),
        (UP, REGION),
        "Several networks: in the file a table `[[dhcp_network]]` for each, else a list in JSON.",
    ),
    Setting(
        "dhcp_known_only",
        yes_or_no,
        False,
        (UP, REGION),
        "`yes`: DHCP answers only machines that reported before or have a task.",
    ),
    Setting("dhcp_router", str, None, (UP, REGION), "Default gateway given to machines."),
    Setting("dhcp_dns", words, (), (UP, REGION), "Name servers given to machines."),
    Setting(
        "unknown_machines",
        unknown_machines,
        UnknownMachines.DISCOVER,
        (UP, REGION),
        "What a machine without a task boots: `discover` (the agent, which reports and waits)"
        " or `local-disk`.",
    ),
    Setting(
        "log_level",
        choice("debug", "info", "warning", "error"),
        "info",
        PARTS,
        "The least level that is logged.",
    ),
    Setting("log_format", choice("text", "json"), "text", PARTS, "How log lines look."),
)
