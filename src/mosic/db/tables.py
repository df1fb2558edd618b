"""The tables, as SQLAlchemy knows them. A test proves that the migrations make exactly these."""

from __future__ import annotations

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import ARRAY, JSONB

from mosic.words import NAMES, NUMBERS, TEXTS

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

# Rows also come out of backups, which anybody may have written.
_IS_MEDIA_TYPE = "media_type ~ '^(audio/[a-z0-9][a-z0-9.+-]*|application/octet-stream)$'"
# Python's dates end in 9999.
_IS_DAY = "day >= '1970-01-01' AND day < '9999-01-01'"

# All that is in the store. A table that needs a blob refers to it: docs/decisions/0028-blobs.md.
blobs = sa.Table(
    "blobs",
    metadata,
    # UUIDv7 in hex, made when publishing begins.
    sa.Column("key", sa.Text, primary_key=True),
    # The same bytes are stored once: two uploads at once meet here.
    sa.Column("sha256", sa.LargeBinary, nullable=False, unique=True),
    sa.Column("size", sa.BigInteger, nullable=False),
    sa.Column("media_type", sa.Text, nullable=False),
    sa.Column("created_at", sa.DateTime(timezone=True), nullable=False, server_default=sa.func.now()),
    sa.CheckConstraint("key ~ '^[0-9a-f]{32}$'", name="key"),
    sa.CheckConstraint("octet_length(sha256) = 32", name="sha256"),
    sa.CheckConstraint("size >= 0", name="size"),
    sa.CheckConstraint(_IS_MEDIA_TYPE, name="media_type"),
)

# In the catalogue, not in the trash: what the indexes of lists are about.
_LISTED = sa.text("deleted_at IS NULL")
# What clips are listed by, made from the rest of the row by `mosic.db.indexed`. A backup leaves it out.
_DERIVED = {"derived": True}


def _key(name: str) -> sa.Column[str]:
    return sa.Column(name, sa.Text(collation="C"), info=_DERIVED)


