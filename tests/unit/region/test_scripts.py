import pytest
from hypothesis import given
from hypothesis import strategies as st

from lpmos.model.tracecontext import TraceContext
from lpmos.region.scripts import (
    AgentCall,
    AgentFiles,
    InstallerFiles,
    agent_script,
    entry_script,
    installer_script,
    local_disk_script,
    plain,
    wait_script,
)

URL = "http://192.0.2.1:8081"


def test_entry_script_is_the_golden_text() -> None:
    assert (
        entry_script(URL)
        == """\
#!ipxe
:ask
echo LPMOS: asking http://192.0.2.1:8081
chain --replace --autofree http://192.0.2.1:8081/boot/ipxe?mac=${netX/mac:hexhyp}\
&sn=${serial:uristring}&uuid=${uuid}&arch=${buildarch}&platform=${platform} ||
echo LPMOS: the region cannot answer now, asking again in 5 s
sleep 5 ||
goto ask
"""
    )


def test_agent_script_is_the_golden_text() -> None:
    files = AgentFiles(kernel="/boot/agent/ab/vmlinuz", initramfs="/boot/agent/cd/initramfs")
    assert (
        agent_script(URL, files, AgentCall(URL, "a.b.c"), "One install is allowed.")
        == """\
#!ipxe
echo LPMOS: One install is allowed.
imgfree ||
kernel http://192.0.2.1:8081/boot/agent/ab/vmlinuz initrd=initrd \
lpmos_client=http://192.0.2.1:8081 lpmos_nonce=a.b.c BOOTIF=01-${netX/mac:hexhyp} \
console=tty0 console=ttyS0,115200n8 loglevel=4 panic=180 || goto again
initrd --name initrd http://192.0.2.1:8081/boot/agent/cd/initramfs || goto again
boot ||
:again
echo LPMOS: the agent could not be loaded, asking again in 5 s
imgfree ||
:wait
sleep 5 ||
chain --replace --autofree http://192.0.2.1:8081/boot/boot.ipxe ||
goto wait
"""
    )


def test_installer_script_loads_again_what_broke_and_asks_the_region_only_at_its_end() -> None:
    files = InstallerFiles(kernel="/k", initrd="/i", line="auto=true url=http://192.0.2.1/a")
    text = installer_script(URL, files, "The agent handed over.")
    assert (
        text
        == """\
#!ipxe
echo LPMOS: The agent handed over.
set tries:int32 0
:load
imgfree ||
kernel http://192.0.2.1:8081/k initrd=initrd auto=true url=http://192.0.2.1/a || goto again
initrd --name initrd http://192.0.2.1:8081/i || goto again
boot ||
goto given
:again
inc tries || goto given
iseq ${tries} 60 && goto given ||
echo LPMOS: the installer could not be loaded, trying again in 5 s
sleep 5 ||
goto load
:given
imgfree ||
:wait
sleep 5 ||
chain --replace --autofree http://192.0.2.1:8081/boot/boot.ipxe ||
goto wait
"""
    )


def test_agent_script_ends_its_kernel_line_with_the_regions_words() -> None:
    files = AgentFiles(kernel="/k", initramfs="/i", arguments="console=ttyS1,115200n8 nomodeset")
    text = agent_script(URL, files, AgentCall(URL, "n"), "")
    assert " loglevel=4 panic=180 console=ttyS1,115200n8 nomodeset || goto again\n" in text


def test_agent_script_with_tls_names_the_ca_and_where_its_files_are() -> None:
    files = AgentFiles(kernel="/k", initramfs="/i")
    call = AgentCall("https://192.0.2.1:8443", "a.b.c", "0f" * 32)
    (line,) = [line for line in agent_script(URL, files, call, "").splitlines() if "BOOTIF" in line]
    assert line == (
        "kernel http://192.0.2.1:8081/k initrd=initrd lpmos_client=https://192.0.2.1:8443"
        f" lpmos_nonce=a.b.c lpmos_ca=sha256:{'0f' * 32} lpmos_boot={URL}"
        " BOOTIF=01-${netX/mac:hexhyp} console=tty0 console=ttyS0,115200n8 loglevel=4 panic=180"
        " || goto again"
    )


def test_agent_script_names_the_span_of_the_task() -> None:
    trace = TraceContext(trace_id="a1" * 16, span_id="b2" * 8)
    call = AgentCall(URL, "a.b.c", trace=trace)
    text = agent_script(URL, AgentFiles(kernel="/k", initramfs="/i"), call, "")
    assert f" lpmos_nonce=a.b.c lpmos_trace=00-{'a1' * 16}-{'b2' * 8}-01 BOOTIF=" in text


def test_local_disk_script_leaves_with_a_failure_so_that_the_next_entry_is_booted() -> None:
    assert (
        local_disk_script("task 7 is completed")
        == """\
#!ipxe
echo LPMOS: booting the local disk: task 7 is completed
exit 1
"""
    )


def test_wait_script_asks_again() -> None:
    assert (
        wait_script(URL, "the region is preparing", 2)
        == """\
#!ipxe
echo LPMOS: the region is preparing
:wait
sleep 2 ||
chain --replace --autofree http://192.0.2.1:8081/boot/boot.ipxe ||
goto wait
"""
    )


@pytest.mark.parametrize(
    ("text", "printed"),
    [
        ("a ${net0/mac} b", "a ?net0/mac? b"),
        ("a || shell", "a ? shell"),
        ("a && b", "a ? b"),
        ("a\nshell\r\n#x", "a shell ?x"),
        ("--name x -- y-z", "?name x ? y-z"),
        ("é 漢", "? ?"),
        ("", ""),
    ],
)
def test_plain_text_has_nothing_that_ipxe_understands(text: str, printed: str) -> None:
    assert plain(text) == printed


@given(st.text())
def test_plain_any_text_stays_one_harmless_bounded_line(text: str) -> None:
    line = plain(text)
    assert len(line) <= 200
    assert not set(line) & set('${}|&#"\\\n\r\t%')
    assert not any(word.startswith("-") for word in line.split(" "))
    assert plain(line) == line


@given(st.text(), st.integers(min_value=0, max_value=100))
def test_scripts_with_any_reason_have_the_same_lines(reason: str, seconds: int) -> None:
    for script, expected in (
        (local_disk_script(reason), local_disk_script("x")),
        (wait_script(URL, reason, seconds), wait_script(URL, "x", seconds)),
    ):
        assert [line for line in script.splitlines() if not line.startswith("echo ")] == [
            line for line in expected.splitlines() if not line.startswith("echo ")
        ]
