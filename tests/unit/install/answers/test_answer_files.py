"""One task of each family, letter for letter; the scripts apart."""

import re

import pytest
import yaml
from lxml import etree

from lpmos.install import answers
from lpmos.install.answers import checks, samples
from lpmos.model.diskplan import GIB, PartitionWish, StorageLayout
from lpmos.model.errors import InvalidInput
from lpmos.model.installer import Family
from lpmos.model.network import Bond, BondMode, Ethernet, Network, Vlan
from lpmos.model.setup import Account, Ansible, CloudInit, Puppet, Setup, TaskSecrets
from tests.support.answers import (
    READERS,
    YAST,
    answer_of,
    answer_task,
    appended_by_kickstart,
    arrays_by_kickstart,
    preseed_values,
)
from tests.support.builders import make_task

SETUP = Setup(packages=("tmux",), timezone="Europe/Berlin", locale="de_DE.UTF-8")


def test_debian_disks_by_raid_and_lvm_are_partmans_recipes() -> None:
    task = answer_task(layout=StorageLayout(raid="raid1", lvm=True), setup=SETUP)
    text = answer_of("debian", task)
    values = preseed_values(text)
    assert values["partman-auto/method"] == "raid"
    assert values["partman-auto/expert_recipe"] == (
        "lpmos ::"
        " 1 1 1 free $iflabel{ gpt } $reusemethod{ } $lvmignore{ } method{ biosgrub } ."
        " 537 537 537 fat32 $primary{ } $lvmignore{ } method{ efi } format{ } ."
        " 1074 1074 1074 raid $primary{ } $lvmignore{ } method{ raid } ."
        " 1000 1000000 -1 raid $primary{ } $lvmignore{ } method{ raid } ."
        " 1000 1000000 -1 ext4 $lvmok{ } $defaultignore{ } in_vg{ vg0 } lv_name{ root }"
        " method{ format } format{ } use_filesystem{ } filesystem{ ext4 } mountpoint{ / } ."
    )
    partman = READERS["debian"](text).scripts[1]
    assert (
        'debconf-set partman-auto-raid/recipe "1 2 0 ext4 /boot'
        " $(lpmos_part $lpmos_disk1 3)#$(lpmos_part $lpmos_disk2 3) ."
        ' 1 2 0 lvm - $(lpmos_part $lpmos_disk1 4)#$(lpmos_part $lpmos_disk2 4) ."\n'
    ) in partman
    assert 'debconf-set grub-installer/bootdev "$lpmos_disk1 $lpmos_disk2"\n' in partman


def test_debian_answers_are_the_tasks() -> None:
    task = answer_task(setup=SETUP, hostname="web-1.example.org")
    values = preseed_values(answer_of("debian", task))
    wanted = {
        "debian-installer/locale": "de_DE.UTF-8",
        "time/zone": "Europe/Berlin",
        "netcfg/get_hostname": "web-1",
        "netcfg/get_domain": "example.org",
        "mirror/protocol": "http",
        "mirror/http/hostname": "region.example",
        "mirror/http/directory": "/mirror/installer",
        "mirror/suite": "bookworm",
        "pkgsel/include": "openssh-server dosfstools systemd-resolved tmux",
        "passwd/root-password-crypted": "*",
        "partman-auto/expert_recipe": (
            "lpmos ::"
            " 1 1 1 free $iflabel{ gpt } $reusemethod{ } method{ biosgrub } ."
            " 537 537 537 fat32 $primary{ } method{ efi } format{ } ."
            " 1000 1000000 -1 ext4 $primary{ } method{ format } format{ } use_filesystem{ }"
            " filesystem{ ext4 } mountpoint{ / } ."
        ),
    }
    assert {name: values[name] for name in wanted} == wanted


