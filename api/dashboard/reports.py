"""Reports of backtests for the page's frame: the person is known by the page's cookie; the report itself can do nothing but draw."""

from fastapi import APIRouter, HTTPException, Request
from fastapi.responses import FileResponse

from api.dashboard.session import person
from api.ports import Parts
from api.routes.backtests import own, queue_of, report_of


def routes(parts: Parts) -> APIRouter:
    """GET /reports/ID."""
    router = APIRouter(prefix="/reports", include_in_schema=False)

    @router.get("/{run_id}", response_class=FileResponse)
    async def shown(run_id: str, request: Request) -> FileResponse:
        user, _ = await person(parts, request)
        if user is None:
            raise HTTPException(401, "sign in first")
        return report_of(own(queue_of(request), user, run_id))

    return router
