"""TODO-DOC virtual."""