def test_ubuntu_answer_is_a_cloud_config_with_the_plan_and_leaves_the_installers_network() -> None:
    task = answer_task(uefi=True, setup=SETUP, hostname="web-1.example.org")
    text = answer_of("ubuntu", task)
    assert (
        re.sub(r"content: \|\n( {6}.*\n|\n)*", "content: |\n", text)
        == """\
#cloud-config
# Ubuntu's installer for "web-1", made by LPMOS. Values have their quotes with them.
# The installer writes the text of each command into its logs, which stay in the new system.
write_files:
  - path: /run/lpmos/early.sh
    permissions: "0600"
    content: |
  - path: /run/lpmos/late.sh
    permissions: "0600"
    content: |
  - path: /run/lpmos/error.sh
    permissions: "0600"
    content: |
autoinstall:
  version: 1
  locale: "de_DE.UTF-8"
  timezone: "Europe/Berlin"
  keyboard:
    layout: us
  refresh-installer:
    update: false
  ssh:
    install-server: true
    allow-pw: false
  apt:
    geoip: false
    preserve_sources_list: false
    primary:
      - arches: [default]
        uri: "http://region.example/mirror/installer"
    security:
      - arches: [default]
        uri: "http://region.example/mirror/installer"
  storage:
    swap:
      size: 0
    config:
      - {"type": "disk", "id": "disk1", "path": "/dev/lpmos-disk-01", "ptable": "gpt",\
 "wipe": "superblock-recursive", "preserve": false, "grub_device": false}
      - {"type": "partition", "id": "disk1-p1", "device": "disk1", "number": 1, "size": 1048576,\
 "wipe": "superblock", "preserve": false, "flag": "bios_grub"}
      - {"type": "partition", "id": "disk1-p2", "device": "disk1", "number": 2, "size": 536870912,\
 "wipe": "superblock", "preserve": false, "flag": "boot", "grub_device": true}
      - {"type": "partition", "id": "disk1-p3", "device": "disk1", "number": 3, "size": -1,\
 "wipe": "superblock", "preserve": false}
      - {"type": "format", "id": "esp1", "volume": "disk1-p2", "fstype": "fat32"}
      - {"type": "format", "id": "fs-disk1-p3", "volume": "disk1-p3", "fstype": "ext4",\
 "preserve": false}
      - {"type": "mount", "id": "mount-fs-disk1-p3", "device": "fs-disk1-p3", "path": "/"}
      - {"type": "mount", "id": "mount-esp", "device": "esp1", "path": "/boot/efi"}
  user-data:
    hostname: "web-1"
    fqdn: "web-1.example.org"
    prefer_fqdn_over_hostname: false
    users: []
    disable_root: false
    ssh_pwauth: false
  early-commands:
    - [sh, /run/lpmos/early.sh]
  late-commands:
    - [sh, /run/lpmos/late.sh]
  error-commands:
    - [sh, /run/lpmos/error.sh]
  shutdown: reboot
"""
    )


def test_ubuntus_commands_which_its_installer_logs_name_no_secret() -> None:
    task = answer_task(
        layout=StorageLayout(encrypt=True), setup=Setup(commands=("true",), secret_names=("WORD",))
    )
    hidden = TaskSecrets(values={"WORD": "hidden-word"}, disk_passphrase="hidden-phrase")
    found = yaml.safe_load(answer_of("ubuntu", task, secrets=hidden))
    logged = {
        name: part for name, part in found["autoinstall"].items() if name.endswith("-commands")
    }
    assert "hidden-word" in str(found["write_files"])
    assert len(logged) == 3
    assert "hidden" not in str(logged)
    assert max(len(str(part)) for part in logged.values()) < 100


