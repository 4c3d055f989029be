"""TODO-DOC mqtt."""
