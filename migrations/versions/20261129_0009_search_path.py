"""Functions find their tables without a `search_path`, as it is while a `pg_dump --data-only` comes back."""

from __future__ import annotations

from alembic import op

revision = "0009"
down_revision = "0008"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.execute(_in_own_schema("ALTER FUNCTION claim_blob() SET search_path = %I, pg_temp"))
    # A dump has the table of the revision too, and in a migrated database there is its row already.
    op.execute(
        """
        CREATE FUNCTION keep_one_revision() RETURNS trigger LANGUAGE plpgsql AS $$
        DECLARE
            there text;
        BEGIN
            EXECUTE format('SELECT version_num FROM %I.%I', TG_TABLE_SCHEMA, TG_TABLE_NAME) INTO there;
            IF there = NEW.version_num THEN
                RETURN NULL;
            ELSIF there IS NOT NULL THEN
                RAISE EXCEPTION 'these rows are of revision %, and this database is at %: bring both to the '
                    'same version of Mosic first', NEW.version_num, there;
            END IF;
            RETURN NEW;
        END $$
        """
    )
    op.execute(_in_own_schema("ALTER FUNCTION keep_one_revision() SET search_path = %I, pg_temp"))
    op.execute(
        f"CREATE TRIGGER keep_one_revision BEFORE INSERT ON {_version_table()} FOR EACH ROW"
        " EXECUTE FUNCTION keep_one_revision()"
    )


def downgrade() -> None:
    op.execute(f"DROP TRIGGER keep_one_revision ON {_version_table()}")
    op.execute("DROP FUNCTION keep_one_revision()")
    op.execute("ALTER FUNCTION claim_blob() RESET search_path")


def _version_table() -> str:
    return str(op.get_context().version_table)


def _in_own_schema(statement: str) -> str:
    """The statement with the schema that the migrations make everything in."""
    return f"DO $do$ BEGIN EXECUTE format('{statement}', current_schema()); END $do$"