def test_rhel_answer_is_a_kickstart_file_whose_disks_are_included() -> None:
    task = answer_task(layout="raid1", uefi=True, setup=SETUP, hostname="web-1")
    text = answer_of("rhel", task)
    assert (
        re.sub(r"(%(?:pre|post|onerror)\b[^\n]*\n).*?%end", r"\1%end", text, flags=re.S)
        == """\
# Anaconda for web-1, made by LPMOS. Values have their quotes with them.
text
url --url=http://region.example/mirror/installer
lang de_DE.UTF-8
keyboard us
timezone Europe/Berlin --utc
network --bootproto=dhcp --device=52:54:00:00:00:01 --activate --onboot=yes --hostname=web-1
rootpw --lock
selinux --enforcing
firewall --enabled --service=ssh
firstboot --disable
services --enabled=sshd
skipx
reboot
%include /tmp/lpmos/disks.ks

%packages
@core
openssh-server
tmux
%end

%pre --interpreter=/bin/bash --erroronfail --log=/tmp/lpmos-pre.log
%end

%post --nochroot --interpreter=/bin/bash --erroronfail --log=/tmp/lpmos-post.log
%end

%onerror --interpreter=/bin/bash
%end
"""
    )
    pre, _, failed = READERS["rhel"](text).scripts
    assert failed.endswith('" /tmp/anaconda.log\nwhile :; do sleep 3600; done\n')
    assert "lpmos_signs='/tmp/dnf.librepo.log'\n" in pre
    assert (
        pre.partition("<<'LPMOS_DISKS'\n")[2].partition("LPMOS_DISKS\n")[0]
        == """\
ignoredisk --only-use=lpmos-disk-01,lpmos-disk-02
zerombr
clearpart --all --drives=lpmos-disk-01,lpmos-disk-02 --initlabel --disklabel=gpt
bootloader --location=mbr --boot-drive=lpmos-disk-01\
 --append="console=tty0 console=ttyS0,115200n8"
part biosboot --fstype=biosboot --size=1 --ondisk=lpmos-disk-01
part /boot/efi --fstype=efi --size=512 --ondisk=lpmos-disk-01
part raid.103 --size=1024 --ondisk=lpmos-disk-01
part raid.104 --size=1024 --grow --ondisk=lpmos-disk-01
part biosboot --fstype=biosboot --size=1 --ondisk=lpmos-disk-02
part /boot/efi2 --fstype=vfat --fsoptions="umask=0077,nofail" --size=512 --ondisk=lpmos-disk-02
part raid.203 --size=1024 --ondisk=lpmos-disk-02
part raid.204 --size=1024 --grow --ondisk=lpmos-disk-02
raid /boot --fstype=ext4 --device=boot --level=RAID1 raid.103 raid.203
raid / --fstype=ext4 --device=root --level=RAID1 raid.104 raid.204
"""
    )


def test_rhel_arrays_are_called_what_each_release_takes_their_names_for() -> None:
    layout = StorageLayout(raid="raid1", partitions=(PartitionWish(mount="/md1", size_bytes=GIB),))
    script = READERS["rhel"](answer_of("rhel", answer_task(layout=layout))).scripts[0]
    commands = [line for line in script.splitlines() if line.startswith(("part ", "raid "))]
    for version in ("RHEL7", "RHEL9", "RHEL10"):
        assert arrays_by_kickstart(commands, version) == ["boot", "fs-md1", "root"]


PREPARED = Setup(
    users=(Account(name="admin", sudo="nopasswd"),),
    packages=("tmux", "git", "sudo"),
    locale="de_DE.UTF-8",
    cloud_init=CloudInit(user_data="#cloud-config\n{}\n"),
    ansible=Ansible(repository="https://git.example.net/site.git"),
    puppet=Puppet(server="puppet.example.net"),
)


def test_what_a_setup_needs_is_in_the_installers_own_list() -> None:
    kickstart = answer_of("rhel", answer_task(setup=PREPARED))
    assert (
        "\n%packages\n@core\nopenssh-server\n"
        "tmux\ngit\nsudo\ncloud-init\nansible-core\ngit-core\npuppet\n%end\n"
    ) in kickstart
    preseed = preseed_values(answer_of("debian", answer_task(setup=PREPARED)))
    assert preseed["pkgsel/include"] == (
        "openssh-server dosfstools systemd-resolved tmux git sudo cloud-init ansible puppet-agent"
    )


def test_groups_of_packages_are_anacondas_alone() -> None:
    text = answer_of("rhel", answer_task(setup=Setup(packages=("@web-server", "tmux"))))
    assert "openssh-server\n@web-server\ntmux\n%end\n" in text
    assert "for name in tmux; do" in READERS["rhel"](text).scripts[1]
    text = answer_of("rhel", answer_task(setup=Setup(packages=("@web-server",))))
    assert "failed: packages" not in READERS["rhel"](text).scripts[1]


