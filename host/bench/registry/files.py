"""Names of the registry's files in a data folder."""

DATABASE_FILE = "registry.sqlite3"
"""The SQLite database, unless a URL names another."""
KEY_FILE = "secrets.key"
"""The key of the database's secrets."""
