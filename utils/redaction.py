"""Keeps secrets out of whatever is written: by the name of a key, and by values registered as secret."""

import re
import threading
from collections.abc import Mapping
from typing import Any

MASK = "***"
_SHORTEST = 6  # characters; a shorter value would mask ordinary words
_values: set[str] = set()
_lock = threading.Lock()
_pattern: re.Pattern[str] | None = None
_NAMES = (
    r"(?:api_?secret|(?:access|refresh|request|public|feed|jwt|session)_?token|enctoken|password|passwd|passphrase|mpin"
    r"|totp_?(?:secret|key)?|otp|checksum|client_?secret|private_?key|secret)"
)
_KEYED = re.compile(
    rf"""(?P<head>["']?\b[\w-]*?{_NAMES}["']?\s*(?:=|:|%3D)\s*(?:b?["'])?)(?P<value>[^\s"'&,;}}\])]+)""",
    re.IGNORECASE,
)
_NAME = re.compile(rf"{_NAMES}$|^authorization$", re.IGNORECASE)
_HEADER = re.compile(r"""(?P<head>\bauthorization["']?\s*[:=]\s*["']?(?:token|bearer|basic)?\s*)(?P<value>[^\s"',}]+)""", re.IGNORECASE)
_URL = re.compile(r"(?P<head>\b[a-z][a-z0-9+.-]*://[^\s/:@]+:)(?P<value>[^\s/@]+)(?=@)", re.IGNORECASE)


def register_secret(value: str) -> None:
    """Mask this very value wherever it appears from now on (values shorter than six characters are left to the key names)."""
    global _pattern
    if len(value) < _SHORTEST or value in _values:
        return
    with _lock:
        _values.add(value)
        _pattern = re.compile("|".join(re.escape(one) for one in sorted(_values, key=len, reverse=True)))


def redact(text: str) -> str:
    """The text with registered values, values of secret-looking keys, authorization headers and passwords in URLs replaced by `***`."""
    if _pattern is not None:
        text = _pattern.sub(MASK, text)
    for expression in (_HEADER, _KEYED, _URL):
        text = expression.sub(rf"\g<head>{MASK}", text)
    return text


def masked(value: Any) -> Any:
    """The same JSON-like value with the values of secret-looking keys replaced, and every text redacted."""
    if isinstance(value, str):
        return redact(value)
    if isinstance(value, Mapping):
        return {key: MASK if one and _NAME.search(str(key)) else masked(one) for key, one in value.items()}
    if isinstance(value, list | tuple):
        return [masked(one) for one in value]
    return value
