"""Options of the command line, and the server or the board that they select."""
