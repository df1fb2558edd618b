"""What clips are searched, filtered and sorted by: docs/decisions/0033-finding.md."""

from __future__ import annotations

import sqlalchemy as sa
import structlog
from alembic import op
from sqlalchemy.exc import DBAPIError

revision = "0023"
down_revision = "0022"
branch_labels = None
depends_on = None

_log = structlog.get_logger("mosic.migrate")

_LISTED = sa.text("deleted_at IS NULL")
_KEYS = ("index_title", "index_artist", "index_album", "index_genre", "index_type")
_ORDERS = ("created_at", "updated_at", "duration", *_KEYS, "index_size")


def upgrade() -> None:
    # The values are made by the service, while it runs: a catalogue may be large.
    op.add_column("clips", sa.Column("index_version", sa.SmallInteger, nullable=False, server_default="0"))
    op.add_column("clips", sa.Column("index_document", sa.Text, nullable=False, server_default=""))
    for name in _KEYS:
        op.add_column("clips", sa.Column(name, sa.Text(collation="C")))
    op.add_column("clips", sa.Column("index_size", sa.BigInteger))
    op.create_index(op.f("ix_clips_index_version"), "clips", ["index_version"])
    for name in _ORDERS:
        op.create_index(op.f(f"ix_clips_{name}_id"), "clips", [name, "id"], postgresql_where=_LISTED)
    for name in ("play_count", "last_played_at"):
        op.create_index(op.f(f"ix_clip_plays_{name}_clip_id"), "clip_plays", [name, "clip_id"])
    op.create_index(
        op.f("ix_clips_metadata"),
        "clips",
        ["metadata"],
        postgresql_using="gin",
        postgresql_ops={"metadata": "jsonb_path_ops"},
    )
    _index_words()


def downgrade() -> None:
    op.execute("DROP INDEX IF EXISTS ix_clips_index_document")
    for name in ("play_count", "last_played_at"):
        op.drop_index(op.f(f"ix_clip_plays_{name}_clip_id"), "clip_plays")
    op.drop_index(op.f("ix_clips_metadata"), "clips")
    for name in _ORDERS:
        op.drop_index(op.f(f"ix_clips_{name}_id"), "clips")
    for name in ("index_version", "index_document", *_KEYS, "index_size"):
        op.drop_column("clips", name)


def _index_words() -> None:
    """Without pg_trgm, which some servers do not have, or not for everybody, a search looks at all clips."""
    connection = op.get_bind()
    try:
        with connection.begin_nested():
            connection.execute(sa.text("CREATE EXTENSION IF NOT EXISTS pg_trgm"))
    except DBAPIError as error:
        _log.warning(
            "searches will be slow in a large catalogue: the extension pg_trgm cannot be created in this "
            "database. docs/searching.md says how to add it later.",
            error=str(error.orig).splitlines()[0],
        )
        return
    schema = connection.scalar(
        sa.text(
            "SELECT quote_ident(nspname) FROM pg_extension"
            " JOIN pg_namespace ON pg_namespace.oid = extnamespace WHERE extname = 'pg_trgm'"
        )
    )
    op.execute(
        f"CREATE INDEX ix_clips_index_document ON clips USING gin (index_document {schema}.gin_trgm_ops)"
    )
