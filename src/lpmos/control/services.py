"""All that the control plane's calls work on, put together from a store and its mirror.

One object is handed to the application; each part of it is a service of `lpmos.core` or of this
package, and knows nothing of the others but what it is given here.
"""

import asyncio
import time
from collections.abc import Callable, Iterator
from datetime import timedelta

from lpmos.control.access import Door
from lpmos.control.auth import TokenSigner
from lpmos.control.backup_metrics import BackupCollector
from lpmos.control.config import ControlConfig
from lpmos.control.fleet_metrics import FleetCollector
from lpmos.control.http.observation import Observation
from lpmos.control.limits import Gate
from lpmos.control.live.hub import LiveHub
from lpmos.control.notify.metrics import NotificationCollector
from lpmos.control.notify.reach import Reach
from lpmos.control.notify.senders import Senders
from lpmos.control.oidc.routes import SingleSignOn
from lpmos.control.pages import Pages
from lpmos.control.refusals import Refusals
from lpmos.control.region_logs import RegionLogs
from lpmos.control.resources.audit import AuditCollector
from lpmos.control.resources.health import Health
from lpmos.control.resources.image_files import ImageFiles
from lpmos.control.resources.images import Images
from lpmos.control.resources.machines import DuplicateCollector
from lpmos.control.resources.session import Logins
from lpmos.control.resources.statistics import StatisticsDesk
from lpmos.control.resources.task_answers import TaskAnswers
from lpmos.control.resources.unmatched import UnmatchedCollector
from lpmos.control.store_metrics import StoreCollector
from lpmos.control.traces.duty import TraceDuty
from lpmos.core import bmc, tasksecrets
from lpmos.core.audit.chain import AuditChain, Sink
from lpmos.core.audit.reader import AuditReader
from lpmos.core.backup.duty import BackupDuty
from lpmos.core.bmc import Bmcs
from lpmos.core.bulk import Bulk
from lpmos.core.clock import Clock
from lpmos.core.deadlines.deadlines import Deadlines
from lpmos.core.deadlines.duty import DeadlineDuty
from lpmos.core.duties import Duties, Duty, identity_of_this_process
from lpmos.core.explaining import Explaining
from lpmos.core.fleet import Fleet
from lpmos.core.identity.callers import Identity
from lpmos.core.identity.passwords import Passwords
from lpmos.core.identity.retention import IdentityRetention
from lpmos.core.logproof import LogProofs, LogReaderDuty
from lpmos.core.machines import Machines
from lpmos.core.notifications import webhooks
from lpmos.core.notifications.alerts import AlertDuty
from lpmos.core.notifications.deliveries import Deliveries, DeliverySink
from lpmos.core.notifications.duty import DeliveryDuty
from lpmos.core.notifications.payload import Payloads
from lpmos.core.notifications.webhooks import Webhooks, webhook_documents
from lpmos.core.retry import RetryDuty
from lpmos.core.rollback import Rollbacks
from lpmos.core.rules.dry_run import DryRuns
from lpmos.core.rules.duty import RulesDuty
from lpmos.core.rules.rules import Rules
from lpmos.core.secrets.keyring import KeyProvider, KeyRing
from lpmos.core.secrets.rotation import SecretKeys
from lpmos.core.storecare import StoreCare
from lpmos.core.tasks import Tasks
from lpmos.core.templates import Templates
from lpmos.core.traces.calls import CallTraces
from lpmos.core.traces.outgoing import Outgoing, OutgoingCollector
from lpmos.core.unmatched_reports import UnmatchedDesk
from lpmos.core.unmatched_retention import UnmatchedRetention
from lpmos.images.catalog import Catalog
from lpmos.images.installers import Installers
from lpmos.images.uploads import Uploads
from lpmos.install.answers.own_templates import OWN_TEMPLATES
from lpmos.store.api import Store
from lpmos.store.mirror import Mirror
from lpmos.store.traced import TracedStore

SEALED_FIELDS = (bmc.SEALED, webhooks.SEALED, tasksecrets.SEALED)
"""Every field in which a secret stands sealed: a rotation wraps these and no others."""


