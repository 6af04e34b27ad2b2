"""The credential store: named secrets and the secrets of broker apps, sealed in accounts.sqlite, opened for the call that needs them."""

import os
import secrets as random
import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from sqlalchemy import Connection, delete, func, insert, select, update

from core.errors import ConfigError
from storage.account_file import AccountFile
from storage.account_models import app_secrets, apps, secrets, users, vault_keys
from storage.vault import Cipher, KeyRow, VaultError, make_key, shown, unlock

KEY_FILE = "vault.key"  # in the state folder, unless the operator keeps it elsewhere
FIELDS = ("api_key", "secret_key", "mpin", "refresh_token", "totp_secret")
_NAMES = {  # how a secret's name ends, and where in an app it stands
    "_API_KEY": "api_key",
    "_API_SECRET": "secret_key",
    "_SECRET_KEY": "secret_key",
    "_MPIN": "mpin",
    "_REFRESH_TOKEN": "refresh_token",
    "_TOTP_SECRET": "totp_secret",
    "_CLIENT_CODE": "account_id",
    "_CLIENT_ID": "account_id",
    "_USER_ID": "account_id",
}


@dataclass(frozen=True, slots=True)
class App:
    """One set of broker credentials without its secrets. `holds` says of each secret what may be shown of it."""

    id: int
    user_id: int
    broker: str
    name: str
    account_id: str
    is_default: bool
    created_at: str
    holds: Mapping[str, str]


class Materials:
    """Where a vault's password or key file may lie: the operator's places, in order, then the state folder. Read anew at each unlock."""

    def __init__(self, state: Path, elsewhere: Sequence[Path] = (), typed: bytes | None = None) -> None:
        self.own = state / KEY_FILE
        self._elsewhere = tuple(elsewhere)
        self.typed = typed

    def found(self) -> list[bytes]:
        """Everything there is to try."""
        places = [*self._elsewhere, self.own, self.own.with_suffix(".new")]
        found = [] if self.typed is None else [self.typed]
        for place in places:
            if not place.is_file():
                continue
            if place.stat().st_mode & 0o077 and place in (self.own, self.own.with_suffix(".new")):
                raise ConfigError(f"{place} is readable by others: chmod 600 {place}")
            found.append(place.read_bytes())
        return found

    def write_own(self, *, suffix: str = ".key") -> bytes:
        """A fresh key file in the state folder, readable by its owner alone; one that is there is never overwritten."""
        material = random.token_hex(32).encode() + b"\n"
        path = self.own.with_suffix(suffix)
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        with os.fdopen(descriptor, "wb") as file:
            file.write(material)
            file.flush()
            os.fsync(file.fileno())
        return material

    def settle(self, right: bytes) -> None:
        """After a rotation (or one that died half-way): the key file that fits is the only one."""
        fresh = self.own.with_suffix(".new")
        if fresh.is_file() and fresh.read_bytes() == right:
            fresh.replace(self.own)