@pytest.mark.parametrize(
    ("release", "without"),
    [
        (("centos", "7"), "ignore"),
        (("rocky", "8"), "disabled"),
        (("fedora", "42"), "disabled"),
    ],
)
def test_link_without_ipv6_says_so_in_the_words_of_its_networkmanager(
    release: tuple[str, str], without: str
) -> None:
    links = (
        Ethernet(name="lan0"),
        Vlan(name="vlan10", over="lan0", id=10, addresses=("192.0.2.10/24",)),
    )
    task = answer_task(network_config=Network(links=links))
    manifest = samples.manifest_of(answers.FAMILIES["rhel"], *release)
    late = READERS["rhel"](answer_of("rhel", task, manifest=manifest)).scripts[1]
    assert late.count(f"\n[ipv6]\nmethod={without}\n") == late.count("\n[ipv6]\n") == 2
    assert late.count("\n[ipv4]\nmethod=disabled\n") == 1


def test_rhel_encrypted_group_has_its_passphrase_as_one_word() -> None:
    task = answer_task(layout=StorageLayout(lvm=True, encrypt=True))
    text = answer_of("rhel", task, TaskSecrets(disk_passphrase="it's $HOME"))
    assert (
        "part pv.vg0 --encrypted --luks-version=luks2"
        """ --passphrase='it'"'"'s $HOME' --size=1024 --grow --ondisk=lpmos-disk-01\n"""
    ) in text


def test_suse_answer_has_drives_and_links_of_its_own_words() -> None:
    links = (
        Ethernet(name="lan0"),
        Vlan(
            name="vlan10", over="lan0", id=10, addresses=("192.0.2.10/24",), gateways=("192.0.2.1",)
        ),
    )
    task = answer_task(layout="lvm", network_config=Network(links=links, dns=("192.0.2.53",)))
    text = answer_of("suse", task)
    assert (
        """\
        <partition>
          <create config:type="boolean">true</create>
          <format config:type="boolean">false</format>
          <partition_nr config:type="integer">4</partition_nr>
          <partition_id config:type="integer">142</partition_id>
          <lvm_group>vg0</lvm_group>
          <size>max</size>
        </partition>
      </partitions>
    </drive>
    <drive>
      <device>/dev/vg0</device>
      <type config:type="symbol">CT_LVM</type>
      <initialize config:type="boolean">true</initialize>
      <use>all</use>
      <enable_snapshots config:type="boolean">false</enable_snapshots>
      <partitions config:type="list">
        <partition>
          <create config:type="boolean">true</create>
          <format config:type="boolean">true</format>
          <filesystem config:type="symbol">ext4</filesystem>
          <mount>/</mount>
          <mountby config:type="symbol">uuid</mountby>
          <lv_name>root</lv_name>
          <size>max</size>
        </partition>
"""
        in text
    )
    assert (
        """\
      <interface>
        <name>vlan10</name>
        <device>vlan10</device>
        <startmode>auto</startmode>
        <bootproto>static</bootproto>
        <ipaddr>192.0.2.10</ipaddr>
        <prefixlen>24</prefixlen>
        <etherdevice>lan0</etherdevice>
        <vlan_id>10</vlan_id>
      </interface>
"""
        in text
    )
    assert "<destination>default</destination>\n          <gateway>192.0.2.1</gateway>" in text


@pytest.mark.parametrize(
    ("hostname", "names"),
    [("web-1.example.org", "web-1.example.org web-1"), ("web-1", "web-1")],
)
def test_suse_knows_the_whole_name_of_its_machine(hostname: str, names: str) -> None:
    profile = etree.fromstring(answer_of("suse", answer_task(hostname=hostname)).encode())
    hosts = profile.find(f"{YAST}host/{YAST}hosts")
    assert [each.text.strip() for each in hosts.iter() if each.text.strip()] == ["127.0.1.1", names]
    assert profile.findtext(f"{YAST}networking/{YAST}dns/{YAST}hostname") == "web-1"


def test_suse_has_a_place_of_grub_that_yast_takes_for_one() -> None:
    profile = etree.fromstring(answer_of("suse", answer_task(layout="raid1")).encode())
    places = [
        part.findtext(f"{YAST}size")
        for part in profile.iter(f"{YAST}partition")
        if part.findtext(f"{YAST}partition_id") == "263"
    ]
    assert places == [str(2 * 1024**2)] * 2


