"""The codes of an authenticator app (RFC 6238), as the brokers' login services expect them."""

import base64
import hashlib
import hmac
import struct
from datetime import datetime

_STEP_S = 30


def totp(secret: str, at: datetime, step: int = 0) -> str:
    """The six digits (SHA-1, 30 s) at `at`, `step` windows later."""
    key = base64.b32decode(secret + "=" * (-len(secret) % 8), casefold=True)
    digest = hmac.new(key, struct.pack(">Q", int(at.timestamp()) // _STEP_S + step), hashlib.sha1).digest()
    start = digest[-1] & 15
    return f"{(int.from_bytes(digest[start : start + 4], 'big') & 0x7FFFFFFF) % 1_000_000:06d}"
