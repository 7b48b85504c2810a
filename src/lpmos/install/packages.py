"""How each family installs packages, and what it calls the programs that a setup needs.

The rule: this table is the only place of the package that tells one package manager from another.
"""

import shlex
from collections.abc import Iterable, Mapping
from types import MappingProxyType
from typing import NamedTuple

from lpmos.model.errors import ImageError


class PackageManager(NamedTuple):
    """`install` is a shell script with `"$@"` for the names; `named` are packages by program."""

    install: str
    named: Mapping[str, str]


_APT = PackageManager(
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
    """\
dnf -y install -- "$@"
dnf -y clean packages
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
_ZYPPER = PackageManager(
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
    """A script that installs packages, and those of programs that are not there yet.

    Raises:
        ImageError: it is not known how this family installs any.
    """
    manager = MANAGERS.get(family)
    if manager is None:
        raise ImageError(
            f"packages cannot be installed into the family {family!r}; known: {', '.join(MANAGERS)}"
        )
    lines = ["set -eu", "export PATH=$PATH:/opt/puppetlabs/bin"]
    lines.append(f"set -- {shlex.join(packages)}".rstrip())
    lines += [
        f'command -v {shlex.quote(program)} >/dev/null || set -- "$@" {manager.named[program]}'
        for program in programs
    ]
    lines.append('[ "$#" -gt 0 ] || exit 0')
    return "\n".join(lines) + "\n" + manager.install