clips = sa.Table(
    "clips",
    metadata,
    # UUIDv7 made by the service: order by id is order by time of creation.
    sa.Column("id", sa.Uuid, primary_key=True),
    sa.Column("revision", sa.Integer, nullable=False, server_default="1"),
    *(sa.Column(name, sa.Text, nullable=name != "title") for name in TEXTS),
    *(sa.Column(name, sa.Integer) for name in NUMBERS),
    sa.Column("duration", sa.Double),
    sa.Column("tags", JSONB, nullable=False, server_default=sa.text("'{}'::jsonb")),
    sa.Column("file_name", sa.Text),
    # An app's own key and data. The key stays taken while its clip is in the trash.
    sa.Column("external_id", sa.Text, unique=True),
    sa.Column("metadata", JSONB, nullable=False, server_default=sa.text("'{}'::jsonb")),
    # A clip has either bytes in the store or an external address, never both, never neither.
    # No two clips have the same bytes.
    sa.Column("blob_key", sa.Text, sa.ForeignKey("blobs.key", onupdate="CASCADE"), unique=True),
    sa.Column("external_url", sa.Text),
    # Of an external clip; of another one its blob has it.
    sa.Column("media_type", sa.Text),
    sa.Column("codec", sa.Text),
    sa.Column("bitrate", sa.Integer),
    sa.Column("sample_rate", sa.Integer),
    sa.Column("channels", sa.Integer),
    sa.Column("created_at", sa.DateTime(timezone=True), nullable=False, server_default=sa.func.now()),
    sa.Column("updated_at", sa.DateTime(timezone=True), nullable=False, server_default=sa.func.now()),
    # Since when it is in the trash; NULL for a clip that is in the catalogue.
    sa.Column("deleted_at", sa.DateTime(timezone=True)),
    # Whether `clip_carried` has them.
    sa.Column("has_chapters", sa.Boolean, nullable=False, server_default=sa.false()),
    sa.Column("has_lyrics", sa.Boolean, nullable=False, server_default=sa.false()),
    # When its bytes took the place of others; NULL for those that it was made with.
    sa.Column("stored_at", sa.DateTime(timezone=True)),
    # 0: not made yet.
    sa.Column("index_version", sa.SmallInteger, nullable=False, server_default="0", info=_DERIVED),
    sa.Column("index_document", sa.Text, nullable=False, server_default="", info=_DERIVED),
    *(_key(f"index_{name}") for name in (*NAMES, "type")),
    sa.Column("index_size", sa.BigInteger, info=_DERIVED),
    sa.Index(None, "index_version"),
    sa.Index(None, "metadata", postgresql_using="gin", postgresql_ops={"metadata": "jsonb_path_ops"}),
    # Only where the extension pg_trgm can be made: see the migration.
    sa.Index(
        None, "index_document", postgresql_using="gin", postgresql_ops={"index_document": "gin_trgm_ops"}
    ),
    # Orders of lists; each is read in both directions.
    *(
        sa.Index(None, name, "id", postgresql_where=_LISTED)
        for name in (
            *("created_at", "updated_at", "duration"),
            *(f"index_{name}" for name in (*NAMES, "type", "size")),
        )
    ),
    sa.Index(None, "deleted_at", postgresql_where=sa.text("deleted_at IS NOT NULL")),
    sa.CheckConstraint("(blob_key IS NULL) <> (external_url IS NULL)", name="one_source"),
    sa.CheckConstraint("blob_key IS NULL OR media_type IS NULL", name="media_type_of_blob"),
    sa.CheckConstraint(
        r"external_url ~* '^https?://' AND external_url !~ '[\x01-\x1f\x7f]'", name="external_url"
    ),
    sa.CheckConstraint(_IS_MEDIA_TYPE, name="media_type"),
    sa.CheckConstraint("duration >= 0 AND duration < 'Infinity'", name="duration"),
    sa.CheckConstraint(
        " AND ".join(f"{name} >= 0" for name in ("bitrate", "sample_rate", "channels", *NUMBERS)),
        name="numbers",
    ),
    sa.CheckConstraint("revision > 0", name="revision"),
    sa.CheckConstraint("jsonb_typeof(tags) = 'object'", name="tags"),
    sa.CheckConstraint(
        r"length(external_id) BETWEEN 1 AND 200 AND external_id !~ '[\x01-\x1f\x7f]'", name="external_id"
    ),
    sa.CheckConstraint("jsonb_typeof(metadata) = 'object'", name="metadata"),
)

# Apart from `clips`, so that a hot counter never rewrites a wide, indexed row. The row is made with its clip.
clip_plays = sa.Table(
    "clip_plays",
    metadata,
    sa.Column("clip_id", sa.Uuid, sa.ForeignKey("clips.id", ondelete="CASCADE"), primary_key=True),
    sa.Column("play_count", sa.BigInteger, nullable=False, server_default="0"),
    sa.Column("bytes_streamed", sa.BigInteger, nullable=False, server_default="0"),
    sa.Column("last_played_at", sa.DateTime(timezone=True)),
    # The last day with plays, and those of it: what is counted again and again stays in this row.
    sa.Column("day", sa.Date),
    sa.Column("day_plays", sa.BigInteger, nullable=False, server_default="0"),
    sa.Index(None, "play_count", "clip_id"),
    sa.Index(None, "last_played_at", "clip_id"),
    sa.CheckConstraint("play_count >= 0 AND bytes_streamed >= 0", name="counts"),
    sa.CheckConstraint("day_plays >= 0 AND (day IS NOT NULL OR day_plays = 0)", name="day_plays"),
    sa.CheckConstraint(_IS_DAY, name="day"),
    # Room in each page for the next version of a row.
    postgresql_with={"fillfactor": "50"},
)

