"""Passwords as the application (Django 4.2) keeps and accepts them, without Django.

The list of common passwords is Django's own (20,000 entries, compiled by Royce Williams), kept in
`include/common_passwords.txt.gz`; a test compares it with Django's.
"""

from __future__ import annotations

import base64
import gzip
import hashlib
import re
import secrets
from difflib import SequenceMatcher
from functools import cache
from typing import TYPE_CHECKING

from cp_ops.runtime.statements import INCLUDE

if TYPE_CHECKING:
    from collections.abc import Iterable

ITERATIONS = 600_000
"""PBKDF2 rounds of Django 4.2's `PBKDF2PasswordHasher`."""
SALT_LENGTH = 22
UNUSABLE_LENGTH = 40
ALPHABET = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789"
MIN_LENGTH = 12
MAX_SIMILARITY = 0.7
COMMON_PASSWORDS = INCLUDE / "common_passwords.txt.gz"


def hash_password(password: str) -> str:
    """Give a new `auth_user.password` value: ``pbkdf2_sha256$600000$salt$hash``, a fresh salt each time."""
    salt = _random(SALT_LENGTH)
    digest = hashlib.pbkdf2_hmac("sha256", password.encode(), salt.encode(), ITERATIONS)
    return f"pbkdf2_sha256${ITERATIONS}${salt}${base64.b64encode(digest).decode('ascii')}"


def unusable_password() -> str:
    """Give an `auth_user.password` value that no password matches: ``!`` and 40 random characters."""
    return "!" + _random(UNUSABLE_LENGTH)


def weaknesses(password: str, about: Iterable[str]) -> list[str]:
    """Tell why the application would refuse a password; empty when it would take it. Never quotes the password.

    The rules of the application's AUTH_PASSWORD_VALIDATORS: Django's four, with a minimum length of 12.

    :param about: the account's user name, names and e-mail address.
    """
    found = []
    if len(password) < MIN_LENGTH:
        found.append(f"is shorter than {MIN_LENGTH} characters")
    if any(_similar(password.lower(), value) for value in about):
        found.append("is too similar to the account's user name, name or e-mail address")
    if password.lower().strip() in common_passwords():
        found.append("is one of the 20,000 most common passwords")
    if password.isdigit():
        found.append("is all digits")
    return found


@cache
def common_passwords() -> frozenset[str]:
    """Read the list of common passwords, once per process."""
    with gzip.open(COMMON_PASSWORDS, "rt", encoding="utf-8") as lines:
        return frozenset(line.strip() for line in lines)


def _similar(password: str, value: str) -> bool:
    """Compare as Django's `UserAttributeSimilarityValidator` does."""
    lower = value.lower()
    return any(
        SequenceMatcher(a=password, b=part).quick_ratio() >= MAX_SIMILARITY
        for part in [*re.split(r"\W+", lower), lower]
        if lower and not _much_longer(password, part)
    )


def _much_longer(password: str, part: str) -> bool:
    return len(password) >= 10 * len(part) and len(part) < MAX_SIMILARITY / 2 * len(password)


def _random(length: int) -> str:
    return "".join(secrets.choice(ALPHABET) for _ in range(length))
