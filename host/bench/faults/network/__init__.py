"""TODO-DOC network."""
