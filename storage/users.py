"""Users of the API: their names and roles, wrong passwords, invitations, and the bearer tokens that are alive (as digests)."""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import delete, func, insert, select, update

from core.errors import ConfigError
from storage.account_file import AccountFile
from storage.account_models import invitations, logins, users

ROLES = ("viewer", "trader", "owner")  # each may all that the ones before it may
MOST_LOGINS = 20  # of one user at a time; the oldest ends


@dataclass(frozen=True, slots=True)
class User:
    """`password` is an Argon2id hash. `locked_until` is when wrong passwords are forgotten."""

    id: int
    username: str
    name: str
    role: str
    password: str
    failures: int
    locked_until: datetime | None
    active_app: int | None

    def may(self, role: str) -> bool:
        return ROLES.index(self.role) >= ROLES.index(role)


class Users:
    """The people of one accounts file. Tokens and codes are kept as SHA-256: they are random, and the file alone logs nobody in."""

    def __init__(self, file: AccountFile) -> None:
        self._file = file
        self._known: tuple[object, dict[str, tuple[User, str]]] = (None, {})  # the file's change, and by digest whose token, until when

    def add(self, username: str, name: str, password: str, invitation: str | None, now: datetime) -> User:
        """The first user is the owner; another needs an unused invitation, which gives the role. ConfigError otherwise."""
        username = username.strip().lower()
        with self._file.writing() as connection:
            role = "owner"
            if connection.execute(select(func.count()).select_from(users)).scalar():
                found = connection.execute(select(invitations).where(invitations.c.code == digest(invitation or ""))).mappings().first()
                if found is None or found["used_by"] is not None or datetime.fromisoformat(found["expires_at"]) <= now:
                    raise ConfigError("registering needs an invitation of the owner that is neither used nor older than its date")
                role = str(found["role"])
            if connection.execute(select(users.c.id).where(users.c.username == username)).scalar() is not None:
                raise ConfigError(f"the name {username!r} is taken; choose another, or log in")
            row = {"username": username, "name": name, "password": password, "role": role, "created_at": now.isoformat(), "failures": 0}
            made = connection.execute(insert(users).values(row)).inserted_primary_key
            assert made is not None
            if invitation and role != "owner":
                connection.execute(update(invitations).where(invitations.c.code == digest(invitation)).values(used_by=made[0]))
        return self.get(int(made[0]))

    def get(self, user_id: int) -> User:
        with self._file.reading() as connection:
            return _user(connection.execute(select(users).where(users.c.id == user_id)).mappings().one())

    def named(self, username: str) -> User | None:
        with self._file.reading() as connection:
            row = connection.execute(select(users).where(users.c.username == username.strip().lower())).mappings().first()
        return None if row is None else _user(row)

    def all(self) -> list[User]:
        with self._file.reading() as connection:
            return [_user(row) for row in connection.execute(select(users).order_by(users.c.id)).mappings().all()]

    def failed(self, user: User, now: datetime, most: int, pause: timedelta) -> None:
        """One more wrong password; at `most` the user is locked out for `pause`."""
        with self._file.writing() as connection:
            failures = int(connection.execute(select(users.c.failures).where(users.c.id == user.id)).scalar() or 0) + 1
            values: dict[str, Any] = {"failures": failures}
            if failures >= most:
                values = {"failures": 0, "locked_until": (now + pause).isoformat()}
            connection.execute(update(users).where(users.c.id == user.id).values(values))

    def succeeded(self, user: User, password: str | None = None) -> None:
        """The right password: forget the wrong ones; `password` replaces a hash made at another cost."""
        values: dict[str, Any] = {"failures": 0, "locked_until": None}
        if password is not None:
            values["password"] = password
        with self._file.writing() as connection:
            connection.execute(update(users).where(users.c.id == user.id).values(values))

    def activate_app(self, user: User, app_id: int | None) -> None:
        with self._file.writing() as connection:
            connection.execute(update(users).where(users.c.id == user.id).values(active_app=app_id))

    # --- invitations and tokens -----------------------------------------------------------------------------------------------------------

    def invite(self, owner: User, role: str, code: str, expires_at: datetime) -> None:
        row = {"code": digest(code), "role": role, "created_by": owner.id, "expires_at": expires_at.isoformat()}
        with self._file.writing() as connection:
            connection.execute(insert(invitations).values(row))

    def log_in(self, user: User, token: str, now: datetime, expires_at: datetime) -> None:
        row = {"token": digest(token), "user_id": user.id, "created_at": now.isoformat(), "expires_at": expires_at.isoformat()}
        with self._file.writing() as connection:
            connection.execute(delete(logins).where(logins.c.expires_at <= now.isoformat()))
            alive = select(logins.c.token).where(logins.c.user_id == user.id).order_by(logins.c.created_at.desc())
            for old in connection.execute(alive).scalars().all()[MOST_LOGINS - 1 :]:
                connection.execute(delete(logins).where(logins.c.token == old))
            connection.execute(insert(logins).values(row))

    def of_token(self, token: str, now: datetime) -> User | None:
        """Whose living token this is. What was read is known until the file changes: a token that is revoked anywhere ends at once."""
        if (known := self.recall(token, now)) is not None:
            return known
        change, mine = self._file.change(), digest(token)
        wanted = select(users, logins.c.expires_at).join(logins, logins.c.user_id == users.c.id)
        with self._file.reading() as connection:
            row = connection.execute(wanted.where(logins.c.token == mine, logins.c.expires_at > now.isoformat())).mappings().first()
        if row is None:
            return None
        user = _user(row)
        kept = self._known if self._known[0] == change else (change, dict[str, tuple[User, str]]())
        kept[1][mine] = user, str(row["expires_at"])
        self._known = kept
        return user

    def recall(self, token: str, now: datetime) -> User | None:
        """The same without a look into the tables: None for a token that was not asked for since the file's last change."""
        change, known = self._known
        found = known.get(digest(token))
        if found is None or found[1] <= now.isoformat() or change != self._file.change():
            return None
        return found[0]

    def prolong(self, token: str, now: datetime, until: datetime, longest: timedelta) -> bool:
        """Let a living token live until `until`, at most `longest` after its log-in; False where it lives no more."""
        mine = logins.c.token == digest(token)
        with self._file.writing() as connection:
            row = connection.execute(select(logins).where(mine, logins.c.expires_at > now.isoformat())).mappings().first()
            if row is None:
                return False
            last = datetime.fromisoformat(row["created_at"]) + longest
            latest = max(datetime.fromisoformat(row["expires_at"]), min(until, last))
            connection.execute(update(logins).where(mine).values(expires_at=latest.isoformat()))
        return True

    def log_out(self, token: str) -> None:
        with self._file.writing() as connection:
            connection.execute(delete(logins).where(logins.c.token == digest(token)))

    def log_out_everywhere(self, user: User) -> None:
        with self._file.writing() as connection:
            connection.execute(delete(logins).where(logins.c.user_id == user.id))


def digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


def _user(row: Mapping[str, Any] | Any) -> User:
    locked = row["locked_until"]
    return User(
        row["id"],
        row["username"],
        row["name"],
        row["role"],
        row["password"],
        row["failures"],
        datetime.fromisoformat(locked) if locked else None,
        row["active_app"],
    )
