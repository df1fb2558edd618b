"""Who the service is and which store it has; and no row that Mosic itself would not write."""

from __future__ import annotations

import sqlalchemy as sa
import structlog
from alembic import op
from sqlalchemy.dialects.postgresql import ARRAY

revision = "0007"
down_revision = "0006"
branch_labels = None
depends_on = None

_log = structlog.get_logger("mosic.migrate")

# Of rows that were written around Mosic, what can be unknown becomes so. A row that breaks a rule afterwards
# stays as it is: its rule then holds for new rows alone.
_MENDING = (
    "UPDATE clips SET media_type = 'application/octet-stream' WHERE NOT"
    " media_type ~ '^(audio/[a-z0-9][a-z0-9.+-]*|application/octet-stream)$'",
    "UPDATE clips SET duration = NULL WHERE NOT (duration >= 0 AND duration < 'Infinity')",
    "UPDATE clips SET bitrate = NULL WHERE bitrate < 0",
    "UPDATE clips SET sample_rate = NULL WHERE sample_rate < 0",
    "UPDATE clips SET channels = NULL WHERE channels < 0",
    "UPDATE clips SET track_number = NULL WHERE track_number < 0",
    "UPDATE clips SET disc_number = NULL WHERE disc_number < 0",
    "UPDATE clips SET revision = 1 WHERE revision < 1",
    "UPDATE clips SET tags = '{}' WHERE jsonb_typeof(tags) <> 'object'",
    "UPDATE clip_plays SET play_count = greatest(play_count, 0), bytes_streamed = greatest(bytes_streamed, 0)"
    " WHERE play_count < 0 OR bytes_streamed < 0",
)
_RULES = (
    ("clips", "blob_key", "blob_key ~ '^[0-9a-f]{32}$'"),
    ("clips", "external_url", "external_url ~* '^https?://' AND external_url !~ '[\\x01-\\x1f\\x7f]'"),
    (
        "clips",
        "media_type",
        "media_type ~ '^(audio/[a-z0-9][a-z0-9.+-]*|application/octet-stream)$'",
    ),
    ("clips", "size", "size >= 0"),
    ("clips", "sha256", "octet_length(sha256) = 32"),
    ("clips", "duration", "duration >= 0 AND duration < 'Infinity'"),
    (
        "clips",
        "numbers",
        "bitrate >= 0 AND sample_rate >= 0 AND channels >= 0 AND track_number >= 0 AND disc_number >= 0",
    ),
    ("clips", "revision", "revision > 0"),
    ("clips", "tags", "jsonb_typeof(tags) = 'object'"),
    ("clip_plays", "counts", "play_count >= 0 AND bytes_streamed >= 0"),
    ("uploads", "length", "length >= 0"),
    ("uploads", "sha256", "octet_length(sha256) = 32"),
)


def upgrade() -> None:
    op.create_table(
        "service",
        sa.Column("singleton", sa.Boolean, nullable=False, server_default=sa.true()),
        sa.Column("id", sa.Uuid, nullable=False, server_default=sa.func.gen_random_uuid()),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False, server_default=sa.func.now()),
        sa.Column("store_id", sa.Uuid),
        sa.Column("store_adopted_at", sa.DateTime(timezone=True)),
        sa.Column("url_secrets", ARRAY(sa.LargeBinary), nullable=False, server_default=sa.text("'{}'")),
        sa.Column("made_key", sa.LargeBinary),
        sa.CheckConstraint("singleton", name=op.f("ck_service_one_row")),
        sa.CheckConstraint(
            "store_adopted_at IS NULL OR store_id IS NOT NULL", name=op.f("ck_service_adopted_store")
        ),
        sa.PrimaryKeyConstraint("singleton", name=op.f("pk_service")),
    )
    for statement in _MENDING:
        mended = op.get_bind().execute(sa.text(statement)).rowcount
        if mended:
            _log.warning("values that Mosic would not write were taken out", statement=statement, rows=mended)
    for table, name, rule in _RULES:
        constraint = op.f(f"ck_{table}_{name}")
        # Numbers may be unknown: a rule is broken where it is false, not where it is unknown.
        broken = op.get_bind().scalar(sa.text(f"SELECT count(*) FROM {table} WHERE NOT ({rule})"))  # noqa: S608
        op.execute(f"ALTER TABLE {table} ADD CONSTRAINT {constraint} CHECK ({rule}) NOT VALID")
        if broken:
            _log.warning("rows that Mosic would not write were left as they are", rule=rule, rows=broken)
        else:
            op.execute(f"ALTER TABLE {table} VALIDATE CONSTRAINT {constraint}")


def downgrade() -> None:
    for table, name, _ in _RULES:
        op.drop_constraint(op.f(f"ck_{table}_{name}"), table, type_="check")
    op.drop_table("service")
