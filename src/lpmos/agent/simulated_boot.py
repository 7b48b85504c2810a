"""What a simulated machine's firmware does before its agent runs: it asks for the boot script.

The script's kernel line says how the agent comes in, as it does for a machine's own agent. A script
that has no kernel line (the region prepares, or sends the machine to its disk) is asked for again
for a while; then the agent runs as one without a boot script does.
"""

import http.client
import re
from urllib.parse import quote, urlsplit

from lpmos.agent.console import Console
from lpmos.agent.options import Options, kernel_arguments, read_options
from lpmos.agent.pace import Pace
from lpmos.agent.stop import Stop

TRIES = 10
ANSWER_TIMEOUT_S = 10.0
SCRIPT_LIMIT_BYTES = 1 << 16
_KERNEL = re.compile(r"^kernel \S+ (.*?)(?: \|\| .*)?$", re.MULTILINE)


def booted(options: Options, console: Console, stop: Stop, pace: Pace) -> Options:
    """The options with what the boot script adds.

    Raises:
        Stopped: the run was told to end.
        BadOptions: the script's kernel line is none.
    """
    backoff = pace.backoff()
    for number in range(TRIES):
        if number:
            stop.wait(next(backoff))
        script = _script(options)
        if script is None:
            return options
        if line := _KERNEL.search(script):
            return _with_arguments(options, kernel_arguments(line[1]))
    console.warn("the boot script starts no agent; the simulated machine runs it all the same")
    return options


def _with_arguments(options: Options, arguments: dict[str, str]) -> Options:
    """What came by the kernel line; the region stays the one that was asked for, unless by TLS."""
    said = read_options([], {}, {"lpmos_client": options.regional_url, **arguments})
    url = said.regional_url if said.ca_sha256 else options.regional_url
    return options._replace(
        regional_url=url,
        nonce=said.nonce,
        ca_sha256=said.ca_sha256,
        boot_url=options.regional_url if said.ca_sha256 else None,
        trace=said.trace,
    )


def _script(options: Options) -> str | None:
    """The boot script; empty where the region does not answer now, None where it has none."""
    parts = urlsplit(options.regional_url)
    query = f"mac={quote(options.mac or '')}&sn={quote(options.sn or '')}&platform=simulated"
    connection = http.client.HTTPConnection(
        parts.hostname or "", parts.port, timeout=ANSWER_TIMEOUT_S
    )
    try:
        connection.request("GET", f"{parts.path}/boot/ipxe?{query}")
        answer = connection.getresponse()
        if answer.status == 404:
            return None
        return answer.read(SCRIPT_LIMIT_BYTES).decode(errors="replace")
    except (OSError, http.client.HTTPException):
        return ""
    finally:
        connection.close()
