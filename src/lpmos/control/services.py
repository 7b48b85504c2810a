"""All that the control plane's calls work on, put together from a store and its mirror.

One object is handed to the application; each part of it is a service of `lpmos.core` or of this
package, and knows nothing of the others but what it is given here.
"""

from lpmos.control.access import Door
from lpmos.control.auth import TokenSigner
from lpmos.control.config import ControlConfig
from lpmos.control.health import Health
from lpmos.control.live import LiveHub
from lpmos.control.observation import Observation
from lpmos.control.pages import Pages
from lpmos.control.session import Sessions
from lpmos.core.clock import Clock
from lpmos.core.fleet import Fleet
from lpmos.core.tasks import Tasks
from lpmos.store.api import Store
from lpmos.store.mirror import Mirror


class Services:
    """The services of one control plane; the mirror and `run` are run by the caller."""

    def __init__(
        self,
        store: Store,
        mirror: Mirror,
        *,
        signer: TokenSigner,
        clock: Clock,
        config: ControlConfig | None = None,
    ) -> None:
        config = config or ControlConfig()
        self.config = config
        self.fleet = Fleet(mirror)
        self.tasks = Tasks(store, self.fleet, clock, second_person=config.second_person)
        self.door = Door(signer)
        self.sessions = Sessions(signer, clock)
        self.hub = LiveHub(self.fleet)
        self.health = Health(store, self.fleet)
        self.observation = Observation(self.fleet, self.hub.count)
        self.pages = Pages(self.door)
