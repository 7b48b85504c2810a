"""The one sender that the rest knows: it chooses by the scheme of the URL."""

from lpmos.control.notify.http import HttpSender
from lpmos.control.notify.reach import Reach
from lpmos.control.notify.service import ServiceSender
from lpmos.core.clock import Clock
from lpmos.core.notifications.webhooks import Letter, Sender
from lpmos.model.webhook import HTTP_SCHEMES, Outcome


class Senders:
    """Signed messages for `http` and `https`, mail and chat services for all else."""

    def __init__(self, clock: Clock, reach: Reach | None = None) -> None:
        """`reach` bounds what tenants' webhooks connect to."""
        self._http = HttpSender(clock, reach or Reach())
        self._services = ServiceSender(clock)

    async def refusal(self, url: str, tenant: str | None) -> str | None:
        """Why a webhook of this tenant cannot have this URL; None where it can."""
        return await self._for(url).refusal(url, tenant)

    async def send(self, letter: Letter) -> Outcome:
        """Try once, within a bounded time; whatever goes wrong is told in the outcome."""
        return await self._for(letter.url).send(letter)

    async def close(self) -> None:
        """Let the threads go."""
        await self._services.close()

    def _for(self, url: str) -> Sender:
        is_http = url.partition(":")[0].lower() in HTTP_SCHEMES
        return self._http if is_http else self._services
