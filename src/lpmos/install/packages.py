"""How each family installs packages, and what it calls the programs that a setup needs.

The rule: this table is the only place of the package that tells one package manager from another.
What is there already is left as it is: an installer has installed all of it, and its system may
reach no repository.

Sources: dpkg-query(1), rpm(8), apt-get(8), dnf(8), yum.conf(5), zypper(8).
"""

import shlex
from collections.abc import Iterable, Mapping
from types import MappingProxyType
from typing import NamedTuple

from lpmos.model.errors import ImageError


class PackageManager(NamedTuple):
    """`install` is a shell script with `"$@"` for the names; `named` are packages by program.

    `there` is the body of a shell function: whether `$1` is installed, or what is provides it.
    """

    there: str
    install: str
    named: Mapping[str, str]


GROUP = "@"
"""What the name of a group of packages begins with."""

_RPM = """\
    rpm -q "$1" >/dev/null || rpm -q --whatprovides "$1" >/dev/null
"""
_APT = PackageManager(
    """\
    dpkg-query -W -f '${db:Status-Status}, ${Package}, ${Package}:${Architecture}, \
${Package}=${Version}, ${Provides},\\n' |
        sed -n 's/ ([^)]*)//g; /^installed,/p' | grep -F ", $1," >/dev/null
""",
    """\
export DEBIAN_FRONTEND=noninteractive
policy=/usr/sbin/policy-rc.d
if [ ! -e "$policy" ]; then
    trap 'rm -f "$policy"' EXIT
    printf '#!/bin/sh\\nexit 101\\n' >"$policy"
    chmod 755 "$policy"
fi
apt-get -q -o APT::Update::Error-Mode=any update
apt-get -q -y -o Dpkg::Options::=--force-confold -o Dpkg::Options::=--force-unsafe-io \\
    -o Dpkg::Use-Pty=0 install -- "$@"
apt-get -q clean
""",
    {
        "sudo": "sudo",
        "cloud-init": "cloud-init",
        "ansible-pull": "ansible",
        "git": "git",
        "puppet": "puppet-agent",
        "localedef": "locales",
    },
)
"""Services of packages are not started (Debian's policy-rc.d): the system does not run yet. Nor
does dpkg sync each file: what installs the system flushes all of it at the end."""

_DNF = PackageManager(
    _RPM,
    """\
if command -v dnf >/dev/null; then
    dnf -y install -- "$@"
    dnf -y clean packages
else
    yum -y --setopt=skip_missing_names_on_install=False install -- "$@"
    yum -y clean packages
fi
""",
    {
        "sudo": "sudo",
        "cloud-init": "cloud-init",
        "ansible-pull": "ansible-core",
        "git": "git-core",
        "puppet": "puppet",
        "localedef": "glibc-langpack-en glibc-common",
    },
)
"""RHEL 7 has yum alone, which leaves out names that it does not know unless it is told not to."""

_ZYPPER = PackageManager(
    _RPM,
    """\
zypper --non-interactive --gpg-auto-import-keys refresh
zypper --non-interactive install --auto-agree-with-licenses -- "$@"
zypper --non-interactive clean
""",
    {
        "sudo": "sudo",
        "cloud-init": "cloud-init",
        "ansible-pull": "ansible",
        "git": "git-core",
        "puppet": "puppet",
        "localedef": "glibc-i18ndata",
    },
)

MANAGERS: Mapping[str, PackageManager] = MappingProxyType(
    {"debian": _APT, "ubuntu": _APT, "rhel": _DNF, "suse": _ZYPPER}
)


def install_script(family: str, packages: Iterable[str], programs: Iterable[str]) -> str:
    """A script that installs what is not there yet of packages, and those of programs.

    Raises:
        ImageError: it is not known how this family installs any.
    """
    manager = _manager(family)
    lines = [
        "set -eu",
        "export PATH=$PATH:/opt/puppetlabs/bin",
        f"there() {{\n{manager.there}}}",
        "set --",
        f"for name in {shlex.join(packages)}; do",
        '    there "$name" || set -- "$@" "$name"',
        "done",
    ]
    lines += [
        f'command -v {shlex.quote(program)} >/dev/null || set -- "$@" {manager.named[program]}'
        for program in programs
    ]
    lines.append('[ "$#" -gt 0 ] || exit 0')
    return "\n".join(lines) + "\n" + manager.install


def packages_of(family: str, programs: Iterable[str]) -> tuple[str, ...]:
    """What a family calls the packages of programs; raises as `install_script`."""
    manager = _manager(family)
    return tuple(name for program in programs for name in manager.named[program].split())


def _manager(family: str) -> PackageManager:
    manager = MANAGERS.get(family)
    if manager is None:
        raise ImageError(
            f"packages cannot be installed into the family {family!r}; known: {', '.join(MANAGERS)}"
        )
    return manager
