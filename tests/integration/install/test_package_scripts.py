"""The packages of a setup as shells run their script, for package managers that note their words.

dpkg-query is dpkg's own over a database of the test; rpm is made up, as are dnf, yum, zypper and
apt-get.
"""

import shutil
import subprocess
from pathlib import Path

import pytest

from lpmos.install.packages import MANAGERS, install_script
from tests.support.answer_scripts import SHELLS

POLICY = "/usr/sbin/policy-rc.d"
SH = [str(shutil.which("sh"))]
TIMEOUT_S = 60
DPKG_STATUS = """\
Package: tmux
Status: install ok installed
Architecture: amd64
Version: 3.3a-3
Maintainer: nobody
Description: a terminal

Package: exim4-daemon-light
Status: install ok installed
Architecture: amd64
Version: 4.96-15
Provides: default-mta (= 4.96-15), mail-transport-agent
Maintainer: nobody
Description: mail

Package: git
Status: deinstall ok config-files
Architecture: amd64
Version: 1:2.39.5-0
Provides: git-completion
Maintainer: nobody
Description: was removed
"""
RPM = """\
case "$*" in
'-q tmux' | '-q tmux-3.3a-3.x86_64' | '-q --whatprovides git-core') exit 0 ;;
*) echo "package is not installed"; exit 1 ;;
esac"""


class System:
    """The programs that a script finds, and what its package manager was told."""

    def __init__(self, place: Path) -> None:
        self.place = place
        self.programs = place / "bin"
        self.told = place / "told"
        (place / "dpkg").mkdir()
        self.programs.mkdir()
        (place / "dpkg/status").write_text(DPKG_STATUS)
        for name in ("sed", "grep", "rm", "chmod"):
            (self.programs / name).symlink_to(str(shutil.which(name)))
        query = f'exec {shutil.which("dpkg-query")} --admindir={place}/dpkg "$@"'
        self.add("dpkg-query", query)
        self.add("rpm", RPM)
        self.add("puppet", "")

    def add(self, name: str, script: str) -> None:
        """A program."""
        (self.programs / name).write_text(f"#!{SH[0]}\n{script}\n")
        (self.programs / name).chmod(0o755)

    def add_managers(self, *names: str) -> None:
        """Package managers that note what they are told."""
        for name in names:
            self.add(name, f'printf "%s\\n" "{name} $*" >>{self.told}')

    def run(self, shell: list[str], family: str, packages: list[str], *programs: str) -> list[str]:
        """What the package managers were told."""
        script = self.place / "script.sh"
        text = install_script(family, packages, programs)
        script.write_text(text.replace(POLICY, f"{self.place}/policy-rc.d"))
        done = subprocess.run(
            [*shell, str(script)],
            env={"PATH": str(self.programs), "LC_ALL": "C"},
            capture_output=True,
            text=True,
            timeout=TIMEOUT_S,
            check=False,
        )
        assert (done.returncode, done.stderr) == (0, "")
        return self.told.read_text().splitlines() if self.told.exists() else []


@pytest.fixture
def system(tmp_path: Path) -> System:
    return System(tmp_path)


@pytest.mark.parametrize("shell", SHELLS)
@pytest.mark.parametrize(
    ("family", "there"),
    [
        ("debian", ["tmux", "tmux:amd64", "tmux=3.3a-3", "default-mta", "mail-transport-agent"]),
        ("rhel", ["tmux", "tmux-3.3a-3.x86_64", "git-core"]),
        ("suse", ["tmux", "git-core"]),
        ("debian", []),
    ],
)
def test_package_manager_is_told_nothing_where_all_is_there(
    shell: list[str], family: str, there: list[str], system: System
) -> None:
    system.add_managers("apt-get", "dnf", "zypper")
    assert system.run(shell, family, there, "puppet") == []


@pytest.mark.parametrize("shell", SHELLS)
@pytest.mark.parametrize("family", sorted(MANAGERS))
def test_package_manager_is_told_what_is_missing_alone(
    shell: list[str], family: str, system: System
) -> None:
    system.add_managers("apt-get", "dnf", "yum", "zypper")
    told = system.run(shell, family, ["tmux", "git", "g++", "tm"], "puppet", "cloud-init")
    installs = [line.partition(" -- ")[2] for line in told if " install " in line]
    assert installs == ["git g++ tm cloud-init"]
    assert not any(line.startswith("yum") for line in told)


@pytest.mark.parametrize("name", ["tmux=3.4-1", "tmux:i386", "git-completion", "t.ux", "3.3a-3"])
def test_debian_package_of_another_version_or_architecture_or_of_a_removed_one_is_missing(
    name: str, system: System
) -> None:
    system.add_managers("apt-get")
    told = system.run(SH, "debian", [name])
    assert told[1].endswith(f" install -- {name}")


def test_yum_installs_where_there_is_no_dnf_and_every_name_must_be_known(system: System) -> None:
    system.add_managers("yum")
    assert system.run(SH, "rhel", ["tmux", "git"]) == [
        "yum -y --setopt=skip_missing_names_on_install=False install -- git",
        "yum -y clean packages",
    ]
