"""Events of a board, as lines for people."""

from typing import Any

from bench.cli.render import tables

# Event -> text; `{field}` is filled from the event. An event with an empty text is not shown.
_WORDS = {
    "state": "",  # the other events show it, with the reason
    "boot": "power on [dim]({reset}, MAC {mac}, firmware {firmware}, MicroPython {micropython})[/dim]",
    "link_up": "link up [dim]{address}[/dim]",
    "link_failed": "[yellow]no link[/yellow] {detail}",
    "clock_set": "clock set [dim]by {source}[/dim]",
    "key_made": "key and certificate made [dim]in {took_ms} ms[/dim]",
    "pending_stored": "secret made and stored as pending",
    "provisioning": "provisioning request [dim]over {transport}, secret made by the {made_by}[/dim]",
    "answer": "answer {status}",
    "provisioned": "[green]credentials stored[/green] [dim]{type}, proved by a login[/dim]",
    "connected": "[green]connected[/green] as {name}",
    "telemetry": "telemetry acknowledged",
    "listening": "listening for commands",
    "claim_sent": "claim sent",
    "command": "command {method}",
    "rotation": "new credentials: {step}",
    "reset": "[yellow]reset[/yellow] of {kind}, by {by}",
    "dropped": "[yellow]dropped[/yellow] {count} records of telemetry, the queue was full",
    "offline": "[yellow]offline[/yellow] {detail}",
    "retry": "[dim]next attempt in {in_ms} ms[/dim]",
    "not_found": "[red]not found[/red] {fix}",
    "rejected": "[red]rejected[/red] {fix}",
    "displaced": "[red]thrown out[/red] {fix}",
    "refused": "[red]refused[/red] {fix}",
    "certificate_refused": "[red]certificate refused[/red] {fix}",
    "plaintext_refused": "[red]no secrets in clear[/red] {fix}",
    "console": "[dim]{text}[/dim]",
    "switched_on": "[blue]switched on[/blue]",
    "switched_off": "[blue]switched off[/blue]",
    "power_lost": "[red]power lost[/red]",
    "port_lost": "[yellow]port lost[/yellow] {port}: {detail}",
    "port_back": "[green]port back[/green] {port}",
}


def show(event: dict[str, Any], *, who: str = "board") -> None:
    """Print one event of a board.

    Args:
        event: As the board printed it, or one of the bench's own.
        who: The word in the line's second column.
    """
    facts = {tables.shown(key): tables.shown(value) for key, value in event.items()}
    words = _WORDS.get(event["event"])
    if words is None:
        rest = "  ".join(f"{key} {value}" for key, value in facts.items() if key not in ("event", "ms"))
        words = f"{facts['event']} [dim]{rest}[/dim]"
        line(event.get("ms"), words, who=who)
    elif words:
        line(event.get("ms"), words.format_map(_Facts(facts)), who=who)


def line(ms: Any, words: str, *, who: str = "board") -> None:
    """Print one line of a timeline: milliseconds since power-on, who, and what happened."""
    stamp = f"{ms:>7} ms" if isinstance(ms, int) else " " * 10
    tables.console.print(f"{stamp}  [cyan]{who:<6}[/cyan]  {words}")


class _Facts(dict[str, str]):
    """An event's fields; `?` for missing ones, as the board may run another firmware with other events."""

    def __missing__(self, key: str) -> str:
        return "?"
