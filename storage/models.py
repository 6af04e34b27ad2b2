"""The tables of the ledger. Each row carries its whole struct as JSON in `body`; the other columns exist to find it and to guard it."""

from sqlalchemy import BigInteger, CheckConstraint, Column, Index, Integer, MetaData, Table, Text, UniqueConstraint

HEAD = "0001"
"""The newest migration in storage/migrations/versions; a ledger at this version is opened without importing Alembic."""

metadata = MetaData()

journal = Table(
    "journal",
    metadata,
    Column("seq", BigInteger, primary_key=True, autoincrement=False),  # 1, 2, 3, ... without a gap
    Column("at", Text, nullable=False),  # ISO 8601, +05:30, microseconds
    Column("day", Text, nullable=False),
    Column("kind", Text, nullable=False),
    Column("body", Text, nullable=False),
    Index("journal_by_day", "day", "seq"),
    Index("journal_by_kind", "kind", "seq"),
)

orders = Table(
    "orders",
    metadata,
    Column("id", Text, primary_key=True),
    Column("tag", Text, nullable=False),
    Column("day", Text, nullable=False),  # of its creation
    Column("created_at", Text, nullable=False),
    Column("state", Text, nullable=False),
    Column("body", Text, nullable=False),
    UniqueConstraint("tag", name="orders_tag_once"),
    Index("orders_by_day", "day", "created_at"),
    Index("orders_by_state", "state"),
)

fills = Table(
    "fills",
    metadata,
    Column("seq", BigInteger, primary_key=True, autoincrement=False),  # the order of booking
    Column("account", Text, nullable=False),
    Column("day", Text, nullable=False),
    Column("instrument", Text, nullable=False),
    Column("side", Text, nullable=False),
    Column("id", Text, nullable=False),
    Column("order_id", Text, nullable=False),
    Column("body", Text, nullable=False),
    UniqueConstraint("account", "day", "instrument", "side", "id", "order_id", name="fills_once"),
    Index("fills_by_day", "day", "seq"),
)

positions = Table(
    "positions",
    metadata,
    Column("account", Text, primary_key=True),
    Column("strategy", Text, primary_key=True),
    Column("instrument", Text, primary_key=True),
    Column("product", Text, primary_key=True),
    Column("body", Text, nullable=False),
)

state = Table(
    "state",
    metadata,
    Column("space", Text, primary_key=True),
    Column("key", Text, primary_key=True),
    Column("body", Text, nullable=False),
)

snapshot = Table(
    "snapshot",
    metadata,
    Column("id", Integer, CheckConstraint("id = 1", name="one_snapshot"), primary_key=True, autoincrement=False),
    Column("body", Text, nullable=False),
)
