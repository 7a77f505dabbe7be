"""Passwords in addresses: found, and taken out of every text that is kept or shown."""

from __future__ import annotations

import re

_USER = re.compile(r"(?<=://)[^/?#\s'\"@]*(?:@[^/?#\s'\"@]*)*@")
"""What stands before the host: `user:password@`, or a token alone."""


def has_password(text: str) -> bool:
    """Whether an address in a text names a user with a password or a token."""
    return _USER.search(text) is not None


def without_passwords(text: str) -> str:
    """The text with `***@` in the place of the user and password of every address."""
    return _USER.sub("***@", text)
