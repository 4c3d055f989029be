"""TODO-DOC render."""
