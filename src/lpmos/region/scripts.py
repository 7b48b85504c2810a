"""iPXE scripts: what a machine is sent, as pure text.

The rule: whatever a script meets, it ends in asking the region again or in the machine's own disk,
never in a dead prompt. All text that did not come from this file passes `plain`, so that nothing a
machine or a person wrote can become a command or a `${setting}`.

Commands: ipxe.org/cmd. `chain --replace` makes the called script take the caller's place, so that
its exit status is the firmware's and a caller's `||` sees only a failed download.
"""

import re

import msgspec

from lpmos.model.tracecontext import TraceContext

RETRY_S = 5
"""How long a machine waits where the region did not answer or a download broke."""
PANIC_S = 180
"""How long a kernel of the agent that panicked leaves its words on the console: long enough, too,
for `lpmos explain` to name the cause, a minute after the agent's files had gone out."""

_NOT_PLAIN = re.compile(r"[^A-Za-z0-9 .,:;'`_/@=()-]+")
_OPTION = re.compile(r"(?<![^ ])-+")
"""A word that iPXE's `echo` would take for an option, and end the script over."""
TEXT_CHARACTERS = 200
LOADS = 60
"""How often an installer's files are asked for before the machine gives up."""


class AgentFiles(msgspec.Struct, frozen=True):
    """Where the agent is to be had: paths on the region; `arguments` end its kernel's line."""

    kernel: str
    initramfs: str
    arguments: str = ""


class AgentCall(msgspec.Struct, frozen=True):
    """How the agent calls the region: where, with which nonce, and by TLS the CA's fingerprint.

    `trace` is the span of its task, which its calls have as their parent.
    """

    url: str
    nonce: str
    ca_sha256: str | None = None
    trace: TraceContext | None = None


def plain(text: str) -> str:
    """Text that iPXE prints as it stands: one line, no `$` and no operators, bounded."""
    line = _OPTION.sub("?", " ".join(text.split()))
    return _NOT_PLAIN.sub("?", line)[:TEXT_CHARACTERS].rstrip()


def entry_script(base_url: str) -> str:
    """The script that DHCP names, the same for every machine: it asks what this machine shall do.

    `netX` is the card that iPXE booted from. A 503, a refused connection or an answer that is no
    script brings the machine back here.
    """
    return f"""#!ipxe
:ask
echo LPMOS: asking {base_url}
chain --replace --autofree {base_url}/boot/ipxe?mac=${{netX/mac:hexhyp}}&sn=${{serial:uristring}}\
&uuid=${{uuid}}&arch=${{buildarch}}&platform=${{platform}} ||
echo LPMOS: the region cannot answer now, asking again in {RETRY_S} s
sleep {RETRY_S} ||
goto ask
"""


def agent_script(base_url: str, files: AgentFiles, call: AgentCall, reason: str) -> str:
    """Load the agent into RAM and start it.

    `initrd=initrd` is how a UEFI kernel finds the initramfs; BOOTIF names the card to the agent.
    `loglevel=4` keeps all but the kernel's errors, and with them the nonce, off recorded consoles;
    after `panic` seconds a kernel that stopped restarts the machine, which asks again.
    """
    trust = f" lpmos_ca=sha256:{call.ca_sha256} lpmos_boot={base_url}" if call.ca_sha256 else ""
    trace = f" lpmos_trace={call.trace}" if call.trace else ""
    arguments = f" {files.arguments}" if files.arguments else ""
    return f"""#!ipxe
echo LPMOS: {plain(reason)}
imgfree ||
kernel {base_url}{files.kernel} initrd=initrd lpmos_client={call.url} \
lpmos_nonce={call.nonce}{trust}{trace} BOOTIF=01-${{netX/mac:hexhyp}} \
console=tty0 console=ttyS0,115200n8 loglevel=4 panic={PANIC_S}{arguments} || goto again
initrd --name initrd {base_url}{files.initramfs} || goto again
boot ||
:again
echo LPMOS: the agent could not be loaded, asking again in {RETRY_S} s
imgfree ||
{_ask_again(base_url, RETRY_S)}"""


class InstallerFiles(msgspec.Struct, frozen=True):
    """A distribution's installer: paths on the region, and its kernel line."""

    kernel: str
    initrd: str
    line: str


def installer_script(base_url: str, files: InstallerFiles, reason: str) -> str:
    """Load a distribution's installer and start it; given once, so it asks for files, not again.

    What breaks on the way is loaded again by this same script, `LOADS` times; then, and where an
    installer ends without having started anything, it leads back to the region. That gives it no
    second time: the agent's report fails the task, and the machine starts its own disk.
    """
    return f"""#!ipxe
echo LPMOS: {plain(reason)}
set tries:int32 0
:load
imgfree ||
kernel {base_url}{files.kernel} initrd=initrd {files.line} || goto again
initrd --name initrd {base_url}{files.initrd} || goto again
boot ||
goto given
{_load_again(base_url, "the installer")}"""


class WindowsFiles(msgspec.Struct, frozen=True):
    """Windows's installer: paths on the region; `also` are names with whole URLs or paths."""

    wimboot: str
    wim: str
    also: tuple[tuple[str, str], ...]


def windows_script(base_url: str, files: WindowsFiles, reason: str) -> str:
    """Load Windows PE with its files into RAM and start it; given once, as an installer's.

    wimboot takes the files by their names, and puts those that are not its own into the directory
    of Windows PE's programs. It never comes back; where it could not start, the region is asked.
    """
    loads = "".join(
        f"initrd --name {name} {url if '://' in url else base_url + url} {name} || goto again\n"
        for name, url in (*files.also, ("boot.wim", files.wim))
    )
    return f"""#!ipxe
echo LPMOS: {plain(reason)}
set tries:int32 0
:load
imgfree ||
kernel --name wimboot {base_url}{files.wimboot} || goto again
{loads}boot ||
goto given
{_load_again(base_url, "Windows PE")}"""


def local_disk_script(reason: str, _installed_by: str | None = None) -> str:
    """Go on to the firmware's next boot entry: a plain `exit` would open the menu on UEFI."""
    return f"#!ipxe\necho LPMOS: booting the local disk: {plain(reason)}\nexit 1\n"


def wait_script(base_url: str, reason: str, retry_after_s: int) -> str:
    """Say why, wait, and ask again."""
    return f"""#!ipxe
echo LPMOS: {plain(reason)}
{_ask_again(base_url, retry_after_s)}"""


def _load_again(base_url: str, what: str) -> str:
    """The end of a script that is given once: from `again` it loads anew, from `given` it asks."""
    return f""":again
inc tries || goto given
iseq ${{tries}} {LOADS} && goto given ||
echo LPMOS: {what} could not be loaded, trying again in {RETRY_S} s
sleep {RETRY_S} ||
goto load
:given
imgfree ||
{_ask_again(base_url, RETRY_S)}"""


def _ask_again(base_url: str, pause_s: int) -> str:
    return f""":wait
sleep {pause_s} ||
chain --replace --autofree {base_url}/boot/boot.ipxe ||
goto wait
"""
