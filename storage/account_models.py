"""The tables of accounts.sqlite: users and their logins, broker apps and their sealed secrets, and what the dashboard remembers."""

from sqlalchemy import Boolean, Column, ForeignKey, Integer, MetaData, Table, Text, UniqueConstraint

HEAD = "0001"
"""The newest migration in storage/accounts_migrations/versions."""

metadata = MetaData()

users = Table(
    "users",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("username", Text, nullable=False, unique=True),  # in lower case
    Column("name", Text, nullable=False),
    Column("password", Text, nullable=False),  # Argon2id, with its parameters and salt
    Column("role", Text, nullable=False),  # owner, trader, viewer
    Column("created_at", Text, nullable=False),
    Column("failures", Integer, nullable=False),  # wrong passwords since the last right one
    Column("locked_until", Text),
    Column("active_app", Integer),  # the app last switched to; none: the default one
)

invitations = Table(
    "invitations",
    metadata,
    Column("code", Text, primary_key=True),  # SHA-256 of the code
    Column("role", Text, nullable=False),
    Column("created_by", Integer, ForeignKey("users.id"), nullable=False),
    Column("expires_at", Text, nullable=False),
    Column("used_by", Integer),
)

logins = Table(
    "logins",
    metadata,
    Column("token", Text, primary_key=True),  # SHA-256 of the bearer token
    Column("user_id", Integer, ForeignKey("users.id"), nullable=False),
    Column("created_at", Text, nullable=False),
    Column("expires_at", Text, nullable=False),
)

apps = Table(
    "apps",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("user_id", Integer, ForeignKey("users.id"), nullable=False),
    Column("broker", Text, nullable=False),
    Column("name", Text, nullable=False),
    Column("account_id", Text, nullable=False),  # the broker's name of the account: client code, user id
    Column("is_default", Boolean, nullable=False),
    Column("created_at", Text, nullable=False),
    UniqueConstraint("user_id", "name", name="apps_name_once"),
)

app_secrets = Table(
    "app_secrets",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("app_id", Integer, ForeignKey("apps.id"), nullable=False, unique=True),
    Column("api_key", Text),  # these five are sealed by storage/vault.py
    Column("secret_key", Text),
    Column("mpin", Text),
    Column("refresh_token", Text),
    Column("totp_secret", Text),
)

secrets = Table(
    "secrets",
    metadata,
    Column("name", Text, primary_key=True),  # as in ZERODHA_API_KEY
    Column("value", Text, nullable=False),  # sealed
)

vault_keys = Table(
    "vault_keys",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("kind", Text, nullable=False),  # password, file
    Column("salt", Text, nullable=False),
    Column("cost", Integer, nullable=False),  # scrypt's N; 0 for a key file
    Column("proof", Text, nullable=False),  # a known text, sealed: says whether a key is this one
    Column("created_at", Text, nullable=False),
)

answers = Table(
    "answers",
    metadata,
    Column("app_id", Integer, ForeignKey("apps.id"), primary_key=True),
    Column("as_of", Text, nullable=False),
    Column("body", Text, nullable=False),  # the last good answer of the broker, for when it fails
)

equity = Table(
    "equity",
    metadata,
    Column("app_id", Integer, ForeignKey("apps.id"), primary_key=True),
    Column("day", Text, primary_key=True),
    Column("value", Text, nullable=False),
    Column("profit", Text, nullable=False),
)

alerts_seen = Table(
    "alerts_seen",
    metadata,
    Column("digest", Text, primary_key=True),  # SHA-256 of a webhook's body: the same one acts once
    Column("at", Text, nullable=False),
)
