"""Output of the command line: tables, event lines, progress and results, or JSON."""
