"""A task's setup as shell scripts that run in the new root: users, packages, commands.

The rule: text of a user stands in a script only as one quoted word (`shlex`), but for a command,
which is a script of its own. Each script runs by itself under `/bin/sh`, ends at its first failing
line, and says on its output what is wrong. What differs between distributions is in
`lpmos.install.packages`.

Sources: useradd(8), usermod(8), chpasswd(8), sudoers(5), localtime(5), locale.conf(5).
"""

import shlex
from collections.abc import Iterator

import msgspec

from lpmos.install.packages import GROUP, install_script, packages_of
from lpmos.model.installplan import Step
from lpmos.model.setup import Account, Setup, TaskSecrets
from lpmos.model.task import Task

QUICK_S = 120
PACKAGES_S = 3600
COMMAND_S = 1800
TITLE_CHARACTERS = 60

_USER = """\
set -eu
fail() { echo "$*"; exit 1; }
[ -x "$shell" ] || fail "there is no shell $shell: name its package, or another shell"
if uid=$(id -u "$name" 2>/dev/null); then
    [ "$uid" -ge 1000 ] || fail "$name is a user of the system itself: choose another name"
    usermod --shell "$shell" "$name"
else
    useradd --create-home --shell "$shell" "$name"
fi
for group in $groups; do
    getent group "$group" >/dev/null || groupadd "$group"
    usermod --append --groups "$group" "$name"
done
home=$(getent passwd "$name" | cut -d: -f6)
group=$(id -g "$name")
if [ "$#" -gt 0 ]; then
    mkdir -p "$home/.ssh"
    printf '%s\\n' "$@" >"$home/.ssh/authorized_keys"
    chmod 700 "$home/.ssh"
    chmod 600 "$home/.ssh/authorized_keys"
    chown -R "$name:$group" "$home/.ssh"
fi
if [ -n "$sudo" ]; then
    mkdir -p /etc/sudoers.d
    printf '%s %s\\n' "$name" "$sudo" >"/etc/sudoers.d/lpmos-$name"
    chmod 440 "/etc/sudoers.d/lpmos-$name"
    visudo -cqf "/etc/sudoers.d/lpmos-$name"
fi
if [ -n "$hash" ]; then
    printf '%s:%s\\n' "$name" "$hash" | chpasswd -e
fi
"""
_SUDO = {
    None: "",
    "password": "ALL=(ALL:ALL) ALL",
    "nopasswd": "ALL=(ALL:ALL) NOPASSWD: ALL",
}
_TIME_ZONE = """\
set -eu
[ -f "/usr/share/zoneinfo/$zone" ] || { echo "there is no time zone $zone (tzdata)"; exit 1; }
ln -sfn "/usr/share/zoneinfo/$zone" /etc/localtime
[ ! -e /etc/timezone ] || printf '%s\\n' "$zone" >/etc/timezone
"""
_LOCALE = """\
set -eu
language=${locale%%[.@]*} charset=UTF-8 modifier=
case $locale in *.*) charset=${locale#*.} charset=${charset%%@*} ;; esac
case $locale in *@*) modifier=@${locale#*@} ;; esac
case $language in
C | POSIX) ;;
*)
    if [ -f /etc/locale.gen ]; then
        printf '%s %s\\n' "$locale" "$charset" >>/etc/locale.gen
    fi
    locale -a | grep -qixF -e "$locale" -e "$language.$(printf %s "$charset" | tr -d -)$modifier" ||
        localedef -i "$language$modifier" -f "$charset" "$locale"
    ;;
esac
printf 'LANG=%s\\n' "$locale" >/etc/locale.conf
[ ! -d /etc/default ] || printf 'LANG=%s\\n' "$locale" >/etc/default/locale
"""


