"""Changes as merge requests on GitLab."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from coordstore.session.changes import ChangeState
from coordstore_orchestrator.review.model import Decision
from coordstore_orchestrator.review.rest import Api, ForgeError, Remote, body_of

if TYPE_CHECKING:
    from coordstore.session.changes import Change
    from coordstore_orchestrator.review.model import Tools

__all__ = ["GitLab"]


class GitLab:
    """Opens a merge request for each change, hears its reviews, and merges or closes it as the record says.

    Args:
        tools: GITLAB_TOKEN and, for another server, GITLAB_API_URL come from its environment.
    """

    def __init__(self, tools: Tools) -> None:
        self._session, self._target = tools.session, tools.target
        self._remote = Remote(tools, "GitLab")
        headers = {"PRIVATE-TOKEN": self._remote.token("GITLAB_TOKEN")}
        self._api = Api(tools.environ.get("GITLAB_API_URL", "https://gitlab.com/api/v4"), headers)

    async def open(self, change: Change) -> str | None:
        """Push its branch and open the merge request."""
        await self._remote.push(change)
        found = await self._find(change)
        if found is None:
            data = {
                "title": change.text("title"),
                "source_branch": self._remote.branch(change),
                "target_branch": self._target,
                "description": body_of(change, self._session),
                "remove_source_branch": True,
            }
            found = await self._api("POST", f"{await self._project()}/merge_requests", data)
        return str(found["web_url"])

    async def decision(self, change: Change) -> Decision | None:
        """Take what its reviewers say; one who wants changes outweighs those who approve."""
        request = await self._find(change)
        if request is None:
            return None
        path = await self._request(request)
        reviewers = await self._api("GET", f"{path}/reviewers")
        wanted = [each["user"]["username"] for each in reviewers if each.get("state") == "requested_changes"]
        if wanted:
            return Decision(ChangeState.CHANGES_REQUESTED, wanted[-1], await self._said_by(path, wanted, request))
        if request["state"] == "closed":
            return Decision(ChangeState.REJECTED, "GitLab", "the merge request was closed")
        approvals = await self._api("GET", f"{path}/approvals")
        by = [each["user"]["username"] for each in approvals.get("approved_by") or ()]
        if by or request["state"] == "merged":
            return Decision(ChangeState.APPROVED, by[-1] if by else "GitLab")
        return None

    async def _said_by(self, path: str, users: list[str], request: dict[str, Any]) -> str:
        notes = await self._api("GET", f"{path}/notes?sort=asc&per_page=100")
        said = [str(note["body"]) for note in notes if not note.get("system") and note["author"]["username"] in users]
        return "\n".join(said).strip() or f"see {request['web_url']}"

    async def close(self, change: Change) -> None:
        """Merge the merge request of merged work; close the others with the reason."""
        request = await self._find(change)
        if request is None or request["state"] != "opened":
            return
        path = await self._request(request)
        if change.state is ChangeState.MERGED:
            await self._api("PUT", f"{path}/merge", {"sha": change.text("commit")})
            return
        await self._api(
            "POST", f"{path}/notes", {"body": f"{change.state}: {change.text('comment') or 'no reason given'}"}
        )
        await self._api("PUT", path, {"state_event": "close"})

    async def _project(self) -> str:
        return f"/projects/{quote(await self._remote.path(), safe='')}"

    async def _request(self, request: dict[str, Any]) -> str:
        return f"{await self._project()}/merge_requests/{int(request['iid'])}"

    async def _find(self, change: Change) -> dict[str, Any] | None:
        branch = quote(self._remote.branch(change), safe="")
        found = await self._api("GET", f"{await self._project()}/merge_requests?state=all&source_branch={branch}")
        if not isinstance(found, list):
            message = f"GitLab answered with no list of merge requests: {str(found)[:200]}"
            raise ForgeError(message)
        return found[0] if found else None
