"""Plays of each day: docs/decisions/0039-played-over-time.md. What was played before belongs to no day."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0019"
down_revision = "0018"
branch_labels = None
depends_on = None

_IS_DAY = "day >= '1970-01-01' AND day < '9999-01-01'"
_COUNTED = "day_plays >= 0 AND (day IS NOT NULL OR day_plays = 0)"


def upgrade() -> None:
    # No row is written for a column with a constant default. Every row satisfies the rules, so they are
    # valid from the beginning; to look at each once takes a second for some millions.
    op.add_column("clip_plays", sa.Column("day", sa.Date))
    op.add_column("clip_plays", sa.Column("day_plays", sa.BigInteger, nullable=False, server_default="0"))
    op.create_check_constraint(op.f("ck_clip_plays_day_plays"), "clip_plays", _COUNTED)
    op.create_check_constraint(op.f("ck_clip_plays_day"), "clip_plays", _IS_DAY)
    op.create_table(
        "clip_days",
        sa.Column("clip_id", sa.Uuid, nullable=False),
        sa.Column("day", sa.Date, nullable=False),
        sa.Column("plays", sa.BigInteger, nullable=False),
        sa.PrimaryKeyConstraint("clip_id", "day", name=op.f("pk_clip_days")),
        sa.ForeignKeyConstraint(
            ["clip_id"],
            ["clip_plays.clip_id"],
            name=op.f("fk_clip_days_clip_id_clip_plays"),
            ondelete="CASCADE",
        ),
        sa.CheckConstraint("plays > 0 AND plays <= 1000000000000000000", name=op.f("ck_clip_days_plays")),
        sa.CheckConstraint(_IS_DAY, name=op.f("ck_clip_days_day")),
    )
    op.create_index(op.f("ix_clip_days_day"), "clip_days", ["day"], postgresql_include=["clip_id", "plays"])
    op.execute(
        """
        CREATE FUNCTION keep_day() RETURNS trigger LANGUAGE plpgsql AS $$
        BEGIN
            INSERT INTO clip_days AS kept (clip_id, day, plays) VALUES (OLD.clip_id, OLD.day, OLD.day_plays)
            ON CONFLICT (clip_id, day) DO UPDATE SET plays = kept.plays + excluded.plays;
            RETURN NULL;
        END $$
        """
    )
    op.execute(
        "DO $do$ BEGIN EXECUTE format("
        "'ALTER FUNCTION keep_day() SET search_path = %I, pg_temp', current_schema()); END $do$"
    )
    # The condition is looked at without a call.
    op.execute(
        "CREATE TRIGGER keep_day AFTER UPDATE ON clip_plays FOR EACH ROW"
        " WHEN (OLD.day < NEW.day AND OLD.day_plays > 0) EXECUTE FUNCTION keep_day()"
    )


def downgrade() -> None:
    op.execute("DROP TRIGGER keep_day ON clip_plays")
    op.execute("DROP FUNCTION keep_day()")
    op.drop_table("clip_days")
    op.drop_constraint(op.f("ck_clip_plays_day"), "clip_plays")
    op.drop_constraint(op.f("ck_clip_plays_day_plays"), "clip_plays")
    op.drop_column("clip_plays", "day_plays")
    op.drop_column("clip_plays", "day")
