"""Customers, users and the audit trail of a server."""

from collections.abc import Callable, Sequence
from typing import Any

from bench.errors import BenchError, NotFound
from bench.rest_client.session import PAGE, Session, id_of, json_object, json_objects


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

    async def create_user(self, email: str, password: str, *, customer: str = "") -> dict[str, Any]:
        """Store an account with a password, and return it: an operator's, or of a customer's user."""
        form: dict[str, Any] = {"email": email, "authority": "CUSTOMER_USER" if customer else "TENANT_ADMIN"}
        if customer:
            form["customerId"] = (await self.customer(customer))["id"]
        made = json_object(await self.request("POST", "/api/user", params={"sendActivationMail": False}, json=form))
        user_id = id_of(made)
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
