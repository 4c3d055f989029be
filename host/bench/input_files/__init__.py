"""Files that people made elsewhere, in the forms in which they have them: text, CSV, certificates and keys."""
