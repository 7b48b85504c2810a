"""What has to succeed in the installed system before it is said to be up: its first boot's scripts.

The rule: `lpmos.install.first_boot` runs them in the order of their names, and takes away all that
is written here when they are done. Text of a user stands in them only as one quoted word.

Sources: cloud-init(1) `status --wait`, ansible-pull(1), puppet-agent(8) for `--detailed-exitcodes`.
"""

import shlex
from collections.abc import Iterator

import msgspec

from lpmos.install.steps import exports
from lpmos.model.installplan import PlannedFile
from lpmos.model.setup import Ansible, Puppet, TaskSecrets
from lpmos.model.task import Task

DIRECTORY = "/etc/lpmos/first-boot.d"
VALUES = "/etc/lpmos/first-boot.env"
VARIABLES = "/etc/lpmos/ansible-variables.json"
CHECKOUT = "/var/lib/lpmos/ansible"

LONGEST_S = 3600
"""How long all hooks together may take."""
REACHED_S = 300
"""How long they wait for the network: until the region can be reached."""
OUTPUT_CHARACTERS = 2000
"""How much is told of a failed hook's output: its end."""

RUN = r"""
# The end of a file as it may stand in JSON: printable ASCII, without the secret values.
plain() {
    local text value
    text=$(tail -c 16000 "$1" | tr -d '\0')
    while IFS= read -r value; do
        ((${#value} < 4)) || text=${text//"$value"/***}
    done < <(secrets)
    text=$(tr '\t' ' ' <<<"$text" | tr -cd '\12\40-\176' | tail -c @OUTPUT@)
    text=${text//\\/\\\\}
    text=${text//\"/\\\"}
    printf '%s' "${text//$'\n'/\\n}"
}

# The lines of the secret values, which must not be said: the longest first, one may be in another.
secrets() {
    [[ -f @VALUES@ ]] || return 0
    env -i bash -c 'set -a; . "$0"; exec env -0' @VALUES@ | tr '\0' '\n' |
        sed 's/^[A-Za-z0-9_]*=//' |
        while IFS= read -r value; do printf '%06d %s\n' "${#value}" "$value"; done |
        sort -r | cut -c8-
}

# Run the hooks; the first that fails is what is said then.
run_hooks() {
    local hook name output status limit_s until_s=$((SECONDS + @REACHED@))
    [[ -d @HOOKS@ ]] || return 0
    until (exec 3<>"/dev/tcp/$host/$port") 2>/dev/null || ((SECONDS >= until_s)); do
        sleep 2
    done
    until_s=$((SECONDS + @HOOKS_S@))
    output=$(mktemp)
    for hook in @HOOKS@/*; do
        name=${hook##*/}
        name=${name#[0-9][0-9]-}
        say "running $name"
        limit_s=$((until_s - SECONDS))
        status=0
        timeout -k 30 "$((limit_s > 1 ? limit_s : 1))" "$hook" </dev/null >"$output" 2>&1 ||
            status=$?
        cat "$output"
        ((status == 0)) && continue
        say "$name failed with exit status $status"
        word=",\"status\":\"failed\",\"message\":\"$name failed with exit status $status"
        ((status == 124)) && word+=" (it took too long)"
        word+="\",\"output\":\"$(plain "$output")\""
        break
    done
    rm -f "$output"
}
"""

_HEAD = f"""\
#!/bin/sh
set -eu
export PATH=$PATH:/opt/puppetlabs/bin HOME=/root
[ ! -f {VALUES} ] || . {VALUES}
"""
_CLOUD_INIT = f"""\
{_HEAD}\
status=0
cloud-init status --wait --long || status=$?
[ "$status" -eq 0 ] || [ "$status" -eq 2 ] || exit "$status"
"""
"""Status 2: cloud-init went on after an error that it could put up with."""


def files(task: Task, secrets: TaskSecrets) -> tuple[PlannedFile, ...]:
    """The hooks of a task and what they read; nothing where it has none."""
    return tuple(_files(task, secrets))


def _files(task: Task, secrets: TaskSecrets) -> Iterator[PlannedFile]:
    setup = task.setup
    if not setup.has_hooks:
        return
    if secrets.values:
        yield PlannedFile(path=VALUES, content=exports(secrets), mode=0o600)
    if setup.cloud_init:
        yield _hook("10-cloud-init", _CLOUD_INIT)
    if setup.ansible:
        variables = msgspec.json.encode(setup.ansible.variables).decode()
        yield PlannedFile(path=VARIABLES, content=variables, mode=0o600)
        yield _hook("20-ansible", _ansible(setup.ansible))
    if setup.puppet:
        yield _hook("30-puppet", _puppet(setup.puppet, task.hostname))


def _hook(name: str, script: str) -> PlannedFile:
    return PlannedFile(path=f"{DIRECTORY}/{name}", content=script, mode=0o700)


def _ansible(ansible: Ansible) -> str:
    words = ["ansible-pull", "--url", ansible.repository, "--directory", CHECKOUT]
    if ansible.branch:
        words += ["--checkout", ansible.branch]
    words += ["--inventory", _inventory(ansible), "--extra-vars", f"@{VARIABLES}"]
    return f"{_HEAD}exec {shlex.join([*words, ansible.playbook])}\n"


def _inventory(ansible: Ansible) -> str:
    return f"{CHECKOUT}/{ansible.inventory}" if ansible.inventory else "localhost,"


def _puppet(puppet: Puppet, hostname: str) -> str:
    settings = {
        "server": puppet.server,
        "environment": puppet.environment,
        "certname": puppet.certname or hostname,
    }
    keep = [f"puppet config set --section agent {name} {shlex.quote(value)}\n"
            for name, value in settings.items()]  # fmt: skip
    return (
        f"{_HEAD}{''.join(keep)}"
        "status=0\n"
        "puppet agent --onetime --no-daemonize --no-splay --verbose --detailed-exitcodes"
        " --waitforcert 30 --color false || status=$?\n"
        '[ "$status" -eq 0 ] || [ "$status" -eq 2 ] || exit "$status"\n'
    )
