"""What an operator can choose about a control plane; `lpmos.app` fills it from the settings."""

from ipaddress import IPv4Network, IPv6Network
from pathlib import Path

import msgspec

from lpmos.core.backup.duty import BackupPlan
from lpmos.images.catalog_manifests import Refuses
from lpmos.model.access import Role
from lpmos.model.retry import RetryPolicy
from lpmos.model.waiting import Timeouts


class OidcConfig(msgspec.Struct, frozen=True, kw_only=True):
    """An OpenID provider that people sign in at, and what its words mean here.

    `issuer` and `client_id` are exactly as the provider writes them; without `client_secret` the
    client is a public one. `roles` says which role each of the provider's groups gives.
    """

    issuer: str
    client_id: str
    client_secret: str | None = None
    ca: Path | None = None
    roles: tuple[tuple[str, Role], ...]
    roles_claim: str = "groups"
    tenant_claim: str | None = None
    name_claim: str = "preferred_username"

    def __repr__(self) -> str:
        return f"OidcConfig({self.issuer}, {self.client_id})"


class ControlConfig(msgspec.Struct, frozen=True, kw_only=True):
    """The choices, each with its default."""

    images_dir: Path = Path("/var/lib/lpmos/images")
    """Where the images are that the API shows and takes."""

    image_trust: Refuses | None = None
    """Why an image is not trusted; None: every image is."""

    second_person: bool = False
    """Whether a task must be approved by another person than the one who created it."""

    public_url: str | None = None
    """Where people reach the API, for the links in notifications; without it they have no host."""

    otlp_url: str | None = None
    """Where a collector takes traces; None: they are made for nobody."""

    timeouts: Timeouts = Timeouts()
    """How long a task may wait in each state."""

    retries: RetryPolicy = RetryPolicy()
    """What is tried again by itself, and when."""

    unmatched_limit: int = 10
    """How many reports without a task one data center may have before it is told of."""

    webhook_networks: tuple[IPv4Network | IPv6Network, ...] = ()
    """Networks that tenants' webhooks may reach besides public addresses."""

    audit_days: int = 400
    """How long entries of the audit log are kept."""

    unmatched_days: int = 30
    """How long a report without a task is kept that no machine repeats."""

    backup: BackupPlan | None = None
    """How often the store is backed up, and where to; None: not by itself."""

    rate_limit_per_s: int = 0
    """Requests a second of one user; 0 is no limit."""

    rate_limit_address_per_s: int = 0
    """Requests a second without a user from one address; 0 is no limit."""

    oidc: OidcConfig | None = None
    """Where people may sign in besides here; it needs `public_url`."""
