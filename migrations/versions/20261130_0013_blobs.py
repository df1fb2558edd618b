"""Blobs become rows of their own, to which clips refer: docs/decisions/0028-blobs.md."""

from __future__ import annotations

import sqlalchemy as sa
import structlog
from alembic import op

revision = "0013"
down_revision = "0012"
branch_labels = None
depends_on = None

_log = structlog.get_logger("mosic.migrate")

_RULES = (
    ("key", "key ~ '^[0-9a-f]{32}$'"),
    ("sha256", "octet_length(sha256) = 32"),
    ("size", "size >= 0"),
    ("media_type", "media_type ~ '^(audio/[a-z0-9][a-z0-9.+-]*|application/octet-stream)$'"),
)


def upgrade() -> None:
    op.create_table(
        "blobs",
        sa.Column("key", sa.Text, nullable=False),
        sa.Column("sha256", sa.LargeBinary, nullable=False),
        sa.Column("size", sa.BigInteger, nullable=False),
        sa.Column("media_type", sa.Text, nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False, server_default=sa.func.now()),
        sa.PrimaryKeyConstraint("key", name=op.f("pk_blobs")),
        sa.UniqueConstraint("sha256", name=op.f("uq_blobs_sha256")),
    )
    op.execute(
        "INSERT INTO blobs (key, sha256, size, media_type, created_at)"
        " SELECT blob_key, sha256, size, media_type, coalesce(stored_at, created_at) FROM clips"
        " WHERE blob_key IS NOT NULL"
    )
    for name, rule in _RULES:
        # As in 0007: a row that somebody wrote around Mosic stays, and its rule holds for new rows alone.
        constraint = op.f(f"ck_blobs_{name}")
        broken = op.get_bind().scalar(sa.text(f"SELECT count(*) FROM blobs WHERE NOT ({rule})"))  # noqa: S608
        op.execute(f"ALTER TABLE blobs ADD CONSTRAINT {constraint} CHECK ({rule}) NOT VALID")
        if broken:
            _log.warning("rows that Mosic would not write were left as they are", rule=rule, rows=broken)
        else:
            op.execute(f"ALTER TABLE blobs VALIDATE CONSTRAINT {constraint}")
    op.execute("DROP TRIGGER claim_other_blob ON clips")
    op.execute("DROP TRIGGER claim_blob ON clips")
    _claim("key", "(CASE TG_OP WHEN 'INSERT' THEN NEW.created_at ELSE now() END)")
    op.execute("CREATE TRIGGER claim_blob BEFORE INSERT ON blobs FOR EACH ROW EXECUTE FUNCTION claim_blob()")
    op.execute(
        "CREATE TRIGGER claim_other_blob BEFORE UPDATE OF key ON blobs FOR EACH ROW"
        " WHEN (NEW.key IS DISTINCT FROM OLD.key) EXECUTE FUNCTION claim_blob()"
    )
    # The key of a blob changes when its clip goes to the trash.
    op.create_foreign_key(
        op.f("fk_clips_blob_key_blobs"), "clips", "blobs", ["blob_key"], ["key"], onupdate="CASCADE"
    )
    op.drop_constraint(op.f("ck_clips_blob_key"), "clips", type_="check")
    op.drop_constraint(op.f("ck_clips_blob_facts"), "clips", type_="check")
    op.drop_constraint(op.f("ck_clips_size"), "clips", type_="check")
    op.drop_constraint(op.f("ck_clips_sha256"), "clips", type_="check")
    op.drop_constraint(op.f("uq_clips_sha256"), "clips", type_="unique")
    op.drop_column("clips", "size")
    op.drop_column("clips", "sha256")
    op.execute("UPDATE clips SET media_type = NULL WHERE blob_key IS NOT NULL")
    op.create_check_constraint(
        op.f("ck_clips_media_type_of_blob"), "clips", "blob_key IS NULL OR media_type IS NULL"
    )


def downgrade() -> None:
    op.drop_constraint(op.f("ck_clips_media_type_of_blob"), "clips", type_="check")
    op.add_column("clips", sa.Column("size", sa.BigInteger))
    op.add_column("clips", sa.Column("sha256", sa.LargeBinary))
    op.execute(
        "UPDATE clips SET size = blobs.size, sha256 = blobs.sha256, media_type = blobs.media_type"
        " FROM blobs WHERE blobs.key = clips.blob_key"
    )
    op.drop_constraint(op.f("fk_clips_blob_key_blobs"), "clips", type_="foreignkey")
    op.drop_table("blobs")
    op.create_unique_constraint(op.f("uq_clips_sha256"), "clips", ["sha256"])
    for name, rule in (
        ("blob_key", "blob_key ~ '^[0-9a-f]{32}$'"),
        (
            "blob_facts",
            "blob_key IS NULL OR (size IS NOT NULL AND sha256 IS NOT NULL AND media_type IS NOT NULL)",
        ),
        ("size", "size >= 0"),
        ("sha256", "octet_length(sha256) = 32"),
    ):
        op.create_check_constraint(op.f(f"ck_clips_{name}"), "clips", rule)
    _claim("blob_key", "NEW.created_at")
    op.execute(
        "CREATE TRIGGER claim_blob BEFORE INSERT ON clips FOR EACH ROW WHEN (NEW.blob_key IS NOT NULL)"
        " EXECUTE FUNCTION claim_blob()"
    )
    op.execute(
        "CREATE TRIGGER claim_other_blob BEFORE UPDATE OF blob_key ON clips FOR EACH ROW"
        " WHEN (NEW.blob_key IS NOT NULL AND NEW.blob_key IS DISTINCT FROM OLD.blob_key)"
        " EXECUTE FUNCTION claim_blob()"
    )


def _claim(column: str, since: str) -> None:
    """The claim of a key, as in 0004, of another column. Replacing the function keeps its `search_path` only
    if it is said again."""
    op.execute(
        f"""
        CREATE OR REPLACE FUNCTION claim_blob() RETURNS trigger LANGUAGE plpgsql VOLATILE AS $$
        BEGIN
            PERFORM pg_advisory_xact_lock_shared(1836016243, hashtext(NEW.{column}) & 511);
            PERFORM FROM swept_blobs WHERE blob_key = NEW.{column};
            IF FOUND OR substr(NEW.{column}, 13, 1) = '7' AND to_timestamp(
                ('x0000' || left(NEW.{column}, 12))::bit(64)::bigint / 1000.0
            ) < {since} - interval '30 days' THEN
                RAISE EXCEPTION 'the blob % was swept', NEW.{column} USING ERRCODE = 'MO001';
            END IF;
            RETURN NEW;
        END $$
        """
    )
    op.execute(
        "DO $do$ BEGIN EXECUTE format("
        "'ALTER FUNCTION claim_blob() SET search_path = %I, pg_temp', current_schema()); END $do$"
    )