class Vault:
    """Named secrets and app secrets of one accounts file. Unlocked at its first use; the key stays in this process's memory."""

    def __init__(self, file: AccountFile, materials: Materials) -> None:
        self._file = file
        self._materials = materials
        self._cipher: Cipher | None = None
        self._lock = threading.Lock()

    # --- the key ------------------------------------------------------------------------------------------------------------------------

    @property
    def ready(self) -> bool:
        """Whether `init` has been done."""
        return self._key_row() is not None

    def init(self, now: datetime, *, password: bytes | None = None, key: bytes | None = None) -> None:
        """Make the first key: of a password, of a key file kept elsewhere, or (default) of a new file in the state folder."""
        if self.ready:
            raise ConfigError("this vault has a key already; `main.py vault rotate` changes it")
        material = password if password is not None else key
        if material is None:
            material = self._materials.own.read_bytes() if self._materials.own.is_file() else self._materials.write_own()
        row, cipher = make_key(1, "password" if password is not None else "file", material)
        with self._file.writing() as connection:
            connection.execute(insert(vault_keys).values(_key_values(row, now)))
        self._cipher = cipher

    def ensure(self, now: datetime) -> None:
        """A vault of its own key file, where nobody has made one."""
        if not self.ready:
            self.init(now)

    def rotate(self, now: datetime, *, password: bytes | None = None, key: bytes | None = None) -> int:
        """Seal everything with a new key, in one transaction; says how many texts. The old password or file is worth nothing afterwards."""
        old = self._unlocked()
        material, own = password if password is not None else key, False
        if material is None:
            self._materials.own.with_suffix(".new").unlink(missing_ok=True)
            material, own = self._materials.write_own(suffix=".new"), True
        row, new = make_key(old.key_id + 1, "password" if password is not None else "file", material)
        count = 0
        with self._file.writing() as connection:
            for name, sealed in connection.execute(select(secrets.c.name, secrets.c.value)).all():
                text = old.open(sealed, f"secrets/{name}")
                connection.execute(update(secrets).where(secrets.c.name == name).values(value=new.seal(text, f"secrets/{name}")))
                count += 1
            for record in connection.execute(select(app_secrets)).mappings().all():
                fresh: dict[str, str] = {}
                for field in FIELDS:
                    if record[field]:
                        identity = _identity(record["app_id"], field)
                        fresh[field] = new.seal(old.open(record[field], identity), identity)
                if fresh:
                    connection.execute(update(app_secrets).where(app_secrets.c.id == record["id"]).values(fresh))
                    count += len(fresh)
            connection.execute(delete(vault_keys))
            connection.execute(insert(vault_keys).values(_key_values(row, now)))
        self._cipher = new
        if own:
            self._materials.settle(material)
        return count

    def _key_row(self) -> KeyRow | None:
        with self._file.reading() as connection:
            row = connection.execute(select(vault_keys).order_by(vault_keys.c.id.desc()).limit(1)).mappings().first()
        return None if row is None else KeyRow(row["id"], row["kind"], row["salt"], row["cost"], row["proof"])

    def _unlocked(self) -> Cipher:
        with self._lock:
            row = self._key_row()
            if row is None:
                raise VaultError("the vault has no key yet: `main.py vault init`")
            if self._cipher is None or self._cipher.key_id != row.id:
                self._cipher = self._unlock(row)
            return self._cipher

    def _unlock(self, row: KeyRow) -> Cipher:
        for material in self._materials.found():
            cipher = unlock(row, material)
            if cipher is not None:
                self._materials.settle(material)
                return cipher
        what = "password" if row.kind == "password" else "key file"
        raise VaultError(
            f"the vault is locked: no {what} found opens it; give it as the systemd credential niyam-vault, in the file that "
            f"NIYAM_VAULT_KEY_FILE names, or as {self._materials.own}"
        )

    # --- named secrets ------------------------------------------------------------------------------------------------------------------

    def put(self, name: str, value: str) -> None:
        """Keep a secret under its name, instead of an earlier one."""
        sealed = self._unlocked().seal(value, f"secrets/{name}")
        with self._file.writing() as connection:
            connection.execute(delete(secrets).where(secrets.c.name == name))
            connection.execute(insert(secrets).values(name=name, value=sealed))

    def drop(self, name: str) -> bool:
        """Forget a secret; False where there was none."""
        with self._file.writing() as connection:
            return bool(connection.execute(delete(secrets).where(secrets.c.name == name)).rowcount)

    def find(self, name: str, app: str | None = None) -> str | None:
        """The secret of that name: of the owner's app `app` where one is given, else by its own name; None where it is not there."""
        field = next((field for ending, field in _NAMES.items() if name.endswith(ending)), None)
        if app is not None and field is not None:
            found = self._owners_app(app)
            if found is None:
                raise ConfigError(f"the vault holds no app {app!r} of the owner (settings.yaml names it as an account's `app`)")
            if name.startswith(f"{found.broker.upper()}_"):
                value = found.account_id if field == "account_id" else self.app_secret(found.id, field)
                if value:
                    return value
        with self._file.reading() as connection:
            sealed = connection.execute(select(secrets.c.value).where(secrets.c.name == name)).scalar()
        return None if sealed is None else self._unlocked().open(str(sealed), f"secrets/{name}")

    def listed(self) -> dict[str, str]:
        """Every named secret, and what may be shown of it."""
        with self._file.reading() as connection:
            rows = connection.execute(select(secrets.c.name, secrets.c.value).order_by(secrets.c.name)).all()
        return {name: shown(self._unlocked().open(sealed, f"secrets/{name}")) for name, sealed in rows}

    # --- apps ---------------------------------------------------------------------------------------------------------------------------

    def add_app(
        self, user_id: int, broker: str, name: str, account_id: str, given: Mapping[str, str], now: datetime, *, default: bool = False
    ) -> App:
        """A new app; ConfigError where the user has one of that name. A user's first one is the default."""
        self._unlocked()
        with self._file.writing() as connection:
            taken = connection.execute(select(apps.c.id).where(apps.c.user_id == user_id, apps.c.name == name)).scalar()
            if taken is not None:
                raise ConfigError(f"you have an app named {name!r} already; choose another name, or change that one")
            first = connection.execute(select(func.count()).where(apps.c.user_id == user_id)).scalar() == 0
            if default:
                connection.execute(update(apps).where(apps.c.user_id == user_id).values(is_default=False))
            row = {"user_id": user_id, "broker": broker, "name": name, "account_id": account_id,
                   "is_default": first or default, "created_at": now.isoformat()}  # fmt: skip
            made = connection.execute(insert(apps).values(row)).inserted_primary_key
            assert made is not None
            app_id = int(made[0])
            connection.execute(insert(app_secrets).values(app_id=app_id))
            self._seal_into(connection, app_id, given)
        return self.app(app_id)

    def change_app(self, app_id: int, changes: Mapping[str, Any]) -> App:
        """Change name, account_id, is_default (true only) or secrets of an app."""
        sealed = {field: str(value) for field, value in changes.items() if field in FIELDS and value}
        plain = {field: value for field, value in changes.items() if field in ("name", "account_id") and value is not None}
        owner = self.app(app_id).user_id
        with self._file.writing() as connection:
            if "name" in plain:
                same = select(apps.c.id).where(apps.c.user_id == owner, apps.c.name == plain["name"], apps.c.id != app_id)
                if connection.execute(same).scalar() is not None:
                    raise ConfigError(f"you have an app named {plain['name']!r} already; choose another name")
            if changes.get("is_default"):
                connection.execute(update(apps).where(apps.c.user_id == owner).values(is_default=False))
                plain["is_default"] = True
            if plain:
                connection.execute(update(apps).where(apps.c.id == app_id).values(plain))
            self._seal_into(connection, app_id, sealed)
        return self.app(app_id)

    def drop_app(self, app_id: int) -> None:
        """Forget an app, its secrets and what was remembered of it."""
        from storage.account_models import answers, equity

        with self._file.writing() as connection:
            for table in (answers, equity, app_secrets):
                connection.execute(delete(table).where(table.c.app_id == app_id))
            connection.execute(update(users).where(users.c.active_app == app_id).values(active_app=None))
            connection.execute(delete(apps).where(apps.c.id == app_id))

    def app(self, app_id: int) -> App:
        """One app; ConfigError where there is none of that number."""
        with self._file.reading() as connection:
            row = connection.execute(select(apps).where(apps.c.id == app_id)).mappings().first()
        if row is None:
            raise ConfigError(f"there is no app {app_id}")
        return self._app(row)

    def apps_of(self, user_id: int | None = None) -> list[App]:
        """A user's apps, or everybody's."""
        wanted = select(apps).order_by(apps.c.id)
        with self._file.reading() as connection:
            rows = connection.execute(wanted if user_id is None else wanted.where(apps.c.user_id == user_id)).mappings().all()
        return [self._app(row) for row in rows]

    def app_secret(self, app_id: int, field: str) -> str | None:
        """One secret of an app, opened; None where it was not given."""
        with self._file.reading() as connection:
            sealed = connection.execute(select(app_secrets.c[field]).where(app_secrets.c.app_id == app_id)).scalar()
        return self._unlocked().open(str(sealed), _identity(app_id, field)) if sealed else None

    def _owners_app(self, name: str) -> App | None:
        wanted = select(apps).join(users, users.c.id == apps.c.user_id).where(apps.c.name == name, users.c.role == "owner")
        with self._file.reading() as connection:
            row = connection.execute(wanted).mappings().first()
        return None if row is None else self._app(row)

    def _seal_into(self, connection: Connection, app_id: int, given: Mapping[str, str]) -> None:
        cipher = self._unlocked()
        sealed = {field: cipher.seal(value, _identity(app_id, field)) for field, value in given.items() if field in FIELDS and value}
        if sealed:
            connection.execute(update(app_secrets).where(app_secrets.c.app_id == app_id).values(sealed))

    def _app(self, row: Any) -> App:
        holds = {}
        for field in FIELDS:
            value = self.app_secret(row["id"], field)
            if value:
                holds[field] = shown(value)
        return App(
            row["id"], row["user_id"], row["broker"], row["name"], row["account_id"], bool(row["is_default"]), row["created_at"], holds
        )


class AppCredentials:
    """One app's secrets under the names that a broker's folder asks for (`ZERODHA_API_KEY`); see core.ports.CredentialStore."""

    def __init__(self, vault: Vault, app: App, more: Mapping[str, str] | None = None) -> None:
        """`more` are settings that belong to the machine rather than to the app (a redirect URL)."""
        self._vault = vault
        self._app = app
        self._more = more or {}

    def get_secret(self, name: str) -> str:
        if name in self._more:
            return self._more[name]
        field = next((field for ending, field in _NAMES.items() if name.endswith(ending)), None)
        if field is not None and name.startswith(f"{self._app.broker.upper()}_"):
            value = self._app.account_id if field == "account_id" else self._vault.app_secret(self._app.id, field)
            if value:
                return value
        raise ConfigError(f"the app {self._app.name!r} has no {field or name}; add it to the app")


def _identity(app_id: int, field: str) -> str:
    return f"app_secrets/{app_id}/{field}"


def _key_values(row: KeyRow, now: datetime) -> dict[str, Any]:
    return {"id": row.id, "kind": row.kind, "salt": row.salt, "cost": row.cost, "proof": row.proof, "created_at": now.isoformat()}
