"""The tables, as SQLAlchemy knows them. A test proves that the migrations make exactly these."""

from __future__ import annotations

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import JSONB

# Every constraint has a name, so that a migration can drop it.
metadata = sa.MetaData(
    naming_convention={
        "ix": "ix_%(table_name)s_%(column_0_N_name)s",
        "uq": "uq_%(table_name)s_%(column_0_N_name)s",
        "ck": "ck_%(table_name)s_%(constraint_name)s",
        "fk": "fk_%(table_name)s_%(column_0_N_name)s_%(referred_table_name)s",
        "pk": "pk_%(table_name)s",
    }
)

clips = sa.Table(
    "clips",
    metadata,
    # UUIDv7 made by the service: order by id is order by time of creation.
    sa.Column("id", sa.Uuid, primary_key=True),
    sa.Column("revision", sa.Integer, nullable=False, server_default="1"),
    sa.Column("title", sa.Text, nullable=False),
    sa.Column("description", sa.Text),
    sa.Column("artist", sa.Text),
    sa.Column("album", sa.Text),
    sa.Column("album_artist", sa.Text),
    sa.Column("genre", sa.Text),
    sa.Column("date", sa.Text),
    sa.Column("track_number", sa.Integer),
    sa.Column("disc_number", sa.Integer),
    sa.Column("duration", sa.Double),
    sa.Column("tags", JSONB, nullable=False, server_default=sa.text("'{}'::jsonb")),
    sa.Column("file_name", sa.Text),
    # A clip has either bytes in the store or an external address, never both, never neither.
    sa.Column("blob_key", sa.Text, unique=True),
    sa.Column("external_url", sa.Text),
    sa.Column("media_type", sa.Text),
    sa.Column("codec", sa.Text),
    sa.Column("bitrate", sa.Integer),
    sa.Column("sample_rate", sa.Integer),
    sa.Column("channels", sa.Integer),
    sa.Column("size", sa.BigInteger),
    # One clip for the same bytes: two uploads at once meet here. NULLs (external clips) do not collide.
    sa.Column("sha256", sa.LargeBinary, unique=True),
    sa.Column("created_at", sa.DateTime(timezone=True), nullable=False, server_default=sa.func.now()),
    sa.Column("updated_at", sa.DateTime(timezone=True), nullable=False, server_default=sa.func.now()),
    sa.CheckConstraint("(blob_key IS NULL) <> (external_url IS NULL)", name="one_source"),
    sa.CheckConstraint(
        "blob_key IS NULL OR (size IS NOT NULL AND sha256 IS NOT NULL AND media_type IS NOT NULL)",
        name="blob_facts",
    ),
)

# Apart from `clips`, so that a hot counter never rewrites a wide, indexed row. The row is made with its clip.
clip_plays = sa.Table(
    "clip_plays",
    metadata,
    sa.Column("clip_id", sa.Uuid, sa.ForeignKey("clips.id", ondelete="CASCADE"), primary_key=True),
    sa.Column("play_count", sa.BigInteger, nullable=False, server_default="0"),
    sa.Column("bytes_streamed", sa.BigInteger, nullable=False, server_default="0"),
    sa.Column("last_played_at", sa.DateTime(timezone=True)),
    # Room in each page for the next version of a row, so that a count is a heap-only update.
    postgresql_with={"fillfactor": "50"},
)

# Orphans that the sweep removes or has removed. What is named here can never get a row: docs/decisions/0006.
swept_blobs = sa.Table(
    "swept_blobs",
    metadata,
    sa.Column("blob_key", sa.Text, primary_key=True),
    sa.Column("swept_at", sa.DateTime(timezone=True), nullable=False, server_default=sa.func.now()),
)

# Resumable uploads. The staged file says where each one stands; here is what the file cannot say. One that
# has become a clip stays as long as the clip, to tell clients that ask late what became of it.
uploads = sa.Table(
    "uploads",
    metadata,
    sa.Column("id", sa.Uuid, primary_key=True),
    sa.Column("length", sa.BigInteger),
    sa.Column("raw_metadata", sa.Text, nullable=False),
    sa.Column("hints", JSONB, nullable=False),
    # That the sender declares, to be verified at the end.
    sa.Column("sha256", sa.LargeBinary),
    # Who may write: whoever put the last token here. See docs/decisions/0008-tus-writers.md.
    sa.Column("writer", sa.Uuid),
    sa.Column("clip_id", sa.Uuid, sa.ForeignKey("clips.id", ondelete="CASCADE"), index=True),
    sa.Column("refused_code", sa.Text),
    sa.Column("refused_detail", sa.Text),
    sa.Column("created_at", sa.DateTime(timezone=True), nullable=False, server_default=sa.func.now()),
    sa.Column("expires_at", sa.DateTime(timezone=True), nullable=False),
    # The staged file; the upload's own id, until a writer that does not let go is left alone with its file.
    sa.Column("file_id", sa.Uuid, nullable=False),
    sa.CheckConstraint("clip_id IS NULL OR refused_code IS NULL", name="one_outcome"),
    sa.CheckConstraint("(refused_code IS NULL) = (refused_detail IS NULL)", name="whole_refusal"),
    sa.Index(None, "expires_at", postgresql_where=sa.text("clip_id IS NULL")),
)
