"""Alembic migrations; an installed wheel carries them as `mosic.migrations`."""
