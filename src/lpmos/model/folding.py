"""What of a finished task stands folded in its document: what is for reading only, deflated.

A finished task stays for years and is read now and then. The rule: whoever decodes a task has it
whole (`Task.__post_init__` unfolds it), so that nobody needs to know of this; and nothing that
decides what happens to a machine is folded, so that a version which does not know of it acts alike.
"""

import zlib

FOLDED = ("hardware", "logs", "progress", "results", "boot")
"""The fields of a task that are folded; of `progress` the newest word stays outside, too."""

DICTIONARY = (
    b'"outcome":"passed","seconds":1,"summary":"","evidence":["disk_erase","disk_test","memory_test'
    b'"manufacturer":"Samsung","part_number":"M393A8G40AB2-CWE","slot":"DIMM_A1","speed_mts":3200,'
    b'"type":"DDR4","firmware":"","bus":"nvme","wwn":"eui.","path":"/dev/disk/by-path/pci-0000:00:'
    b'"rotational":true,"neighbour":{"system":"","chassis":"","port":"Ethernet1","port_description"'
    b':"","management_address":"","vlan":1},"pci_address":"0000:00:00.0","numa_node":0,"pci":[{'
    b'"address":"0000:00:00.0","vendor_id":"8086","device_id":"","class_id":"088000","driver":"pci'
    b'eport","vendor":"Intel Corporation","device":""},"message":"downloading","bytes_done":,'
    b'"bytes_total":1000000000,"bytes_per_second":},"version":"","date":"","flags":["fpu","aes","a'
    b'vx2"],"numa_nodes":[],"uuid":"","bmc_address":"","tpm_version":"2.0","secure_boot":false,'
    b'{"hardware":{"collected_at":"2026-11-01T00:00:00Z","boot_mode":"uefi","product":{"vendor":"D'
    b'ell Inc.","name":"PowerEdge R650","serial":""},"board":{"bios":{"chassis":{"cpu":{"model":"I'
    b'ntel(R) Xeon(R) CPU @ 2.00GHz","sockets":2,"cores":64,"threads":128},"memory":{"total_bytes"'
    b':549755813888,"dimms":[{"size_bytes":}]},"disks":[{"device":"/dev/nvme0n1","size_bytes":96000'
    b'0000000,"kind":"nvme","model":"SAMSUNG","serial":"","discard":true}],"nics":[{"interface":"en'
    b'o1","mac":"52:54:00:00:00:00","speed_mbps":10000,"driver":"ixgbe","carrier":true,"booted":tru'
    b'e}],"agent_version":"0.1.0"},"logs":["2026-11-01T00:00:00.000Z [INFO] partitioning: 10 %","2'
    b'026-11-01T00:00:00.000Z [INFO] downloading: 50.0 %","2026-11-01T00:00:00.000Z [WARN] installi'
    b'ng: 75.0 %","2026-11-01T00:00:00.000Z [ERROR] configuring: 90.0 %"],"progress":[{"step":"part'
    b'itioning","percent":0.0,"timestamp":"2026-11-01T00:00:00.000000Z","message":"0.0 %"},{"step"'
    b':"downloading","percent":60.0,"timestamp":"2026-11-01T00:00:00.000000Z"},{"step":"configuring'
)
"""What such documents say again and again (RFC 1950, FDICT). It is part of the stored form: it may
never change, a further one has to stand beside it."""

LEVEL = 9
UNFOLDED_LIMIT_BYTES = 1 << 20


def deflated(parts: bytes) -> bytes:
    """What stands in the document for `parts`, a JSON object."""
    folding = zlib.compressobj(LEVEL, zdict=DICTIONARY)
    return folding.compress(parts) + folding.flush()


def inflated(folded: bytes) -> bytes:
    """The JSON object that was folded (RFC 1950).

    Raises:
        ValueError: it is damaged, or over `UNFOLDED_LIMIT_BYTES`.
    """
    reading = zlib.decompressobj(zdict=DICTIONARY)
    try:
        parts = reading.decompress(folded, UNFOLDED_LIMIT_BYTES)
    except zlib.error as error:
        raise ValueError(f"what is folded is damaged: {error}") from error
    if not reading.eof:
        raise ValueError("what is folded is cut off, or too large")
    return parts
