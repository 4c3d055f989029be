"""JSON of webhooks: not ThingsBoard's, which has rules instead."""

from uuid import UUID

from pydantic import Field

from bench.contract.pre_provisioning import LONGEST_S, SHORTEST_S, TIMEOUT_S, Default
from bench.registry.event_kinds import HookEvent
from bench.registry.profile_hooks import ProfileHook
from bench.server.http.operator.schemas.common import Milliseconds, Text, ThingsBoardModel


class HookForm(ThingsBoardModel):
    url: Text = Field(description="Where events are sent.", examples=["https://hooks.example/firstboot"])
    events: list[HookEvent] = Field(min_length=1, max_length=len(HookEvent))


class HookJson(ThingsBoardModel):
    id: UUID
    url: str
    events: list[HookEvent]
    enabled: bool = Field(description="False once the receiver answered 410: it is sent nothing.")
    created_time: Milliseconds
    waiting: int = Field(description="Events that are to be sent.")
    dead: int = Field(description="Events that could not be sent.")


class NewHookJson(HookJson):
    secret: str = Field(description="The key of the signatures. Nothing tells it again.")


class ProfileHookForm(ThingsBoardModel):
    url: Text = Field(description="The hook that is asked.", examples=["https://stock.example/may-it"])
    timeout: float = Field(default=TIMEOUT_S, ge=SHORTEST_S, le=LONGEST_S, description="Seconds that it has to decide.")
    default: Default = Field(default=Default.REFUSE, description="What counts if it does not answer.")


class ProfileHookJson(ThingsBoardModel):
    url: str | None = Field(description="`null`: the profile has no hook of its own.")
    timeout: float = TIMEOUT_S
    default: Default = Default.REFUSE

    @classmethod
    def of(cls, hook: ProfileHook | None) -> "ProfileHookJson":
        """Return the JSON of a hook, but for its secret."""
        return cls(url=None) if hook is None else cls(url=hook.target.url, timeout=hook.timeout_s, default=hook.default)


class NewProfileHookJson(ProfileHookJson):
    secret: str = Field(description="The key of the signatures. Nothing tells it again.")


class HookTest(ThingsBoardModel):
    """The result of an event that was sent for a test."""

    received: bool
    result: str = Field(description="Why it was not received; empty if it was.", examples=["status 500"])


class DeadLetter(ThingsBoardModel):
    """An event that could not be sent."""

    id: UUID = Field(description="As the receiver had it in webhook-id.")
    hook_id: UUID
    event: HookEvent
    created_time: Milliseconds
    tries: int
    result: str = Field(description="Of the last try.", examples=["ConnectTimeout"])
    body: str = Field(description="The JSON that was sent.")


class Replayed(ThingsBoardModel):
    replayed: int = Field(description="The number of events that are sent again.")
