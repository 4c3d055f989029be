"""Migrations of a database's tables. Alembic is slow to import: only a start that has to migrate imports this."""

from pathlib import Path

from alembic import command
from alembic.config import Config
from alembic.util import CommandError
from sqlalchemy import Connection

from bench.errors import BenchError
from bench.registry.encryption import SecretBox

MIGRATIONS = Path(__file__).parent / "migrations"


def upgrade(connection: Connection, secret_box: SecretBox) -> None:
    """Run the missing migrations in the connection's transaction.

    Raises:
        BenchError: The tables are of a newer bench.
    """
    config = Config()
    config.set_main_option("script_location", str(MIGRATIONS))
    config.attributes["connection"] = connection
    config.attributes["secret_box"] = secret_box
    try:
        command.upgrade(config, "head")
    except CommandError as error:
        raise BenchError(f"the tables are of a newer bench ({error})") from error
