"""Routes of webhooks, and of profiles' pre-provisioning hooks: not ThingsBoard's."""

from typing import Annotated, Any
from uuid import UUID

from fastapi import Path, Query, Response
from sqlalchemy.orm import Session

from bench.registry import profile_hooks, profiles, webhooks
from bench.registry.audit import Subject
from bench.registry.event_kinds import HookEvent
from bench.registry.model import Profile, Webhook, WebhookDelivery
from bench.registry.webhooks import WebhookView
from bench.server.hooks.webhooks import ping
from bench.server.http.operator.api_router import ApiRouter
from bench.server.http.operator.authorization import AuthenticatedRoute, Caller, Operator
from bench.server.http.operator.params import PAGE_LIMIT, ProfileId, Uuid
from bench.server.http.operator.schemas.hooks import (
    DeadLetter,
    HookForm,
    HookJson,
    HookTest,
    NewHookJson,
    NewProfileHookJson,
    ProfileHookForm,
    ProfileHookJson,
    Replayed,
)

router = ApiRouter(AuthenticatedRoute, "hooks", "/hooks")

_HookId = Annotated[Uuid, Path(alias="hookId")]
_PROFILE_UPDATED = "profile.updated"
_DeadId = Annotated[Uuid, Path(alias="deadLetterId")]


@router.get("", summary="All webhooks, but for their secrets")
async def list_hooks(caller: Operator) -> list[HookJson]:
    return [HookJson(**_fields(each)) for each in await caller.read(webhooks.views)]


@router.post("", summary="Have events sent to a URL")
async def add(form: HookForm, caller: Operator) -> NewHookJson:
    def change(session: Session) -> tuple[Subject, NewHookJson]:
        made, target = webhooks.add(session, form.url, form.events)
        fields = _fields(WebhookView(made, target.url, 0, 0))
        return _subject(made), NewHookJson(**fields, secret=target.secret)

    answer = await caller.change("hook.added", "", change)
    await caller.api.registry.load_webhooks()
    return answer


@router.delete("/{hookId}", summary="Send nothing more to a URL", response_class=Response)
async def remove(hook_id: _HookId, caller: Operator) -> None:
    def change(session: Session) -> tuple[Subject, None]:
        found = webhooks.get(session, hook_id)
        webhooks.remove(session, found)
        return _subject(found), None

    await caller.change("hook.deleted", hook_id, change)
    await caller.api.registry.load_webhooks()


@router.post("/{hookId}/enable", summary="Send events to a URL again that was gone", response_class=Response)
async def enable(hook_id: _HookId, caller: Operator) -> None:
    def change(session: Session) -> tuple[Subject, None]:
        found = webhooks.get(session, hook_id)
        webhooks.set_enabled(session, found, enabled=True)
        return _subject(found), None

    await caller.change("hook.updated", hook_id, change)
    await caller.api.registry.load_webhooks()


@router.post("/{hookId}/test", summary="Send an event for a test, once, and return what came of it")
async def test(hook_id: _HookId, caller: Operator) -> HookTest:
    def read(session: Session) -> tuple[Subject, webhooks.Target]:
        found = webhooks.get(session, hook_id)
        return _subject(found), webhooks.target(session, found)

    subject, target = await caller.read(read)
    problem = await ping(target)
    await caller.record("hook.tested", subject, problem or "SUCCESS")
    return HookTest(received=not problem, result=problem)


@router.get("/deviceProfile/{deviceProfileId}", summary="The hook that may refuse devices of a profile")
async def get_of_profile(profile_id: ProfileId, caller: Operator) -> ProfileHookJson:
    return await caller.read(
        lambda session: ProfileHookJson.of(
            profile_hooks.decrypted(session.info["secret_box"], profiles.get(session, profile_id))
        )
    )


@router.post(
    "/deviceProfile/{deviceProfileId}", summary="Have a hook asked before devices of a profile are provisioned"
)
async def set_of_profile(profile_id: ProfileId, form: ProfileHookForm, caller: Operator) -> NewProfileHookJson:
    def change(session: Session) -> tuple[Profile, NewProfileHookJson]:
        profile = profiles.get(session, profile_id)
        made = profile_hooks.replace(session, profile, form.url, timeout_s=form.timeout, default=form.default)
        return profile, NewProfileHookJson(**dict(ProfileHookJson.of(made)), secret=made.target.secret)

    return await caller.change(_PROFILE_UPDATED, profile_id, change)


@router.delete(
    "/deviceProfile/{deviceProfileId}",
    summary="Have the server's hook asked again, if it has one",
    response_class=Response,
)
async def remove_of_profile(profile_id: ProfileId, caller: Operator) -> None:
    def change(session: Session) -> tuple[Profile, None]:
        profile = profiles.get(session, profile_id)
        profile.sealed_hook = None
        return profile, None

    await caller.change(_PROFILE_UPDATED, profile_id, change)


@router.get("/dead", summary="Events that could not be sent, the newest first")
async def list_dead(
    caller: Operator, limit: Annotated[int, Query(ge=1, le=PAGE_LIMIT, description="How many, at most.")] = 100
) -> list[DeadLetter]:
    return [_dead_letter(each) for each in await caller.read(webhooks.dead, limit)]


@router.post("/dead/replay", summary="Send all dead letters again, as often as if they were new")
async def replay_all(caller: Operator) -> Replayed:
    return await _replay(caller, None)


@router.post("/dead/{deadLetterId}/replay", summary="Send a dead letter again")
async def replay(dead_letter_id: _DeadId, caller: Operator) -> Replayed:
    return await _replay(caller, dead_letter_id)


async def _replay(caller: Caller, delivery_id: UUID | None) -> Replayed:
    def change(session: Session) -> tuple[Subject, int]:
        return Subject(str(delivery_id or "all"), delivery_id), webhooks.replay(session, delivery_id)

    answer = await caller.change("hook.replayed", delivery_id or "all", change)
    await caller.api.registry.load_webhooks()
    return Replayed(replayed=answer)


def _subject(hook: Webhook) -> Subject:
    return Subject(str(hook.id), hook.id)


def _fields(view: WebhookView) -> dict[str, Any]:
    hook = view.webhook
    return {
        "id": hook.id,
        "url": view.url,
        "events": hook.events,
        "enabled": hook.is_enabled,
        "created_time": hook.created_ms,
        "waiting": view.waiting,
        "dead": view.dead,
    }


def _dead_letter(row: WebhookDelivery) -> DeadLetter:
    return DeadLetter(
        id=row.id,
        hook_id=row.webhook_id,
        event=HookEvent(row.event),
        created_time=row.created_ms,
        tries=row.tries,
        result=row.problem,
        body=row.body,
    )
