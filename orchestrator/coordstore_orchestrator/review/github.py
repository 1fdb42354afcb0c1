"""Changes as pull requests on GitHub."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from coordstore.session.changes import ChangeState
from coordstore_orchestrator.review.model import Decision
from coordstore_orchestrator.review.rest import Api, ForgeError, Remote, body_of

if TYPE_CHECKING:
    from coordstore.session.changes import Change
    from coordstore_orchestrator.review.model import Tools

__all__ = ["GitHub"]


class GitHub:
    """Opens a pull request for each change, hears its reviews, and merges or closes it as the record says.

    Args:
        tools: GITHUB_TOKEN (or GH_TOKEN) and, for another server, GITHUB_API_URL come from its environment.
    """

    def __init__(self, tools: Tools) -> None:
        self._session, self._target = tools.session, tools.target
        self._remote = Remote(tools, "GitHub")
        headers = {
            "Authorization": f"Bearer {self._remote.token('GITHUB_TOKEN', 'GH_TOKEN')}",
            "X-GitHub-Api-Version": "2022-11-28",
        }
        self._api = Api(tools.environ.get("GITHUB_API_URL", "https://api.github.com"), headers)

    async def open(self, change: Change) -> str | None:
        """Push its branch and open the pull request."""
        await self._remote.push(change)
        found = await self._find(change)
        if found is None:
            data = {"title": change.text("title"), "head": self._remote.branch(change), "base": self._target}
            data["body"] = body_of(change, self._session)
            found = await self._api("POST", f"/repos/{await self._remote.path()}/pulls", data)
        return str(found["html_url"])

    async def decision(self, change: Change) -> Decision | None:
        """Take the last word of each reviewer; one who wants changes outweighs those who approve."""
        pull = await self._find(change)
        if pull is None:
            return None
        reviews = await self._api("GET", f"{await self._pull(pull)}/reviews?per_page=100")
        last = {
            each["user"]["login"]: each
            for each in reviews
            if each["state"] in {"APPROVED", "CHANGES_REQUESTED", "DISMISSED"}
        }
        wanted = [each for each in last.values() if each["state"] == "CHANGES_REQUESTED"]
        if wanted:
            text = "\n".join(str(each.get("body") or "") for each in wanted).strip()
            by = wanted[-1]["user"]["login"]
            return Decision(ChangeState.CHANGES_REQUESTED, by, text or f"see {pull['html_url']}")
        if pull["state"] == "closed" and not pull.get("merged_at"):
            return Decision(ChangeState.REJECTED, "GitHub", "the pull request was closed")
        approved = next((each for each in last.values() if each["state"] == "APPROVED"), None)
        if approved is not None or pull.get("merged_at"):
            by = approved["user"]["login"] if approved else "GitHub"
            return Decision(ChangeState.APPROVED, by, str((approved or {}).get("body") or ""))
        return None

    async def close(self, change: Change) -> None:
        """Merge the pull request of merged work; close the others with the reason."""
        pull = await self._find(change)
        if pull is None or pull["state"] == "closed":
            return
        path = await self._pull(pull)
        if change.state is ChangeState.MERGED:
            await self._api("PUT", f"{path}/merge", {"merge_method": "merge", "sha": change.text("commit")})
            return
        reason = {"body": f"{change.state}: {change.text('comment') or 'no reason given'}"}
        await self._api("POST", path.replace("/pulls/", "/issues/") + "/comments", reason)
        await self._api("PATCH", path, {"state": "closed"})

    async def _pull(self, pull: dict[str, Any]) -> str:
        return f"/repos/{await self._remote.path()}/pulls/{int(pull['number'])}"

    async def _find(self, change: Change) -> dict[str, Any] | None:
        path = await self._remote.path()
        head = f"{path.partition('/')[0]}:{self._remote.branch(change)}"
        found = await self._api("GET", f"/repos/{path}/pulls?state=all&head={head}")
        if not isinstance(found, list):
            message = f"GitHub answered with no list of pull requests: {str(found)[:200]}"
            raise ForgeError(message)
        return found[0] if found else None