# What a clip sounds like. The row is made when that was measured, and goes when the clip gets other bytes:
# docs/decisions/0037-sounds.md.
clip_sounds = sa.Table(
    "clip_sounds",
    metadata,
    sa.Column("clip_id", sa.Uuid, sa.ForeignKey("clips.id", ondelete="CASCADE"), primary_key=True),
    # The waveform. Two clips may have the same: silence of one length.
    sa.Column(
        "blob_key", sa.Text, sa.ForeignKey("blobs.key", onupdate="CASCADE"), nullable=False, index=True
    ),
    # NULL where they are not defined.
    sa.Column("integrated_lufs", sa.Double),
    sa.Column("range_lu", sa.Double),
    sa.Column("true_peak_dbtp", sa.Double),
    # Seconds.
    sa.Column("leading_silence", sa.Double, nullable=False),
    sa.Column("trailing_silence", sa.Double, nullable=False),
    sa.CheckConstraint(
        "integrated_lufs > '-Infinity' AND integrated_lufs < 'Infinity'"
        " AND range_lu >= 0 AND range_lu < 'Infinity'"
        " AND true_peak_dbtp > '-Infinity' AND true_peak_dbtp < 'Infinity'",
        name="loudness",
    ),
    sa.CheckConstraint(
        "leading_silence >= 0 AND leading_silence < 'Infinity'"
        " AND trailing_silence >= 0 AND trailing_silence < 'Infinity'",
        name="silence",
    ),
)

# Chapters and lyrics that the file of a clip carries; a clip without has no row.
clip_carried = sa.Table(
    "clip_carried",
    metadata,
    sa.Column("clip_id", sa.Uuid, sa.ForeignKey("clips.id", ondelete="CASCADE"), primary_key=True),
    # [[start, end or null, title], …]
    sa.Column("chapters", JSONB(none_as_null=True)),
    # {"language": …, "synced": …, "lines": [[start or null, text], …]}
    sa.Column("lyrics", JSONB(none_as_null=True)),
    sa.CheckConstraint("jsonb_typeof(chapters) = 'array'", name="chapters"),
    sa.CheckConstraint("jsonb_typeof(lyrics) = 'object'", name="lyrics"),
    sa.CheckConstraint(
        "coalesce(octet_length(chapters::text), 0) + coalesce(octet_length(lyrics::text), 0) < 8000000",
        name="size",
    ),
)

# The plays of earlier days (UTC): a row comes here once, when its clip is played on another day, and is never
# written again. It refers to the counters and not to the clip, so that who counts locks nothing of the clip.
clip_days = sa.Table(
    "clip_days",
    metadata,
    sa.Column("clip_id", sa.Uuid, sa.ForeignKey("clip_plays.clip_id", ondelete="CASCADE"), primary_key=True),
    sa.Column("day", sa.Date, primary_key=True),
    sa.Column("plays", sa.BigInteger, nullable=False),
    sa.CheckConstraint("plays > 0 AND plays <= 1000000000000000000", name="plays"),
    sa.CheckConstraint(_IS_DAY, name="day"),
    # The sums over some days are read from it alone.
    sa.Index(None, "day", postgresql_include=["clip_id", "plays"]),
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
    # The request that put the last token here may write. See docs/decisions/0008-tus-writers.md.
    sa.Column("writer", sa.Uuid),
    sa.Column("clip_id", sa.Uuid, sa.ForeignKey("clips.id", ondelete="CASCADE"), index=True),
    sa.Column("refused_code", sa.Text),
    sa.Column("refused_detail", sa.Text),
    sa.Column("created_at", sa.DateTime(timezone=True), nullable=False, server_default=sa.func.now()),
    sa.Column("expires_at", sa.DateTime(timezone=True), nullable=False),
    # The staged file; the upload's own id, until a writer that does not let go is left alone with its file.
    sa.Column("file_id", sa.Uuid, nullable=False),
    # How many bytes of that file are on the disk for good, and whether what is behind them counts once it is
    # synced: docs/decisions/0008-tus-writers.md.
    sa.Column("confirmed", sa.BigInteger, nullable=False, server_default="0"),
    sa.Column("rest_counts", sa.Boolean, nullable=False, server_default=sa.true()),
    # Whose upload it is; unknown of those that an earlier version began.
    sa.Column("key_name", sa.Text),
    sa.CheckConstraint("clip_id IS NULL OR refused_code IS NULL", name="one_outcome"),
    sa.CheckConstraint("(refused_code IS NULL) = (refused_detail IS NULL)", name="whole_refusal"),
    sa.CheckConstraint("length >= 0", name="length"),
    sa.CheckConstraint("octet_length(sha256) = 32", name="sha256"),
    sa.Index(None, "expires_at", postgresql_where=sa.text("clip_id IS NULL")),
)

