"""TODO-DOC contract."""
