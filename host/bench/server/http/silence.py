"""A logger for libraries whose lines would go to standard error: the journal is the only log."""

import logging

SILENCE = logging.Logger("http", logging.CRITICAL + 1)  # noqa: LOG001 - one that nobody else can find and turn on