class Services:
    """The services of one control plane; the mirror and `run` are run by the caller."""

    def __init__(
        self,
        store: Store,
        mirror: Mirror,
        *,
        signer: TokenSigner,
        clock: Clock,
        key_provider: KeyProvider,
        ring: KeyRing,
        config: ControlConfig | None = None,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self.config = config = config or ControlConfig()
        store = TracedStore(store) if config.otlp_url else store
        self.fleet = Fleet(mirror)
        self.secret_keys = SecretKeys(
            store,
            mirror,
            clock,
            provider=key_provider,
            ring=ring,
            places=SEALED_FIELDS,
            idcs=lambda: [region.idc for region in self.fleet.regions()],
        )
        box = self.secret_keys.box
        self.tasks = Tasks(
            store, self.fleet, clock, second_person=config.second_person, secrets=box
        )
        self.rollbacks = Rollbacks(store, self.tasks, clock)
        deadlines = Deadlines(self.fleet, config.timeouts, clock)
        self.task_answers = TaskAnswers(self.fleet, self.tasks, deadlines)
        self.explaining = Explaining(self.fleet, deadlines, clock)
        self.bulk = Bulk(store, self.fleet, self.tasks, clock, box)
        self.machines = Machines(store, self.fleet, clock)
        self.bmcs = Bmcs(store, mirror, clock, self.secret_keys)
        self.identity = Identity(store, mirror, clock, Passwords())
        self.door = Door(signer, self.identity)
        self.gate = Gate(
            self.door,
            user_rate_per_s=config.rate_limit_per_s,
            address_rate_per_s=config.rate_limit_address_per_s,
            monotonic=monotonic,
        )
        self.logins = Logins(
            self.identity, self.door, signer, clock, second_person=config.second_person
        )
        self.single_sign_on = SingleSignOn(
            config.oidc,
            config.public_url,
            identity=self.identity,
            logins=self.logins,
            signer=signer,
            clock=clock,
        )
        self.hub = LiveHub(self.fleet, mirror)
        self.health = Health(store, self.fleet)
        self.statistics = StatisticsDesk(self.fleet, clock)
        self.region_logs = RegionLogs(
            self.fleet, LogProofs(signer.derived_key("logs of regions"), clock)
        )
        self.observation = Observation()
        self.observation.add(FleetCollector(self.fleet, clock, self.hub.count), self.hub.delivery)
        self.call_traces, self._sends = self._traces(clock)
        self.pages = Pages(self.door)
        self.images, self.image_files = self._images(store, clock)
        self.templates = Templates(store, mirror, self.fleet, clock, OWN_TEMPLATES)
        self.rules = Rules(store, mirror, clock, second_person=config.second_person)
        self.dry_runs = DryRuns(self.fleet)
        self.unmatched = UnmatchedDesk(
            store, self.fleet, self.tasks, clock, alert_over=config.unmatched_limit
        )
        self.observation.add(UnmatchedCollector(self.fleet), DuplicateCollector(self.fleet))
        self.audit = AuditReader(store)
        self.refusals = Refusals(store, clock)
        self.senders = Senders(clock, Reach(config.webhook_networks))
        self.webhooks = Webhooks(
            webhook_documents(store, mirror, clock), self.senders, self.secret_keys.box, clock
        )
        self.deliveries = Deliveries(store, mirror, clock)
        payloads = Payloads(self.fleet, config.public_url)
        deliver = DeliveryDuty(store, self.deliveries, self.webhooks, clock)
        self.observation.add(NotificationCollector(self.deliveries, deliver, clock))
        sinks: list[Sink] = [
            DeliverySink(self.webhooks.documents, self.deliveries.index, payloads, clock)
        ]
        self.audit_chain = AuditChain(
            store, mirror, clock, sinks=sinks, kept=timedelta(days=config.audit_days)
        )
        retention = IdentityRetention(store, self.identity, clock)
        decide = RulesDuty(store, self.fleet, self.tasks, self.rules, clock)
        duties: list[Duty] = [
            *(self.audit_chain, deliver, retention, decide),
            LogReaderDuty(store, self.fleet, self.region_logs.reader),
            AlertDuty(store, self.fleet, clock, unmatched_limit=config.unmatched_limit),
            UnmatchedRetention(store, clock, timedelta(days=config.unmatched_days)),
        ]
        duties.extend(self._care_of_tasks(store, deadlines, clock))
        duties.extend(self._care_of_store(store, clock))
        self.duties = Duties(store, identity_of_this_process(), duties)
        self.observation.add(AuditCollector(self.audit_chain, self.duties))

    def _images(self, store: Store, clock: Clock) -> tuple[Images, ImageFiles]:
        """What changes the images directory, and what gives its files to regions."""
        directory = self.config.images_dir
        catalog = Catalog(directory, refuses=self.config.image_trust)
        files = ImageFiles(catalog, Installers(directory), directory)
        self.observation.add(files)
        return Images(catalog, Uploads(directory, catalog), store, self.fleet, clock), files

    def _care_of_tasks(self, store: Store, deadlines: Deadlines, clock: Clock) -> Iterator[Duty]:
        """The duties that end what waits for too long, try again, and tell of what has ended."""
        yield DeadlineDuty(store, self.fleet, deadlines, clock)
        yield RetryDuty(self.fleet, self.tasks, self.config.retries, clock)
        if "tasks" in self._sends:
            yield TraceDuty(self.fleet, clock, self._sends["tasks"])

    def _traces(self, clock: Clock) -> tuple[CallTraces, dict[str, Outgoing]]:
        """What makes traces of calls, and the ways to the collector; none without one."""
        if not self.config.otlp_url:
            return CallTraces(clock, None), {}
        ways = {of: Outgoing(self.config.otlp_url) for of in ("calls", "tasks")}
        self.observation.add(OutgoingCollector(ways))
        return CallTraces(clock, ways["calls"]), ways

    def _care_of_store(self, store: Store, clock: Clock) -> Iterator[Duty]:
        """The duties that look after the store itself, with their metrics."""
        self.store_care = StoreCare(store, clock)
        self.observation.add(StoreCollector(self.store_care))
        yield self.store_care
        if self.config.backup is not None:
            duty = BackupDuty(store, self.config.backup, clock)
            self.observation.add(BackupCollector(duty.standing))
            yield duty

    async def run(self) -> None:
        """Do all that goes on beside the calls, until cancelled."""
        async with asyncio.TaskGroup() as group:
            group.create_task(self.secret_keys.run(), name="keys of secrets")
            group.create_task(self.refusals.run(), name="refusals")
            group.create_task(self.store_care.run(), name="store care")
            group.create_task(self.duties.run(), name="duties")
            if "calls" in self._sends:
                group.create_task(self._sends["calls"].run(), name="traces of calls")