def steps(
    task: Task, secrets: TaskSecrets, family: str, *, by_installer: bool = False
) -> tuple[Step, ...]:
    """What runs in the new root, in order; nothing where the task says nothing.

    Args:
        task: whose setup it is.
        secrets: the sealed part of it, opened.
        family: of the image, or of the installer.
        by_installer: groups of packages are left to the installer's own list: which of them are
            there already, nothing can tell without the repositories.

    Raises:
        ImageError: packages are needed, and how this family installs them is not known.
    """
    setup = task.setup
    if by_installer:
        single = tuple(name for name in setup.packages if not name.startswith(GROUP))
        setup = msgspec.structs.replace(setup, packages=single)
    return tuple(_steps(setup, secrets, family))


def listed_packages(setup: Setup, family: str, *, makes_locale: bool = True) -> tuple[str, ...]:
    """What an installer's own list names: a setup's packages, and those of what it needs.

    But for the locale, where the installer makes it itself.
    """
    programs = (each for each in _programs(setup) if each != "localedef" or not makes_locale)
    return tuple(dict.fromkeys((*setup.packages, *packages_of(family, programs))))


def exports(secrets: TaskSecrets) -> str:
    """Shell lines that put the secret values into the environment."""
    return "".join(
        f"export {name}={shlex.quote(value)}\n" for name, value in sorted(secrets.values.items())
    )


def _programs(setup: Setup) -> Iterator[str]:
    """The programs that the setup itself needs, by the names of `lpmos.install.packages`."""
    if any(user.sudo for user in setup.users):
        yield "sudo"
    if setup.locale and not setup.locale.startswith(("C", "POSIX")):
        yield "localedef"
    if setup.cloud_init:
        yield "cloud-init"
    if setup.ansible:
        yield "ansible-pull"
        yield "git"
    if setup.puppet:
        yield "puppet"


def _steps(setup: Setup, secrets: TaskSecrets, family: str) -> Iterator[Step]:
    needed = list(_programs(setup))
    if setup.packages or needed:
        script = install_script(family, setup.packages, needed)
        yield Step(title="packages", script=script, timeout_s=PACKAGES_S)
    if setup.timezone:
        script = f"zone={shlex.quote(setup.timezone)}\n{_TIME_ZONE}"
        yield Step(title=f"time zone {setup.timezone}", script=script, timeout_s=QUICK_S)
    if setup.locale:
        script = f"locale={shlex.quote(setup.locale)}\n{_LOCALE}"
        yield Step(title=f"locale {setup.locale}", script=script, timeout_s=QUICK_S)
    if secrets.root_password_hash:
        text = shlex.quote(f"root:{secrets.root_password_hash}")
        yield Step(
            title="password of root",
            script=f"set -eu\nprintf '%s\\n' {text} | chpasswd -e\n",
            timeout_s=QUICK_S,
            secrets=(secrets.root_password_hash,),
        )
    for user in setup.users:
        yield _user(user, secrets.password_hashes.get(user.name, ""))
    for number, command in enumerate(setup.commands, start=1):
        yield Step(
            title=f"command {number} of {len(setup.commands)}: {_first_line(command)}",
            script=f"{exports(secrets)}set -e\n{command}\n",
            timeout_s=COMMAND_S,
            secrets=secrets.texts,
        )


def _user(user: Account, password_hash: str) -> Step:
    values = {
        "name": user.name,
        "shell": user.shell,
        "groups": " ".join(user.groups),
        "sudo": _SUDO[user.sudo],
        "hash": password_hash,
    }
    lines = [f"{name}={shlex.quote(value)}" for name, value in values.items()]
    lines.append(f"set -- {shlex.join(user.ssh_keys)}".rstrip())
    return Step(
        title=f"user {user.name}",
        script="\n".join(lines) + "\n" + _USER,
        timeout_s=QUICK_S,
        secrets=(password_hash,) if password_hash else (),
    )


def _first_line(command: str) -> str:
    line = " ".join(command.strip().partition("\n")[0].split())
    return line if len(line) <= TITLE_CHARACTERS else line[: TITLE_CHARACTERS - 1] + "…"