@pytest.mark.parametrize(
    ("mode", "options"),
    [
        ("802.3ad", "mode=802.3ad miimon=100 lacp_rate=fast"),
        ("active-backup", "mode=active-backup miimon=100"),
    ],
)
def test_suse_bond_has_the_lacp_rate_where_it_speaks_lacp(mode: BondMode, options: str) -> None:
    bond = Bond(name="bond0", members=("lan0",), mode=mode, lacp_fast=True, dhcp=True)
    links = (Ethernet(name="lan0"), bond)
    text = answer_of("suse", answer_task(network_config=Network(links=links)))
    assert f"<bonding_module_opts>{options}</bonding_module_opts>" in text


@pytest.mark.parametrize(
    ("os_type", "os_version", "modules"),
    [
        ("sles", "15.6", ["sle-module-basesystem", "sle-module-server-applications"]),
        ("sles", "12.5", []),
        ("opensuse-leap", "15.6", []),
        ("opensuse-tumbleweed", "tumbleweed", []),
    ],
)
def test_sles_has_its_packages_from_modules_of_its_medium(
    os_type: str, os_version: str, modules: list[str]
) -> None:
    manifest = samples.manifest_of(answers.FAMILIES["suse"], os_type, os_version)
    profile = etree.fromstring(answer_of("suse", answer_task(), manifest=manifest).encode())
    found = [tuple(each.text for each in entry) for entry in profile.iter(f"{YAST}listentry")]
    assert [product for _, product, _ in found] == modules
    assert {url for url, _, _ in found} <= {"http://region.example/mirror/installer"}
    assert all(place == product.replace("sle-m", "/m").title() for _, product, place in found)


def test_suse_bond_of_more_members_than_yast_reads_is_refused() -> None:
    cards = tuple(Ethernet(name=f"lan{n}", mac=f"52:54:00:00:01:{n:02x}") for n in range(11))
    bond = Bond(name="bond0", members=tuple(card.name for card in cards), dhcp=True)
    with pytest.raises(InvalidInput, match="no bond of more than 10 members as bond0"):
        answer_of("suse", answer_task(network_config=Network(links=(*cards, bond))))


def test_suse_is_told_all_packages_as_zypper_cannot_run_beside_yast() -> None:
    setup = Setup(
        packages=("tmux", "git-core"),
        users=(Account(name="admin", sudo="password"),),
        locale="de_DE.UTF-8",
        cloud_init=CloudInit(user_data="#cloud-config\n{}\n"),
        ansible=Ansible(repository="https://git.example/site.git", playbook="site.yml"),
        puppet=Puppet(server="puppet.example"),
    )
    profile = etree.fromstring(answer_of("suse", answer_task(setup=setup)).encode())
    assert [each.text for each in profile.iter(f"{YAST}package")] == [
        *("openssh", "curl", "tmux", "git-core"),
        *("sudo", "glibc-i18ndata", "cloud-init", "ansible", "puppet"),
    ]


@pytest.mark.parametrize(
    ("family", "layout", "why"),
    [
        ("debian", StorageLayout(lvm=True, encrypt=True), "LUKS2"),
        ("debian", "raid10", "raid10"),
        ("rhel", StorageLayout(filesystem="btrfs"), "btrfs"),
        ("suse", StorageLayout(erase="discard"), "erase=discard"),
    ],
)
def test_what_an_installer_cannot_make_is_refused_by_name(
    family: str, layout: str | StorageLayout, why: str
) -> None:
    with pytest.raises(InvalidInput, match=f"disk_layout: .*{why}"):
        answer_of(family, answer_task(layout=layout))  # type: ignore[arg-type]


WORDS = "console=ttyS1,57600 memmap=1G!4G"
LINE = f"console=tty0 console=ttyS0,115200n8 {WORDS}"


def test_kernel_arguments_of_a_task_come_last_in_kickstart() -> None:
    script = READERS["rhel"](answer_of("rhel", answer_task(kernel_arguments=WORDS))).scripts[0]
    assert appended_by_kickstart(script.splitlines()) == LINE.split()


