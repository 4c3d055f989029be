"""Alembic's entry: runs the migrations on the connection that the registry opened."""

from alembic import context

from bench.registry.model import Base

context.configure(connection=context.config.attributes["connection"], target_metadata=Base.metadata)
context.run_migrations()
