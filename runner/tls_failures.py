"""What can go wrong with certificates: causes of failure as those in runner/failures.py."""

from __future__ import annotations

from runner.failures import StartupFailure

__all__ = (
    "CertificateInvalid",
    "CertificateKeyMismatch",
    "CertificateLocked",
    "CertificateMissing",
    "CertificateUnreadable",
    "CertificateUnusable",
)


class CertificateUnusable(
    StartupFailure,
    identifier="certificate-unusable",
    stage="listen",
    hint="check the certificate, its key and its options",
):
    """TLS is asked for and cannot be had, for another cause than the following."""


class CertificateMissing(
    CertificateUnusable,
    identifier="certificate-missing",
    stage="listen",
    hint="check the path; relative paths count from the starting directory",
):
    """A file of a certificate, of a key or of authorities that is not there."""


class CertificateUnreadable(
    CertificateUnusable,
    identifier="certificate-unreadable",
    stage="listen",
    hint="check that it is a file and that the user who starts arun may read it",
):
    """A file of a certificate, of a key or of authorities that is there but cannot be read."""


class CertificateInvalid(
    CertificateUnusable,
    identifier="certificate-invalid",
    stage="listen",
    hint="it takes a file in PEM format; for a certificate the server's own comes first, then those that lead to its root",
):
    """A file of a certificate, of a key or of authorities that does not hold what it should."""


class CertificateKeyMismatch(
    CertificateUnusable,
    identifier="certificate-key-mismatch",
    stage="listen",
    hint="name the key that the certificate was made for; several are paired in their order",
):
    """A key that belongs to another certificate."""


class CertificateLocked(
    CertificateUnusable,
    identifier="certificate-locked",
    stage="listen",
    hint="say the right password with --ssl-keyfile-password or ARUN_SSL_KEYFILE_PASSWORD",
):
    """An encrypted key, and no password or a wrong one."""
