"""Building what goes into a board's flash."""
