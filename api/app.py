"""The web application: its routes, what stands before them, and how errors leave it (never with what was sent)."""

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import fastapi_swagger
from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import FileResponse, HTMLResponse, JSONResponse, Response
from loguru import logger

from api.auth import Door
from api.backtests import Backtests
from api.brokerage import Desk
from api.guard import Guard
from api.ports import Parts
from api.routes import apps, auth, backtests, dashboard, health, live, postbacks, trading, webhooks
from core.errors import BrokerError, ConfigError, NiyamError, StoreError
from storage.vault import VaultError
from utils.redaction import redact

_ASSETS = Path(fastapi_swagger.__file__).parent / "resources"  # Swagger UI as a package: /docs works without the internet
_ERRORS: tuple[tuple[type[NiyamError], int], ...] = (
    (VaultError, 503),
    (StoreError, 503),
    (ConfigError, 400),
    (BrokerError, 502),
    (NiyamError, 503),
)


def create(parts: Parts, *, hosts: tuple[str, ...] = (), tls: bool = False) -> FastAPI:
    """The application over these parts. `hosts` are the names it answers to (none: any, for tests)."""
    state = {"parts": parts, "door": Door(parts), "desk": Desk(parts), "backtests": Backtests(parts.config, parts.state)}

    @asynccontextmanager
    async def life(app: FastAPI) -> AsyncIterator[None]:
        app.state.live = live.Lives(parts)
        yield
        app.state.backtests.stop()

    app = FastAPI(title="Niyam", version="1", lifespan=life, docs_url=None, redoc_url=None, openapi_url="/openapi.json")
    for name, value in state.items():
        setattr(app.state, name, value)
    for one in (auth, dashboard, apps, trading, backtests, webhooks, postbacks, live, health):
        app.include_router(one.router)
    app.include_router(auth.again)
    _document(app)
    app.add_exception_handler(RequestValidationError, _invalid)
    app.add_exception_handler(NiyamError, _failed)
    app.add_exception_handler(Exception, _broken)
    settings = parts.settings
    app.add_middleware(
        Guard,
        clock=parts.clock,
        hosts=hosts,
        per_minute=settings.requests_per_minute,
        logins_per_minute=settings.logins_per_minute,
        largest=settings.largest_request,
        tls=tls,
    )
    return app


async def _invalid(request: Request, error: Exception) -> Response:
    """Where and what, never the value: it may be a secret."""
    assert isinstance(error, RequestValidationError)
    said = [{"loc": list(one["loc"]), "msg": one["msg"], "type": one["type"]} for one in error.errors()]
    return JSONResponse({"detail": said}, 422)


async def _failed(request: Request, error: Exception) -> Response:
    status = next(status for kind, status in _ERRORS if isinstance(error, kind))
    return JSONResponse({"detail": redact(str(error))}, status)


async def _broken(request: Request, error: Exception) -> Response:
    logger.opt(exception=error).error("{} {} failed", request.method, request.url.path)
    return JSONResponse({"detail": f"this failed inside ({type(error).__name__}); the log of the web process has the details"}, 500)


def _document(app: FastAPI) -> None:
    """/docs over the packaged Swagger UI; its start is a script of its own, so that the page's policy allows no inline one."""
    page = (
        "<!doctype html><html><head><meta charset=utf-8><title>Niyam API</title><link rel=stylesheet href=/docs/swagger-ui.css></head>"
        "<body><div id=swagger-ui></div><script src=/docs/swagger-ui-bundle.js></script><script src=/docs/start.js></script></body></html>"
    )
    start = 'SwaggerUIBundle({url: "/openapi.json", dom_id: "#swagger-ui", persistAuthorization: false});'

    def asset(name: str) -> Callable[[], Any]:
        async def send() -> FileResponse:
            return FileResponse(_ASSETS / name)

        return send

    async def docs() -> HTMLResponse:
        return HTMLResponse(page)

    async def script() -> Response:
        return Response(start, media_type="text/javascript")

    app.add_api_route("/docs", docs, include_in_schema=False)
    app.add_api_route("/docs/start.js", script, include_in_schema=False)
    for name in ("swagger-ui-bundle.js", "swagger-ui.css"):
        app.add_api_route(f"/docs/{name}", asset(name), include_in_schema=False)
