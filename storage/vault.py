"""Sealing: AES-256-GCM under a key that is never in the database, each text bound to the very record it belongs to.

1. The key comes from a password (scrypt, cost and salt kept with the key's id) or from a key file or systemd credential (HKDF-SHA256).
2. A sealed text is `v1.KEY_ID.BASE64(nonce, ciphertext, tag)`; the record's identity (`app_secrets/7/api_key`) is its associated data, so
   that a row copied to another place does not open.
3. `proof` is a known text sealed by the key: it says whether a password or file is the right one without any secret being opened.
"""

import base64
import binascii
import hmac
import os
import secrets as random
from hashlib import scrypt

import msgspec
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from core.errors import ConfigError, NiyamError

SCRYPT_COST = 2**17  # N with r=8, p=1: 128 MiB and some 0.3 s a try (OWASP's advice of 2025)
SHORTEST_PASSWORD = 12
SHORTEST_FILE = 32  # bytes
_PROOF = "niyam vault"
_NONCE = 12


class VaultError(NiyamError):
    """A sealed text does not open, or there is no key to open it with."""


class KeyRow(msgspec.Struct, frozen=True):
    """How a key is derived, and what proves it; nothing of the key itself."""

    id: int
    kind: str  # password, file
    salt: str
    cost: int
    proof: str


class Cipher:
    """One unlocked key."""

    def __init__(self, key_id: int, key: bytes) -> None:
        self.key_id = key_id
        self._aead = AESGCM(key)

    def __repr__(self) -> str:
        return f"Cipher({self.key_id})"

    def seal(self, text: str, identity: str) -> str:
        nonce = os.urandom(_NONCE)
        sealed = self._aead.encrypt(nonce, text.encode(), self._bound(identity))
        return f"v1.{self.key_id}.{base64.urlsafe_b64encode(nonce + sealed).decode()}"

    def open(self, sealed: str, identity: str) -> str:
        """The text; VaultError when it was sealed by another key, for another record, or was changed."""
        version, _, rest = sealed.partition(".")
        number, _, body = rest.partition(".")
        if version != "v1" or number != str(self.key_id):
            raise VaultError(f"{identity} was sealed by key {number or '?'}, the unlocked one is {self.key_id}; restart what reads it")
        try:
            raw = base64.urlsafe_b64decode(body)
            return self._aead.decrypt(raw[:_NONCE], raw[_NONCE:], self._bound(identity)).decode()
        except (InvalidTag, binascii.Error, ValueError):
            raise VaultError(f"{identity} does not open: it was changed, or belongs to another record; set it anew") from None

    def _bound(self, identity: str) -> bytes:
        return f"niyam/{self.key_id}/{identity}".encode()


def make_key(key_id: int, kind: str, material: bytes, *, cost: int = SCRYPT_COST) -> tuple[KeyRow, Cipher]:
    """A new key of this password or key file; ConfigError for one that is too short."""
    if kind == "password" and len(material.decode(errors="replace").strip()) < SHORTEST_PASSWORD:
        raise ConfigError(f"a vault's password has at least {SHORTEST_PASSWORD} characters")
    if kind == "file" and len(material) < SHORTEST_FILE:
        raise ConfigError(f"a vault's key file has at least {SHORTEST_FILE} bytes; `main.py vault init` writes a good one")
    salt = random.token_hex(16)
    row = KeyRow(key_id, kind, salt, cost if kind == "password" else 0, "")
    cipher = Cipher(key_id, _derived(row, material))
    return msgspec.structs.replace(row, proof=cipher.seal(_PROOF, "proof")), cipher


def unlock(row: KeyRow, material: bytes) -> Cipher | None:
    """The key of `row` if this password or file is the right one."""
    cipher = Cipher(row.id, _derived(row, material))
    try:
        return cipher if hmac.compare_digest(cipher.open(row.proof, "proof"), _PROOF) else None
    except VaultError:
        return None


def _derived(row: KeyRow, material: bytes) -> bytes:
    salt = bytes.fromhex(row.salt)
    if row.kind == "password":
        return scrypt(material.strip(), salt=salt, n=row.cost, r=8, p=1, maxmem=256 * row.cost * 8, dklen=32)
    return HKDF(SHA256(), 32, salt, b"niyam vault").derive(material)


def shown(text: str | None) -> str:
    """What a reply may say of a secret: nothing, that it is there, or its last four characters where that leaves enough unsaid."""
    if not text:
        return ""
    return f"…{text[-4:]}" if len(text) >= 12 else "…"


def from_fernet(token: str, key: str) -> str:
    """The text of a Fernet token as the former backend wrote it (`Fernet(key).encrypt(text)`); VaultError where the key is not its own."""
    from cryptography.fernet import Fernet, InvalidToken

    try:
        return Fernet(key.strip().encode()).decrypt(token.strip().encode()).decode()
    except (InvalidToken, ValueError, binascii.Error):
        raise VaultError("that is no Fernet token of this key; give the key and the token as the former backend stored them") from None