# What is learnt of a clip after its upload: docs/decisions/0035-works.md.
works = sa.Table(
    "works",
    metadata,
    sa.Column("clip_id", sa.Uuid, sa.ForeignKey("clips.id", ondelete="CASCADE"), primary_key=True),
    sa.Column("kind", sa.Text, primary_key=True),
    sa.Column("state", sa.Text, nullable=False, server_default="waiting"),
    # 0 is taken first: what a fresh upload needs. 1 is what a whole library needs again.
    sa.Column("priority", sa.SmallInteger, nullable=False, server_default="0"),
    # Counted when it is taken, so that one that ends its process is not tried for ever.
    sa.Column("attempts", sa.Integer, nullable=False, server_default="0"),
    # Not before; infinity while its clip is in the trash.
    sa.Column("due_at", sa.DateTime(timezone=True), nullable=False, server_default=sa.func.now()),
    # Who has it, until when unless that is put off. A result counts only under this token.
    sa.Column("owner", sa.Uuid),
    sa.Column("leased_until", sa.DateTime(timezone=True)),
    # Of the algorithm that the result is of.
    sa.Column("version", sa.Integer),
    # Why it failed, or what became of the last attempt.
    sa.Column("code", sa.Text),
    sa.Column("detail", sa.Text),
    sa.Column("updated_at", sa.DateTime(timezone=True), nullable=False, server_default=sa.func.now()),
    sa.CheckConstraint("kind ~ '^[a-z][a-z0-9-]{0,31}$'", name="kind"),
    sa.CheckConstraint("state IN ('waiting', 'running', 'done', 'failed')", name="state"),
    sa.CheckConstraint("priority IN (0, 1)", name="priority"),
    sa.CheckConstraint("attempts >= 0", name="attempts"),
    sa.CheckConstraint(
        "(state = 'running') = (owner IS NOT NULL) AND (owner IS NULL) = (leased_until IS NULL)", name="lease"
    ),
    sa.CheckConstraint("state <> 'failed' OR code IS NOT NULL", name="reason"),
    sa.CheckConstraint("code ~ '^[a-z][a-z0-9-]{0,63}$' AND length(detail) <= 1000", name="outcome"),
    sa.Index("ix_works_waiting", "priority", "due_at", postgresql_where=sa.text("state = 'waiting'")),
    sa.Index("ix_works_running", "leased_until", postgresql_where=sa.text("state = 'running'")),
)

# Who this service is, in one row that its first start makes: docs/decisions/0019-identity.md.
service = sa.Table(
    "service",
    metadata,
    sa.Column("singleton", sa.Boolean, primary_key=True, server_default=sa.true()),
    # Backups belong to it; a restored service goes on under it.
    sa.Column("id", sa.Uuid, nullable=False, server_default=sa.func.gen_random_uuid()),
    sa.Column("created_at", sa.DateTime(timezone=True), nullable=False, server_default=sa.func.now()),
    # What the store has to say of itself. Until there is a time, the store may not have heard of it.
    sa.Column("store_id", sa.Uuid),
    sa.Column("store_adopted_at", sa.DateTime(timezone=True)),
    # Fingerprints of what replicas have to share.
    sa.Column("url_secrets", ARRAY(sa.LargeBinary), nullable=False, server_default=sa.text("'{}'")),
    sa.Column("made_key", sa.LargeBinary),
    sa.CheckConstraint("singleton", name="one_row"),
    sa.CheckConstraint("store_adopted_at IS NULL OR store_id IS NOT NULL", name="adopted_store"),
)
