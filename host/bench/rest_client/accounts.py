"""Customers, users and the audit trail of a server."""

from collections.abc import Callable, Sequence
from typing import Any

from bench.errors import BenchError, NotFound
from bench.rest_client.session import PAGE, Declined, Session, id_of, json_object, json_objects

_SHOWN_ID = 8  # of a key's id, as the audit trail has it


def shown_id(key: dict[str, Any]) -> str:
    """Return the part of an API key's id by which people tell keys of one name apart."""
    return id_of(key)[:_SHOWN_ID]


class Accounts(Session):
    """The requests about customers, users and what they did."""

    async def customers(self) -> list[dict[str, Any]]:
        """Return all customers, by title."""
        return await self.pages("/api/customers", sortProperty="title", sortOrder="ASC")

    async def customer(self, title: str) -> dict[str, Any]:
        """Return the customer of this title."""
        try:
            return json_object(await self.get("/api/tenant/customers", customerTitle=title))
        except NotFound:
            raise NotFound(f"no customer {title}: see bench customer list") from None

    async def create_customer(self, title: str) -> dict[str, Any]:
        """Store a new customer, and return it."""
        return json_object(await self.post("/api/customer", {"title": title}))

    async def delete_customer(self, title: str) -> None:
        """Delete the customer of this title, with their users."""
        await self.request("DELETE", f"/api/customer/{id_of(await self.customer(title))}")

    async def assign(self, customer_id: str, device_id: str) -> None:
        """Hand a device to a customer."""
        await self.post(f"/api/customer/{customer_id}/device/{device_id}", None)

    async def unassign(self, device_id: str) -> None:
        """Take a device back from its customer."""
        await self.request("DELETE", f"/api/customer/device/{device_id}")

    async def users(self) -> list[dict[str, Any]]:
        """Return all accounts, by e-mail address."""
        return await self.pages("/api/users", sortProperty="email", sortOrder="ASC")

    async def user(self, email: str) -> dict[str, Any]:
        """Return the account of this e-mail address."""
        for each in await self.pages("/api/users", textSearch=email):
            if each["email"] == email:
                return each
        raise NotFound(f"no user {email}: see bench user list")

    async def create_user(self, email: str, password: str, *, customer: str = "", role: str = "") -> dict[str, Any]:
        """Store an account with a password, and return it: an operator's, or of a customer's user.

        Args:
            email: Its address.
            password: Its password.
            customer: The title of the customer; "" for an operator.
            role: An operator's; "" is everything, which every ThingsBoard has.

        Raises:
            Declined: The server has no such role; the account is not there.
        """
        form: dict[str, Any] = {"email": email, "authority": "CUSTOMER_USER" if customer else "TENANT_ADMIN"}
        if customer:
            form["customerId"] = (await self.customer(customer))["id"]
        if role:
            form["role"] = role
        made = json_object(await self.request("POST", "/api/user", params={"sendActivationMail": False}, json=form))
        user_id = id_of(made)
        if role and made.get("role") != role:  # a ThingsBoard leaves out what it does not know: this may do everything
            await self.request("DELETE", f"/api/user/{user_id}")
            raise Declined(
                f"this server has no role {role}, and {email} was not made: it would be able to do everything"
            )
        link = str(await self.get(f"/api/user/{user_id}/activationLink"))
        token = link.partition("activateToken=")[2]
        try:
            await self.request("POST", "/api/noauth/activate", json={"activateToken": token, "password": password})
        except BenchError:
            await self.request("DELETE", f"/api/user/{user_id}")  # one without a password is of no value to anybody
            raise
        return made

    async def delete_user(self, email: str) -> None:
        """Delete the account of this e-mail address."""
        await self.request("DELETE", f"/api/user/{id_of(await self.user(email))}")

    # API keys.

    async def api_keys(self, email: str) -> list[dict[str, Any]]:
        """Return the API keys of an account, without the keys themselves."""
        return await self._api_keys(id_of(await self.user(email)))

    async def _api_keys(self, user_id: str) -> list[dict[str, Any]]:
        return await self.pages(f"/api/apiKeys/{user_id}", sortProperty="description", sortOrder="ASC")

    async def create_api_key(self, email: str, name: str, *, role: str, expires_ms: int) -> dict[str, Any]:
        """Make an API key of an account, and return it: this once with the key itself, as `value`.

        Args:
            email: The account.
            name: Its name, which no other key of the account has.
            role: Beyond which it may do nothing; "" is all that the account may.
            expires_ms: When it ends, in milliseconds since the epoch; 0 is never.

        Raises:
            Declined: The name is taken, or the server has no such role; there is no new key.
        """
        user = await self.user(email)
        if any(each["description"] == name for each in await self._api_keys(id_of(user))):
            raise Declined(f"{email} has an API key {name} already: choose another name, or revoke that one first")
        form = {"userId": user["id"], "description": name, "enabled": True, "expirationTime": expires_ms}
        made = json_object(await self.post("/api/apiKey", {**form, "role": role} if role else form))
        if role and made.get("role") != role:  # as for accounts
            await self._delete_api_key(id_of(made))
            raise Declined(
                f"this server has no role {role}, and the key was not made: it would have all rights of {email}"
            )
        return made

    async def delete_api_key(self, email: str, name: str) -> None:
        """Revoke the API key of this name, or with an id that begins so."""
        found = [each for each in await self.api_keys(email) if name in {each["description"], shown_id(each)}]
        if not found:
            raise NotFound(f"{email} has no API key {name}: see bench operator key list {email}")
        if len(found) > 1:
            raise Declined(
                f"{email} has {len(found)} API keys {name}: name one by its id (bench operator key list {email})"
            )
        await self._delete_api_key(id_of(found[0]))

    async def _delete_api_key(self, key_id: str) -> None:
        await self.request("DELETE", f"/api/apiKey/{key_id}")

    async def audit(  # noqa: PLR0913 - as many filters as there are
        self,
        limit: int,
        *,
        search: str = "",
        actions: Sequence[str] = (),
        since_ms: int | None = None,
        until_ms: int | None = None,
        matches: Callable[[dict[str, Any]], bool] = lambda _row: True,
    ) -> list[dict[str, Any]]:
        """Return rows of the audit trail, the newest first.

        Args:
            limit: The number of rows at most.
            search: Only rows with this text in the user's, the entity's or the action's name, or in the result.
            actions: Only these actions of ThingsBoard's, if any.
            since_ms: Only rows from then on, in milliseconds since the epoch.
            until_ms: Only rows until then.
            matches: Only rows for which this returns True.
        """
        wanted = {
            "sortProperty": "createdTime",
            "sortOrder": "DESC",
            "textSearch": search,
            "actionTypes": ",".join(actions),
            "startTime": "" if since_ms is None else since_ms,
            "endTime": "" if until_ms is None else until_ms,
        }
        found: list[dict[str, Any]] = []
        number, more = 0, True
        while more and len(found) < limit:
            page = json_object(await self.get("/api/audit/logs", pageSize=PAGE, page=number, **wanted))
            found += filter(matches, json_objects(page["data"]))
            number, more = number + 1, page["hasNext"]
        return found[:limit]
