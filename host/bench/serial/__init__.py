"""TODO-DOC serial."""
