"""Order updates that brokers post to us (Zerodha, Upstox and Angel One can): one more source of evidence beside socket and order book.

Who posts must know the secret NIYAM_POSTBACK_SECRET, which stands in the address that the broker's app is given; Zerodha's are also signed.
An update of an order that is not ours books nothing: the account's own books are read instead.
"""

import hmac
from typing import Annotated

import anyio.to_thread
from fastapi import APIRouter, HTTPException, Path, Query, Request
from pydantic import BaseModel

from api.auth import Has
from core.errors import ConfigError, NiyamError
from utils.control import DaemonDown
from utils.redaction import redact

router = APIRouter(prefix="/api/v1/postbacks", tags=["postbacks"])
SECRET = "NIYAM_POSTBACK_SECRET"  # noqa: S105 - the name of a secret


class Heard(BaseModel):
    """The broker's order id and its word for the state."""

    text: str


@router.post("/{broker}")
async def postback(
    broker: Annotated[str, Path(pattern=r"^[a-z]{1,20}$")],
    request: Request,
    parts: Has,
    secret: Annotated[str | None, Query(max_length=200)] = None,
    account: Annotated[str | None, Query(pattern=r"^[A-Za-z0-9_-]{1,64}$")] = None,
) -> Heard:
    """One order update, as the broker sends it. Off unless settings.yaml says api.postbacks: true; `account` where several run."""
    if not parts.settings.postbacks:
        raise HTTPException(403, "postbacks are switched off (settings.yaml: api.postbacks)")
    try:
        wanted = parts.secrets.get_secret(SECRET)
    except ConfigError as error:
        raise HTTPException(503, f"postbacks need the secret {SECRET}: main.py vault set {SECRET}") from error
    if not hmac.compare_digest(wanted.encode(), (secret or "").encode()):
        raise HTTPException(401, f"the address of a postback ends in ?secret= and the secret {SECRET}")
    try:
        body = (await request.body()).decode()
    except UnicodeDecodeError:
        raise HTTPException(400, "a postback is JSON in UTF-8") from None
    asked = {"broker": broker, "body": body} | ({"account": account} if account is not None else {})
    try:
        answer = await anyio.to_thread.run_sync(lambda: parts.desk.ask("postback", asked))
    except DaemonDown as error:
        raise HTTPException(503, redact(str(error))) from None
    except NiyamError as error:
        raise HTTPException(504, redact(str(error))) from None
    if not answer.ok:
        raise HTTPException(409, redact(answer.text))
    return Heard(text=redact(answer.text))
