"""TODO-DOC options."""
