"""The release of ThingsBoard that a server's answers are those of."""

from collections.abc import Sequence

from bench.conformance.check import Broken
from bench.contract import releases
from bench.contract.releases import Release
from bench.text import printable


class ReleaseVerdict:
    """Compares what is seen of a server with a release; with none, finds those that it can be."""

    def __init__(self, release: Release | None) -> None:
        """Begin with nothing seen.

        Args:
            release: The release that the server has; None: it is unknown.
        """
        self._release = release
        self._fitting = [*releases.STEPS]
        self._known = False

    def see(self, difference: str, value: bool, what: str) -> None:  # noqa: FBT001 - the value of a field
        """Judge one difference between releases.

        Args:
            difference: A field of `Release`.
            value: Its value for this server.
            what: The answer that was seen.

        Raises:
            Broken: The release does otherwise; of an unknown one, no release does this and what was seen before.
        """
        since = releases.SINCE[difference]
        does = f"{what}, as releases {'from' if value else 'before'} {since}{' on' if value else ''}"
        if self._release is not None:
            if getattr(self._release, difference) is not value:
                raise Broken(f"{does}, and not as {self._release.version}")
            return
        fitting = [each for each in self._fitting if getattr(each, difference) is value]
        if not fitting:
            raise Broken(f"{does}: but by what else it answered it is {self.found}")
        self._fitting, self._known = fitting, True

    @property
    def found(self) -> str:
        """The releases that do all that was seen, e.g. `4.2.1.1 or newer, before 4.3`; empty: nothing was seen."""
        if not self._known:
            return ""
        first, last = self._fitting[0], self._fitting[-1]
        bounds = [f"{first.version} or newer"] if first is not releases.STEPS[0] else []
        if last is not releases.STEPS[-1]:
            bounds.append(f"before {releases.STEPS[releases.STEPS.index(last) + 1].version}")
        return ", ".join(bounds)

    def summary(self, reported: str, bad: Sequence[str]) -> str:
        """Return what there is to say of the release in the end.

        Args:
            reported: The version that the server says it is; empty: it was not asked.
            bad: The names of the checks that are broken, or could not run.
        """
        if self._release is None:
            shown = f" {printable(reported)!r} is not a version, but it" if reported else ""
            why = "--release, or --user with an operator's account, says which it is"
            return f"ThingsBoard{shown} answers as {self.found or 'any release'}: {why}"
        version = self._release.version
        known = reported in ("", version)
        name = f"ThingsBoard {version}" if known else f"ThingsBoard {printable(reported)}, judged as {version}"
        return f"{name}, as expected" if not bad else f"{name}, but for {', '.join(bad)}"
