"""What makes an installed system say once that it came up: a systemd unit and its script.

The rule: it needs nothing but systemd and bash, it holds up nothing of the system's own start, and
it leaves nothing behind: when the region has heard it, or will not any more, or after an hour, the
script, its unit, the hooks and the token are gone. Where the task has hooks, they run first: the
word is that the system came up only where all of them succeeded, else that it failed, and with
what; no secret value is in that.

Sources: systemd.unit(5) for drop-ins in place of links, bash(1) for `/dev/tcp`, RFC 9112.
"""

from urllib.parse import urlsplit

import msgspec

from lpmos.install import hooks
from lpmos.model.durations import FIRST_BOOT
from lpmos.model.installplan import PlannedFile
from lpmos.model.setup import NO_SECRETS, TaskSecrets
from lpmos.model.task import Task
from lpmos.model.trace import span_of

SCRIPT = "/usr/local/sbin/lpmos-first-boot"
REQUEST = "/etc/lpmos/first-boot.request"
UNIT = "/etc/systemd/system/lpmos-first-boot.service"
WANTED = "/etc/systemd/system/multi-user.target.d/lpmos-first-boot.conf"
TOKEN = "{{FIRST_BOOT_TOKEN}}"  # noqa: S105 - the place of one
PATH = "/api/v1/installed"
LONGEST_S = 3600
"""How long the installed system goes on asking."""

_UNIT = f"""\
[Unit]
Description=Tell LPMOS that this system came up
After=multi-user.target
ConditionPathExists={REQUEST}

[Service]
Type=exec
ExecStart=/bin/bash {SCRIPT}
SyslogIdentifier=lpmos-first-boot
StandardOutput=journal+console
StandardError=journal+console
"""

_WANTED = """\
[Unit]
Wants=lpmos-first-boot.service
"""

_SCRIPT = """\
#!/bin/bash
# Tells the region of LPMOS once that this system came up, then removes itself.
set -u
export LC_ALL=C PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin
host=@HOST@ port=@PORT@
request=@REQUEST@
longest_s=@LONGEST@
word=""

say() { echo "LPMOS: $*"; }

# The status of the region's answer; 000 where there is none.
ask() {
    local body protocol status rest
    body=$(<"$request") || return
    body="${body%\\}}$word}"
    {
        printf 'POST @PATH@ HTTP/1.1\\r\\nHost: @AUTHORITY@\\r\\n' &&
            printf 'Content-Type: application/json\\r\\nConnection: close\\r\\n' &&
            printf 'traceparent: @TRACE@\\r\\n' &&
            printf 'Content-Length: %d\\r\\n\\r\\n%s' "${#body}" "$body"
    } >&3 || return
    read -r -t 20 protocol status rest <&3 || return
    [[ $protocol == HTTP/1.* && $status =~ ^[0-9]{3}$ ]] && echo "$status"
}

@RUN@
remove() {
    rm -rf "$request" "@UNIT@" "@WANTED@" "@HOOKS@" "@VALUES@" "@VARIABLES@" "@SCRIPT@"
    rmdir --ignore-fail-on-non-empty "${request%/*}" "@WANTED_DIR@"
    systemctl --no-block daemon-reload
}

main() {
    local pause_s=1 status what="that this system came up"
    run_hooks
    [[ -z $word ]] || what="what failed"
    say "telling the region at @AUTHORITY@ $what"
    SECONDS=0
    until ((SECONDS >= longest_s)); do
        status=$(timeout 30 /bin/bash "$0" ask "$word" 2>/dev/null) || status=000
        case ${status:-000} in
        200)
            say "the region knows $what"
            break
            ;;
        408 | 425 | 429 | 000 | 5??) ;;
        *)
            say "the region does not take it (HTTP status $status); the task's page says why"
            break
            ;;
        esac
        ((pause_s > 1)) || say "the region does not answer yet; asking again for up to an hour"
        sleep "$pause_s"
        pause_s=$((pause_s < 16 ? pause_s * 2 : 30))
    done
    ((SECONDS < longest_s)) || say "the region did not answer within an hour; giving up"
    remove
}

if [[ ${1-} == ask ]]; then
    word=${2-}
    exec 3<>"/dev/tcp/$host/$port" && ask
    exit
fi
main
exit
"""


def files(
    task: Task, region_url: str, secrets: TaskSecrets = NO_SECRETS
) -> tuple[PlannedFile, ...]:
    """The script, its unit, its one request with the place for the token, and the task's hooks."""
    address = urlsplit(region_url)
    request = msgspec.json.encode(
        {"task_id": task.task_id, "mac_address": task.mac, "token": TOKEN}
    ).decode()
    values = {
        "HOST": address.hostname or "",
        "PORT": str(address.port or 80),
        "AUTHORITY": address.netloc,
        "PATH": PATH,
        "TRACE": str(span_of(task, FIRST_BOOT)),
        "REQUEST": REQUEST,
        "LONGEST": str(LONGEST_S),
        "UNIT": UNIT,
        "WANTED": WANTED,
        "WANTED_DIR": WANTED.rpartition("/")[0],
        "SCRIPT": SCRIPT,
        "HOOKS": hooks.DIRECTORY,
        "VALUES": hooks.VALUES,
        "VARIABLES": hooks.VARIABLES,
        "HOOKS_S": str(hooks.LONGEST_S),
        "REACHED": str(hooks.REACHED_S),
        "OUTPUT": str(hooks.OUTPUT_CHARACTERS),
    }
    script = _SCRIPT.replace("@RUN@", hooks.RUN)
    for name, value in values.items():
        script = script.replace(f"@{name}@", value)
    return (
        PlannedFile(path=REQUEST, content=request, mode=0o600),
        PlannedFile(path=SCRIPT, content=script, mode=0o755),
        PlannedFile(path=UNIT, content=_UNIT),
        PlannedFile(path=WANTED, content=_WANTED),
        *hooks.files(task, secrets),
    )
