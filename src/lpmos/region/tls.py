"""TLS of the agent API: the files that an operator names, checked before a machine depends on them.

Only TLS 1.3 (RFC 8446) is spoken: every agent image can. An agent trusts the CA alone whose
fingerprint its kernel line names, and looks for the address that it calls in the certificate.
"""

import hashlib
import ipaddress
import itertools
import ssl
from collections.abc import Container, Iterable
from datetime import datetime, timedelta
from pathlib import Path

import msgspec
import structlog
from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.serialization import Encoding

from lpmos.model.errors import SettingsError

EXPIRES_SOON = timedelta(days=14)


class TlsFiles(msgspec.Struct, frozen=True):
    """Where the certificate chain, its private key and the CA's certificate are, as PEM."""

    cert: Path
    key: Path
    ca: Path
    port: int


class AgentTls(msgspec.Struct, frozen=True):
    """What serves and tells of TLS."""

    context: ssl.SSLContext
    ca_pem: str
    ca_sha256: str
    """Of the CA's DER, in hex: what stands in kernel lines."""
    also: tuple[str, ...] = ()
    """The further addresses that the certificate is for."""


def load(
    files: TlsFiles,
    address: str,
    now: datetime,
    also: Iterable[str] = (),
    needed: Container[str] = (),
) -> AgentTls:
    """Read the files and make sure that agents will accept what is served; blocks on the disk.

    Args:
        files: the files.
        address: at which agents call the region.
        now: to tell of certificates that end.
        also: further addresses at which they may; one that is not in the certificate is left out,
            and that is logged.
        needed: those of `also` at which machines call that have no other.

    Raises:
        SettingsError: a file cannot be used; it names the file and what to do.
    """
    context, cert, ca = _checked(files, address)
    served = tuple(each for each in also if _is_for(cert, each, files.cert, each in needed))
    _tell_of_end(cert, files.cert, now)
    der = ca.public_bytes(Encoding.DER)
    pem = ca.public_bytes(Encoding.PEM).decode()
    return AgentTls(context, pem, hashlib.sha256(der).hexdigest(), served)


def ends_at(files: TlsFiles, address: str) -> datetime:
    """When the certificate ends, of files that agents accept; arguments and errors as `load`."""
    _, cert, _ = _checked(files, address)
    return cert.not_valid_after_utc


def _checked(
    files: TlsFiles, address: str
) -> tuple[ssl.SSLContext, x509.Certificate, x509.Certificate]:
    """The context that serves, its certificate and the CA's."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_3
    try:
        context.load_cert_chain(files.cert, files.key)
    except (OSError, ssl.SSLError) as error:
        raise SettingsError(
            f"agent_tls_cert {files.cert} with agent_tls_key {files.key} cannot be used: {error}"
        ) from error
    ca = _first(files.ca, "agent_tls_ca")
    cert = _first(files.cert, "agent_tls_cert")
    _check_address(cert, address, files.cert)
    _check_issuer(cert, ca, files)
    return context, cert, ca


def _first(path: Path, name: str) -> x509.Certificate:
    return _all(path, name)[0]


def _all(path: Path, name: str) -> list[x509.Certificate]:
    try:
        return x509.load_pem_x509_certificates(path.read_bytes())
    except (OSError, ValueError) as error:
        raise SettingsError(f"{name}: {path} has no certificate in PEM: {error}") from error


def _check_address(cert: x509.Certificate, address: str, path: Path) -> None:
    """Agents call an address, so it has to be in the certificate (RFC 6125, RFC 5280 4.2.1.6)."""
    try:
        names = cert.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
        addresses = names.get_values_for_type(x509.IPAddress)
    except x509.ExtensionNotFound:
        addresses = []
    if ipaddress.ip_address(address) not in addresses:
        raise SettingsError(
            f"agent_tls_cert: {path} is not for {address}: agents call this address; make one with"
            f" subjectAltName=IP:{address}"
        )


def _is_for(cert: x509.Certificate, address: str, path: Path, needed: bool) -> bool:
    try:
        _check_address(cert, address, path)
    except SettingsError as error:
        if needed:
            raise
        structlog.get_logger().error(
            "no TLS for agents at an address: machines that boot over it cannot install",
            address=address,
            error=str(error),
            hint="have all addresses in one certificate and start this client of the region again",
        )
        return False
    return True


def _check_issuer(cert: x509.Certificate, ca: x509.Certificate, files: TlsFiles) -> None:
    """Follow the chain of the file from the certificate to the CA."""
    chain = [*_all(files.cert, "agent_tls_cert"), ca]
    for issued, issuer in itertools.pairwise(chain):
        if issued == ca:
            return
        try:
            issued.verify_directly_issued_by(issuer)
        except (ValueError, TypeError, InvalidSignature) as error:
            raise SettingsError(
                f"agent_tls_ca: {files.ca} did not issue {files.cert}; put the certificates between"
                " them into agent_tls_cert, in order"
            ) from error


def _tell_of_end(cert: x509.Certificate, path: Path, now: datetime) -> None:
    ends = cert.not_valid_after_utc
    if ends - now < EXPIRES_SOON:
        structlog.get_logger().warning(
            "the certificate of the agent API ends soon, or has ended",
            file=str(path),
            ends=ends.isoformat(),
            hint="make a new one and start this client of the region again",
        )
