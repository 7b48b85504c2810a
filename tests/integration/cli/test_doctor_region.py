"""What the doctor says of a region's client on its own host: TLS for agents, agent image, DHCP."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pytest

from lpmos.app.settings import load
from lpmos.app.settings_table import REGION
from lpmos.cli.doctor_region import look_at_region
from lpmos.cli.findings import Finding, Level
from lpmos.images.catalog import Catalog
from lpmos.images.signatures import generate, private_key, public_path, signed
from lpmos.lab.simulated_images import make_simulated_images
from tests.support.agent_images import put_agent_of_this_version
from tests.support.certificates import Authority
from tests.support.etcd import free_port
from tests.support.served import served_by_thread

SINCE = "2026-01-02T00:00:00Z"


def found(state: Path, **given: object) -> dict[str, list[Finding]]:
    """What is found by subject, of a region with these settings."""
    flags = {"state_dir": str(state), "dhcp_mode": "off"}
    settings = load(REGION, flags | {name: str(value) for name, value in given.items()}, {})
    by_subject: dict[str, list[Finding]] = {}
    for finding in look_at_region(settings):
        by_subject.setdefault(finding.subject, []).append(finding)
    return by_subject


@contextmanager
def answering(**standing: object) -> Iterator[int]:
    """The port of a region's client that says of itself what it is."""

    class Health(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            body = json.dumps({"status": "healthy", "standing": standing or None}).encode()
            self.send_response(200)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            """Say nothing."""

    server = HTTPServer(("127.0.0.1", 0), Health)
    with served_by_thread(server):
        yield server.server_port


def test_certificate_for_agents_is_looked_at_as_agents_do(tmp_path: Path) -> None:
    ours, other = Authority(tmp_path / "ours"), Authority(tmp_path / "other")
    pair = ours.issue("region")
    given = {
        "region_addr": "127.0.0.1",
        "api_port": free_port(),
        "agent_tls_port": free_port(),
        "agent_tls_cert": pair.cert,
        "agent_tls_key": pair.key,
    }
    (ends,) = found(tmp_path, agent_tls_ca=ours.ca, **given)["agent TLS"]
    assert ends.level is Level.WARNING  # it lives for two days
    assert ends.do.endswith("then start this client of the region again")
    (wrong,) = found(tmp_path, agent_tls_ca=other.ca, **given)["agent TLS"]
    assert wrong.level is Level.WRONG
    assert "did not issue" in wrong.found
    (partly,) = found(tmp_path, **given)["agent TLS"]
    assert "belong together" in partly.found
    assert "agent TLS" not in found(tmp_path)


def test_agent_image_of_another_version_is_told_with_what_to_do(tmp_path: Path) -> None:
    (none,) = found(tmp_path)["agent image"]
    assert (none.level, none.do) == (
        Level.WARNING,
        f"lpmos image build-agent --images-dir {tmp_path}/images",
    )
    make_simulated_images(tmp_path / "images", 4096)
    (other,) = found(tmp_path)["agent image"]
    assert "is not what this version builds" in other.found
    assert 'agent_identity = "optional"' in other.do
    assert "agent identity" not in found(tmp_path)
    optional = found(tmp_path, agent_identity="optional")
    assert 'agent_identity = "optional"' not in optional["agent image"][0].do
    assert optional["agent identity"][0].level is Level.WARNING


def test_agent_image_of_this_version_that_lacks_firmware_is_told_with_its_drivers(
    tmp_path: Path,
) -> None:
    wanting = ("ice", "qla2xxx")
    put_agent_of_this_version(tmp_path, with_firmware=True, modules_wanting_firmware=wanting)
    (lacks,) = found(tmp_path)["agent image"]
    assert lacks.level is Level.WARNING
    assert lacks.found == "0.1.0 lacks the firmware of ice, qla2xxx"
    assert f"lpmos image build-agent --images-dir {tmp_path}/images, from a mirror" in lacks.do
    put_agent_of_this_version(tmp_path, with_firmware=False, modules_wanting_firmware=wanting)
    (without,) = found(tmp_path)["agent image"]
    assert (without.level, without.found) == (
        Level.OK,
        "0.1.0, as this version builds it, without firmware",
    )
    put_agent_of_this_version(tmp_path, with_firmware=True)
    (whole,) = found(tmp_path)["agent image"]
    assert whole == ("ok", "agent image", "0.1.0, as this version builds it", "")


@pytest.mark.parametrize(("by", "level"), [("lease", Level.OK), ("promise", Level.WARNING)])
def test_active_client_says_by_what_it_serves(tmp_path: Path, by: str, level: Level) -> None:
    with answering(standing="active", by=by, since=SINCE, promised_s=0.0) as port:
        (standing,) = found(tmp_path, region_addr="127.0.0.1", api_port=port)["standing"]
    assert standing.level is level
    assert f"by {by}" in standing.found


def test_standby_is_not_blamed_for_serving_no_dhcp(tmp_path: Path) -> None:
    given = {"region_addr": "127.0.0.1", "dhcp_mode": "proxy"}
    with answering(standing="standby", by=None, since=SINCE, promised_s=0.0) as port:
        standby = found(tmp_path, api_port=port, **given)
    assert "serves no machine" in standby["standing"][0].found
    assert len(standby["ports"]) == 1
    with answering() as port:
        alone = found(tmp_path, api_port=port, **given)
    assert "standing" not in alone
    assert [each.found for each in alone["ports"] if "4011" in each.found]


def test_images_that_no_trusted_key_signed_are_told_with_what_to_do(tmp_path: Path) -> None:
    images, key = tmp_path / "images", tmp_path / "signing.key"
    make_simulated_images(images, 1 << 20)
    generate(key)
    public = public_path(key)
    assert [finding.level for finding in found(tmp_path, images_dir=images)["images"]] == [Level.OK]
    told = found(tmp_path, images_dir=images, image_trusted_keys=public)["images"]
    assert [finding.level for finding in told] == [Level.WARNING]
    assert "lpmos image sign debian-12-simulated" in told[0].found + told[0].do
    catalog = Catalog(images)
    catalog.sign(signed(catalog.said("debian-12-simulated"), private_key(key)))
    (told_of_signed,) = found(tmp_path, images_dir=images, image_trusted_keys=public)["images"]
    assert "each signed by a trusted key" in told_of_signed.found
    (missing,) = found(tmp_path, images_dir=images, image_trusted_keys=tmp_path / "no")["images"]
    assert missing.level is Level.WRONG
