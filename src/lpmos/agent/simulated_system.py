"""The system that a simulated machine starts after its install: it says that it came up, for real.

It reads its one request from the file that a real disk would have, so that a region is tested with
what it gave out itself.
"""

import json
from typing import NamedTuple

from lpmos.agent.caller import Caller
from lpmos.agent.console import Console
from lpmos.agent.errors import AgentError, InstallError
from lpmos.agent.pace import Pace
from lpmos.agent.plan import File
from lpmos.agent.region import Region
from lpmos.agent.stop import Stop

REQUEST = "/etc/lpmos/first-boot.request"
START_S = 1.0
"""What a simulated start takes."""


class SimulatedSystem(NamedTuple):
    """What is on the disk of a simulated machine: files of its plan, with the token filled in."""

    first_boot: tuple[File, ...]
    token: str
    region: Region

    def start(self, console: Console, stop: Stop, pace: Pace) -> bool:
        """Start, and say that it came up; whether the region took it.

        One whose plan has no first boot says nothing.
        """
        if not self.first_boot:
            return True
        try:
            stop.wait(pace.asked(START_S))
            caller = Caller(self.region, console, stop, pace)
            answer = caller.call("POST", "/installed", self._request())
        except AgentError as error:
            console.error(f"the installed system could not say that it came up: {error}")
            return False
        if answer.status != 200:
            console.error(f"the region does not take that the system came up: {answer.text()}")
            return False
        console.info("the installed system came up, and the region knows it (simulated)")
        return True

    def _request(self) -> dict[str, object]:
        """The request as it stands on the disk.

        Raises:
            InstallError: the plan has none that could be sent.
        """
        content = next((f.content for f in self.first_boot if f.path == REQUEST), "")
        try:
            request = json.loads(content.replace("{{FIRST_BOOT_TOKEN}}", self.token))
        except ValueError:
            request = None
        if not isinstance(request, dict):
            raise InstallError(f"the plan's {REQUEST} is no JSON object")
        return request
