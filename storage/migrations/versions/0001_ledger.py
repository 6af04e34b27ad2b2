"""The ledger: journal, orders, fills, positions, kept state, the last snapshot; journal and fills only ever grow."""

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None

APPEND_ONLY = ("journal", "fills")


def upgrade() -> None:
    op.create_table(
        "journal",
        sa.Column("seq", sa.BigInteger, primary_key=True, autoincrement=False),
        sa.Column("at", sa.Text, nullable=False),
        sa.Column("day", sa.Text, nullable=False),
        sa.Column("kind", sa.Text, nullable=False),
        sa.Column("body", sa.Text, nullable=False),
    )
    op.create_index("journal_by_day", "journal", ["day", "seq"])
    op.create_index("journal_by_kind", "journal", ["kind", "seq"])
    op.create_table(
        "orders",
        sa.Column("id", sa.Text, primary_key=True),
        sa.Column("tag", sa.Text, nullable=False),
        sa.Column("day", sa.Text, nullable=False),
        sa.Column("created_at", sa.Text, nullable=False),
        sa.Column("state", sa.Text, nullable=False),
        sa.Column("body", sa.Text, nullable=False),
        sa.UniqueConstraint("tag", name="orders_tag_once"),
    )
    op.create_index("orders_by_day", "orders", ["day", "created_at"])
    op.create_index("orders_by_state", "orders", ["state"])
    op.create_table(
        "fills",
        sa.Column("seq", sa.BigInteger, primary_key=True, autoincrement=False),
        sa.Column("account", sa.Text, nullable=False),
        sa.Column("day", sa.Text, nullable=False),
        sa.Column("instrument", sa.Text, nullable=False),
        sa.Column("side", sa.Text, nullable=False),
        sa.Column("id", sa.Text, nullable=False),
        sa.Column("order_id", sa.Text, nullable=False),
        sa.Column("body", sa.Text, nullable=False),
        sa.UniqueConstraint("account", "day", "instrument", "side", "id", "order_id", name="fills_once"),
    )
    op.create_index("fills_by_day", "fills", ["day", "seq"])
    op.create_table(
        "positions",
        sa.Column("account", sa.Text, primary_key=True),
        sa.Column("strategy", sa.Text, primary_key=True),
        sa.Column("instrument", sa.Text, primary_key=True),
        sa.Column("product", sa.Text, primary_key=True),
        sa.Column("body", sa.Text, nullable=False),
    )
    op.create_table(
        "state",
        sa.Column("space", sa.Text, primary_key=True),
        sa.Column("key", sa.Text, primary_key=True),
        sa.Column("body", sa.Text, nullable=False),
    )
    op.create_table(
        "snapshot",
        sa.Column("id", sa.Integer, sa.CheckConstraint("id = 1", name="one_snapshot"), primary_key=True, autoincrement=False),
        sa.Column("body", sa.Text, nullable=False),
    )
    guard = _guard_on_postgresql if op.get_bind().dialect.name == "postgresql" else _guard_on_sqlite
    guard()


def downgrade() -> None:
    for table in ("snapshot", "state", "positions", "fills", "orders", "journal"):
        op.drop_table(table)
    if op.get_bind().dialect.name == "postgresql":
        op.execute("DROP FUNCTION append_only()")


def _guard_on_sqlite() -> None:
    for table in APPEND_ONLY:
        for act in ("UPDATE", "DELETE"):
            op.execute(
                f"CREATE TRIGGER {table}_no_{act.lower()} BEFORE {act} ON {table} BEGIN SELECT RAISE(ABORT, '{table} is append-only'); END"
            )


def _guard_on_postgresql() -> None:
    op.execute(
        "CREATE FUNCTION append_only() RETURNS trigger LANGUAGE plpgsql AS "
        "$$ BEGIN RAISE EXCEPTION '% is append-only', TG_TABLE_NAME USING ERRCODE = 'restrict_violation'; END $$"
    )
    for table in APPEND_ONLY:
        op.execute(
            f"CREATE TRIGGER {table}_append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON {table} "
            f"FOR EACH STATEMENT EXECUTE FUNCTION append_only()"
        )