def test_kernel_arguments_of_a_task_come_last_in_autoyast() -> None:
    suse = answer_of("suse", answer_task(kernel_arguments=WORDS))
    loader = etree.fromstring(suse.encode()).find(f"{YAST}bootloader/{YAST}global")
    assert loader.findtext(f"{YAST}append") == LINE
    assert loader.findtext(f"{YAST}serial") == "serial --unit=1 --speed=57600"
    assert "<serial>serial --unit=0 --speed=115200</serial>" in answer_of("suse", answer_task())


@pytest.mark.parametrize("family", ["debian", "ubuntu"])
def test_kernel_arguments_of_a_task_are_grubs_defaults_and_read_at_once(family: Family) -> None:
    def scripts(words: str) -> str:
        return "".join(READERS[family](answer_of(family, answer_task(kernel_arguments=words)))[1])

    late = scripts(WORDS)
    assert f'GRUB_CMDLINE_LINUX_DEFAULT="$GRUB_CMDLINE_LINUX_DEFAULT {WORDS}"' in late
    assert 'GRUB_SERIAL_COMMAND="serial --unit=1 --speed=57600"' in late
    assert late.index("/etc/default/grub.d/lpmos.cfg") < late.index(" update-grub\n")
    assert "update-grub" not in scripts("") and "/etc/default/grub.d" not in scripts("")
    assert "update-grub" in scripts("quiet") and "GRUB_TERMINAL" not in scripts("quiet")


def test_encrypted_disks_without_their_passphrase_are_refused() -> None:
    task = answer_task(layout=StorageLayout(lvm=True, encrypt=True))
    with pytest.raises(InvalidInput, match="disk_passphrase"):
        answer_of("rhel", task, TaskSecrets())


def test_secret_of_a_command_is_hidden_in_what_is_said_of_a_failure() -> None:
    task = answer_task(setup=Setup(commands=("curl $TOKEN",), secret_names=("TOKEN",)))
    late = READERS["rhel"](answer_of("rhel", task, TaskSecrets(values={"TOKEN": "s3cret-1"})))
    assert "printf '%s\\n' 's3cret-1' >/tmp/lpmos/secrets\n" in late.scripts[1]


@pytest.mark.parametrize(
    ("family", "text", "why"),
    [
        ("debian", "d-i nothing\n", "is no line of a preseed file"),
        ("ubuntu", "#cloud-config\nautoinstall: {version: 1, packges: []}\n", "'packges'"),
        ("ubuntu", "autoinstall: {version: 1}\n", "first line"),
        ("ubuntu", "#cloud-config\na: [\n", "while parsing"),
        ("rhel", "nonsense --a\n", "nonsense"),
        ("suse", "<profile>", "no element found"),
        ("suse", "<profile/>", "not YaST's profile"),
        ("windows", "<unattend>", "no element found"),
        ("windows", "<unattend/>", "not unattend of Windows"),
        ("windows", "<!DOCTYPE a><a/>", "declared"),
        (
            "windows",
            '<unattend xmlns="urn:schemas-microsoft-com:unattend"><settings pass="windowsPE"/>'
            "</unattend>",
            "'windowsPE'",
        ),
        ("suse", '<!DOCTYPE a [<!ENTITY b "c">]><a>&b;</a>', "entity"),
    ],
)
def test_check_finds_what_is_wrong_with_an_answer(family: str, text: str, why: str) -> None:
    (said,) = checks.problems(family, text, {})  # type: ignore[arg-type]
    assert why in said


def test_meta_data_names_the_task() -> None:
    assert answers.meta_data(make_task(task_id="a-1")) == 'instance-id: "a-1"\n'


def test_size_of_a_plan_is_never_rounded_down() -> None:
    layout = StorageLayout(swap_bytes=GIB + 1)
    task = answer_task(layout=layout)
    assert task.plan is not None
    (swap,) = (each for each in task.plan.filesystems if each.kind == "swap")
    number = int(swap.on.removeprefix("p"))
    size_bytes = task.plan.partitions[number - 1].size_bytes
    assert size_bytes is not None
    assert f"--size={-(-size_bytes // (1 << 20))} " in answer_of("rhel", task)


def test_samples_are_tried_for_every_release() -> None:
    for of in answers.FAMILIES.values():
        tried = {(m.os_type, m.os_version) for _, m in samples.tried(of)}
        assert tried == set(of.releases)
