"""The claim of a blob moves into the insert of its clip: docs/decisions/0006-sweep.md."""

from __future__ import annotations

from alembic import op

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None


def upgrade() -> None:
    # Volatile, so each statement below has a snapshot of its own: the look into `swept_blobs` sees what was
    # committed before the lock was got. The first 48 bits of a UUIDv7 are its time in milliseconds. A row
    # that is restored from a backup brings its own `created_at`.
    op.execute(
        """
        CREATE FUNCTION claim_blob() RETURNS trigger LANGUAGE plpgsql VOLATILE AS $$
        BEGIN
            PERFORM pg_advisory_xact_lock_shared(1836016243, hashtext(NEW.blob_key) & 511);
            PERFORM FROM swept_blobs WHERE blob_key = NEW.blob_key;
            IF FOUND OR substr(NEW.blob_key, 13, 1) = '7' AND to_timestamp(
                ('x0000' || left(NEW.blob_key, 12))::bit(64)::bigint / 1000.0
            ) < NEW.created_at - interval '30 days' THEN
                RAISE EXCEPTION 'the blob % was swept', NEW.blob_key USING ERRCODE = 'MO001';
            END IF;
            RETURN NEW;
        END $$
        """
    )
    op.execute(
        "CREATE TRIGGER claim_blob BEFORE INSERT ON clips FOR EACH ROW WHEN (NEW.blob_key IS NOT NULL)"
        " EXECUTE FUNCTION claim_blob()"
    )


def downgrade() -> None:
    op.execute("DROP TRIGGER claim_blob ON clips")
    op.execute("DROP FUNCTION claim_blob()")
