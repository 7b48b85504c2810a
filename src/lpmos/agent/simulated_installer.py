"""A distribution's installer on a machine that does not exist: its words to the region are real.

It reads the addresses from its own kernel line, asks for its answer file, tells its progress and
its end, and leaves what the region put beside them for the installed system.
"""

import re
import urllib.error
import urllib.request

from lpmos.agent.errors import InstallError
from lpmos.agent.job import Job
from lpmos.agent.plan import File
from lpmos.agent.simulated_system import REQUEST, SimulatedSystem

TIMEOUT_S = 30.0
_SEED = re.compile(r"=(http://\S+/installer/[^/\s]+)/")
_REQUEST = re.compile(r'^\{"task_id".*\}$', re.MULTILINE)
_STAGES = (("partitioning", 5), ("downloading", 30), ("installing", 60), ("configuring", 95))


def run_installer(kernel_arguments: str, job: Job) -> SimulatedSystem:
    """Install; the system that starts next.

    Raises:
        InstallError: the kernel line names no region, or the region does not take a word.
        Stopped: the run was told to end.
    """
    match = _SEED.search(kernel_arguments)
    if match is None:
        raise InstallError("the installer's kernel line names no answer file")
    seed = match[1]
    _get(f"{seed}/answer")
    for stage, percent in _STAGES:
        job.stop.check()
        _get(f"{seed}/progress?stage={stage}&percent={percent}&message=simulated")
    request = _REQUEST.search(_get(f"{seed}/first-boot"))
    if request is None:
        raise InstallError("the region's first-boot script has no request")
    _get(f"{seed}/installed")
    return SimulatedSystem((File(REQUEST, request[0], 0o600),), "", job.region)


def _get(url: str) -> str:
    try:
        with urllib.request.urlopen(url, timeout=TIMEOUT_S) as answer:  # noqa: S310 - http, see _SEED
            return str(answer.read().decode())
    except urllib.error.HTTPError as error:
        with error:
            said = error.read().decode(errors="replace")
        raise InstallError(f"the region answered an installer with {error.code}: {said}") from error
    except OSError as error:
        raise InstallError(f"the region does not answer an installer: {error}") from error
