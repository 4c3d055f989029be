"""Certificates that are renewed while the server runs, its own and the user's, without a restart."""

import asyncio
from collections.abc import Callable

from bench.errors import BenchError
from bench.server.journal import Journal
from bench.server.tls import authority
from bench.server.tls.authority import Identity


async def watch(
    current: Identity,
    load: Callable[[], Identity],
    use: Callable[[Identity], None],
    journal: Journal,
    *,
    every_s: float,
) -> None:
    """Use a certificate once it is another one, until cancelled.

    One that cannot be used is an event, and the one before stays.

    Args:
        current: The one in use.
        load: Reads the files, and issues the server's own anew if it is about to expire.
        use: Has new connections shown it.
        journal: Gets the events.
        every_s: Seconds between two looks at the files.
    """
    shown, problem = current.certificate, ""
    while True:
        await asyncio.sleep(every_s)
        try:
            found = await asyncio.to_thread(load)
            if found.certificate != shown:
                use(found)
                shown = found.certificate
                expires = shown.not_valid_after_utc.isoformat()
                journal.write("certificate_renewed", sha256=authority.fingerprint(shown), expires=expires)
            problem = ""
        except (BenchError, OSError) as error:
            if str(error) != problem:  # once, not every time
                problem = str(error)
                journal.write("certificate_unusable", problem=problem)
