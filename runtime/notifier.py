"""Tells a person: every message into the log, and, where a webhook or a Telegram chat is configured, to it as well.

Sending never blocks trading: messages wait, so many at most, for one thread; pages go before all others. A message that could not be
delivered is logged as such; the log (and the journal, which the engine writes first) is the record, the webhook only the knock on the door.
"""

import threading
from collections import deque
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from loguru import logger

from core.errors import NiyamError
from core.ports import CredentialStore

if TYPE_CHECKING:
    from utils.config_schema import Alerts

LEVELS = {"page": "ERROR", "warn": "WARNING", "info": "INFO"}
WAITING = 200  # messages; past it the oldest undelivered ones are given up, pages last: the newest says how things stand
ATTEMPTS = 3
TIMEOUT = 10.0  # seconds for one delivery
PAUSE = 5.0  # seconds between attempts

Deliver = Callable[[str, str, str], None]


class LogNotifier:
    """The Notifier that is always there."""

    def send(self, level: str, title: str, text: str) -> None:
        logger.log(LEVELS.get(level, "WARNING"), "{}: {}", title, text)


class Notifier:
    """The log for everything, and each of `deliveries` for messages of `levels`."""

    def __init__(self, deliveries: Sequence[Deliver] = (), *, levels: Collection[str] = ("page", "warn")) -> None:
        self._log = LogNotifier()
        self._deliveries = tuple(deliveries)
        self._levels = frozenset(levels)
        self._pages: deque[tuple[str, str, str]] = deque()
        self._others: deque[tuple[str, str, str]] = deque()
        self._came = threading.Condition()
        self._stopping = threading.Event()
        self._thread: threading.Thread | None = None

    def start(self) -> None:
        if self._deliveries:
            self._thread = threading.Thread(target=self._run, name="notifier", daemon=True)
            self._thread.start()

    def stop(self) -> None:
        """Deliver what waits, for at most one time-out; then let go."""
        if self._thread is not None:
            self._stopping.set()
            with self._came:
                self._came.notify_all()
            self._thread.join(timeout=TIMEOUT)
            self._thread = None

    def send(self, level: str, title: str, text: str) -> None:
        self._log.send(level, title, text)
        if self._thread is not None and level in self._levels:
            self._put((level, title, text))

    def _put(self, message: tuple[str, str, str]) -> None:
        with self._came:
            if full := len(self._pages) + len(self._others) >= WAITING:
                (self._others or self._pages).popleft()
            (self._pages if message[0] == "page" else self._others).append(message)
            self._came.notify_all()
        if full:
            logger.warning("the oldest undelivered notification was given up: {} wait", WAITING)

    def _run(self) -> None:
        while (message := self._next()) is not None:
            for deliver in self._deliveries:
                self._try(deliver, message)

    def _next(self) -> tuple[str, str, str] | None:
        """The message to deliver now; None when it is to stop and nothing waits."""
        with self._came:
            self._came.wait_for(lambda: self._pages or self._others or self._stopping.is_set())
            waiting = self._pages or self._others
            return waiting.popleft() if waiting else None

    def _try(self, deliver: Deliver, message: tuple[str, str, str]) -> None:
        for attempt in range(1, ATTEMPTS + 1):
            try:
                deliver(*message)
            except Exception as error:  # whatever the far end does, the outcome is a line in the log
                logger.warning("notification {!r} not delivered, attempt {} of {}: {}", message[1], attempt, ATTEMPTS, type(error).__name__)
                if self._stopping.wait(PAUSE):
                    return
            else:
                return


def from_settings(alerts: "Alerts", secrets: CredentialStore, account: str) -> Notifier:
    """The notifier that settings.yaml asks for; raises ConfigError when the secret of a wanted delivery is missing. Not yet started."""
    deliveries: list[Deliver] = []
    if alerts.webhook:
        deliveries.append(webhook(secrets.get_secret("NIYAM_WEBHOOK_URL"), account))
    if alerts.telegram_chat is not None:
        deliveries.append(telegram(secrets.get_secret("NIYAM_TELEGRAM_TOKEN"), alerts.telegram_chat, account))
    return Notifier(deliveries, levels=alerts.levels)


def webhook(url: str, account: str) -> Deliver:
    """POST a JSON object {level, title, text, account} to `url` (a secret: whoever knows it can write to the chat)."""

    def deliver(level: str, title: str, text: str) -> None:
        _post(url, {"level": level, "title": title, "text": text, "account": account})

    return deliver


def telegram(token: str, chat: str, account: str, *, host: str = "https://api.telegram.org") -> Deliver:
    """Send to a Telegram chat by a bot of the user's own (its plain HTTP API; no library needed)."""

    def deliver(level: str, title: str, text: str) -> None:
        _post(f"{host}/bot{token}/sendMessage", {"chat_id": chat, "text": f"[{account}] {level}: {title}\n{text}"})

    return deliver


def _post(url: str, body: Mapping[str, Any]) -> None:
    import requests  # kept off the start-up path

    try:
        reply = requests.post(url, json=body, timeout=TIMEOUT)
    except requests.RequestException as error:
        raise NiyamError(f"the notification could not be delivered ({type(error).__name__})") from None  # the URL holds the secret
    if reply.status_code >= 300:
        raise NiyamError(f"the notification was refused with HTTP {reply.status_code}; check the webhook's address")
