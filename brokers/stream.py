"""The one socket loop: log in, connect, subscribe, receive, notice silence, back off, connect again. For every broker and transport.

Rules, in the order in which they bite:
1. The token is asked for at each attempt. Without one, and after the broker refused one, nothing connects until the session has another.
2. `desired` is what was asked for, `confirmed` what has ticked since the present connection. A new connection subscribes all that is
   desired; what has not ticked is asked for again after 10 s, then at doubling intervals, in market hours only.
3. Silence counts from the last message of any kind (heartbeats too) and only in market hours; past the limit the connection is dropped.
4. Backoff doubles with jitter up to a cap, larger outside hours; it starts over only after a connection has lived a while, so that a
   server which accepts and drops is not stormed.
5. All waiting is done in the clock: a granted day sees every connect, frame and close at its granted moment.
"""

import logging
import random
import socket as socket_module
import ssl
import threading
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Protocol

import certifi
import websocket

from brokers.spec import Put
from core.errors import NiyamError, SessionExpired
from core.events import Event, FeedStatus
from core.ports import Clock, TokenSource
from core.types import Instrument, Tick

log = logging.getLogger(__name__)

_GUARD = 3600.0  # seconds of wall time; under granted time the simulator ends what hangs
_CONNECT_SECONDS = 10.0


@dataclass(frozen=True, slots=True)
class Patience:
    """How long the loop waits for what, in seconds of the clock's monotonic time."""

    silence: float = 5.0  # without any message in market hours: the connection is dropped
    resubscribe: float = 10.0  # without a first tick: asked for again, then at doubling intervals
    token: float = 5.0  # between looks for a token that another process may have written
    lived: float = 10.0  # a connection that lasted this long starts the backoff over
    off_hours: float = 30.0  # between looks at whether the market has opened
    beat: float = 0.0  # between signs of life that the broker wants from us; 0: it wants none


class Refused(Exception):
    """The server turned the handshake down. `dead_token` says that only a new login helps; otherwise the plan or a limit is to blame."""

    def __init__(self, reason: str, *, dead_token: bool) -> None:
        super().__init__(reason)
        self.dead_token = dead_token


class Closed(Exception):
    """The connection is over, by whichever side."""


class Link(Protocol):
    """One live connection. `receive` blocks its one reader; the rest may be called from any thread and never blocks for long."""

    def receive(self) -> Any:
        """The next message; raises Closed."""
        ...

    def subscribe(self, instruments: Sequence[Instrument]) -> None: ...
    def unsubscribe(self, instruments: Sequence[Instrument]) -> None: ...
    def beat(self) -> None:
        """Tell the broker that we are alive, where it wants to be told."""
        ...

    def close(self) -> None: ...


class Faults(Protocol):
    """What arrived and could not be used, counted by reason, and the latest texts that the broker sent as errors."""

    @property
    def counts(self) -> Mapping[str, int]: ...
    @property
    def texts(self) -> Iterable[str]: ...


class Transport(Protocol):
    """How links are made and what their messages mean."""

    @property
    def faults(self) -> Faults: ...

    def open(self, token: str) -> Link:
        """Connect; raises Refused or Closed."""
        ...

    def take(self, message: Any, at: datetime) -> Sequence[Event]: ...


class Backoff:
    """Seconds to wait before attempt 1, 2, 3…: doubling from `base` to a cap, of which half is jitter from a seeded generator."""

    def __init__(self, seed: str, *, base: float = 1.0, cap: float = 30.0, cap_off_hours: float = 300.0) -> None:
        self._random = random.Random(seed)
        self._base = base
        self._cap = cap
        self._cap_off_hours = cap_off_hours

    def delay(self, attempt: int, in_hours: bool) -> float:
        whole = min(self._cap if in_hours else self._cap_off_hours, self._base * 2.0 ** min(attempt - 1, 16))
        return whole * (0.5 + 0.5 * self._random.random())


class Stream:
    """A Feed over any transport. Two edge threads: `ACCOUNT/feed` receives, `ACCOUNT/feed-watch` minds silence and unconfirmed names.

    `name` is for a connection beside the account's first (brokers/shards.py), such as `ACCOUNT/feed-2`.
    """

    def __init__(
        self,
        account: str,
        session: TokenSource,
        clock: Clock,
        put: Put,
        in_hours: Callable[[], bool],
        transport: Transport,
        *,
        capacity: int,
        patience: Patience | None = None,
        backoff: Backoff | None = None,
        name: str = "",
    ) -> None:
        self._name = name or f"{account}/feed"
        self._session = session
        self._clock = clock
        self._put = put
        self._in_hours = in_hours
        self._transport = transport
        self._patience = patience or Patience()
        self._capacity = capacity
        self._backoff = backoff or Backoff(self._name)
        self._lock = threading.RLock()
        self._desired: dict[str, Instrument] = {}
        self._pending: dict[str, Instrument] = {}
        self._link: Link | None = None
        self._heard = 0.0
        self._asked = 0.0  # when what is pending was last asked for
        self._asks = 0
        self._beaten = 0.0
        self._stopping = False
        self._drop_reason = ""
        self._threads: list[threading.Thread] = []
        self.tap: Callable[[bytes, datetime], None] | None = None
        """Hears every binary message as it came, before it is decoded (data_ingestion/tape.py); it must not block."""

    # --- the Feed port ------------------------------------------------------------------------------------------------------------------

    def start(self) -> None:
        if self._threads:
            raise NiyamError(f"the feed {self._name} has been started already; make a new one")
        for name, run in ((self._name, self._receive_all), (f"{self._name}-watch", self._watch_all)):
            alive = threading.Event()
            thread = threading.Thread(target=self._inside, args=(name, run, alive), name=name, daemon=True)
            self._threads.append(thread)
            thread.start()
            alive.wait(_CONNECT_SECONDS)  # granted time must know of the thread before the engine goes on

    def stop(self) -> None:
        """Close and end both threads; does not wait for them (see `join`)."""
        self._stopping = True
        self._drop("stopped")
        self._clock.notify()

    def join(self, seconds: float) -> bool:
        """Wait up to `seconds` of wall time for the threads to end; True if they have."""
        for thread in self._threads:
            thread.join(seconds)
        return not any(thread.is_alive() for thread in self._threads)

    def subscribe(self, instruments: Iterable[Instrument]) -> None:
        with self._lock:
            new = [one for one in dict.fromkeys(instruments) if one.key not in self._desired]
            room = self._capacity - len(self._desired)
            if len(new) > room:
                left_out = ", ".join(one.key for one in new[room:][:5])
                log.error(
                    "feed %s: %d instruments exceed the %d of one connection; left out: %s…", self._name, len(new), self._capacity, left_out
                )
                new = new[:room]
            self._desired.update((one.key, one) for one in new)
            if self._link is not None and new:
                self._pending.update((one.key, one) for one in new)
                self._asked, self._asks = self._clock.monotonic(), 0
                self._say(lambda link: link.subscribe(new))
        self._clock.notify()

    def unsubscribe(self, instruments: Iterable[Instrument]) -> None:
        with self._lock:
            gone = [one for one in dict.fromkeys(instruments) if self._desired.pop(one.key, None) is not None]
            for one in gone:
                self._pending.pop(one.key, None)
            if self._link is not None and gone:
                self._say(lambda link: link.unsubscribe(gone))

    def reconnect(self, reason: str) -> None:
        self._drop(reason)

    @property
    def silent_for(self) -> float:
        return self._clock.monotonic() - self._heard if self._link is not None else float("inf")

    @property
    def counts(self) -> Mapping[str, int]:
        return dict(self._transport.faults.counts)

    @property
    def texts(self) -> Sequence[str]:
        return tuple(self._transport.faults.texts)

    # --- the ledger ---------------------------------------------------------------------------------------------------------------------

    @property
    def connected(self) -> bool:
        return self._link is not None

    @property
    def desired(self) -> frozenset[str]:
        with self._lock:
            return frozenset(self._desired)

    @property
    def confirmed(self) -> frozenset[str]:
        """Keys that have ticked since the present connection was made."""
        with self._lock:
            return frozenset(self._desired.keys() - self._pending.keys()) if self._link is not None else frozenset()

    # --- the receiving thread -----------------------------------------------------------------------------------------------------------

    def _inside(self, name: str, run: Callable[[], None], alive: threading.Event) -> None:
        with self._clock.thread(name):
            alive.set()
            try:
                run()
            except Exception as error:  # a fault of ours: it must not look like a quiet market
                self._tell(False, f"the feed's thread {name} died of {type(error).__name__}: {error}; restart the daemon", 0)
                raise

    def _receive_all(self) -> None:
        attempt = 0
        while not self._stopping:
            try:
                token = self._session.token()
            except SessionExpired as error:
                self._wait_for_token(error)
                attempt = 0
                continue
            attempt += 1
            lived, reason = self._connection(token, attempt)
            if self._stopping:
                break
            attempt = 0 if lived >= self._patience.lived else attempt
            self._tell(False, reason, attempt)
            self._pause(self._backoff.delay(max(1, attempt), self._in_hours()))
        self._tell(False, "stopped", 0)

    def _connection(self, token: str, attempt: int) -> tuple[float, str]:
        """One connection from its handshake to its end; returns the seconds it lived and why it ended."""
        try:
            link = self._transport.open(token)
        except Refused as error:
            if error.dead_token:
                self._session.invalidate(token, f"the stream refused it: {error}")
            return 0.0, str(error)
        except Closed as error:
            return 0.0, str(error)
        began = self._clock.monotonic()
        with self._lock:
            self._drop_reason = ""
            self._link, self._heard = link, began
            self._pending, self._asked, self._asks, self._beaten = dict(self._desired), began, 0, began
            if self._desired:
                self._say(lambda link: link.subscribe(list(self._desired.values())))
            if self._stopping:
                self._drop("stopped")
        self._tell(True, "", attempt)
        self._clock.notify()
        reason = ""
        try:
            while True:
                self._hear(link.receive())
        except Closed as error:
            reason = str(error)
        finally:
            with self._lock:
                self._link = None
                reason = self._drop_reason or reason
            link.close()
        return self._clock.monotonic() - began, reason

    def _hear(self, message: Any) -> None:
        self._heard = self._clock.monotonic()
        now = self._clock.now()
        if self.tap is not None and isinstance(message, bytes):
            self.tap(message, now)
        events = self._transport.take(message, now)
        if not events:
            return
        if self._pending:
            with self._lock:
                for event in events:
                    if isinstance(event, Tick):
                        self._pending.pop(event.instrument.key, None)
        self._put(events, self._name)

    def _wait_for_token(self, error: SessionExpired) -> None:
        self._tell(False, str(error), 0)
        self._pause(self._patience.token)
        while not self._stopping:
            try:
                self._session.token()
            except SessionExpired:
                self._pause(self._patience.token)
            else:
                return

    def _pause(self, seconds: float) -> None:
        until = self._clock.monotonic() + seconds
        if not self._clock.wait_for(lambda: self._stopping, until) and self._clock.monotonic() < until - 0.01:
            self._stopping = True  # the simulator that owned time is gone: no wait is kept any more, and none is needed

    def _tell(self, connected: bool, reason: str, attempt: int) -> None:
        self._put([FeedStatus(self._clock.now(), connected, reason, attempt)], self._name)

    # --- the watching thread ------------------------------------------------------------------------------------------------------------

    def _watch_all(self) -> None:
        hours_since: float | None = None  # when this thread first saw that the market is open; silence before it does not count
        while not self._stopping:
            now = self._clock.monotonic()
            if not self._in_hours():
                hours_since, wake = None, now + min(self._patience.off_hours, self._patience.beat or self._patience.off_hours)
            elif self._link is None:
                # a new connection announces itself; until then there is nothing to mind
                hours_since, wake = (hours_since if hours_since is not None else now), now + self._patience.off_hours
                self._clock.wait_for(lambda: self._stopping or self._link is not None, wake)
                if self._link is None:
                    self._pause(wake - self._clock.monotonic())
                continue
            else:
                hours_since = now if hours_since is None else hours_since
                wake = min(self._mind_silence(now, hours_since), self._mind_pending(now, hours_since))
            if self._patience.beat:
                wake = min(wake, self._beat(now))
            self._pause(wake - now)

    def _beat(self, now: float) -> float:
        """Say that we are alive when that is due; returns when to say it next."""
        if now >= self._beaten + self._patience.beat:
            self._beaten = now
            self._say(lambda link: link.beat())
        return self._beaten + self._patience.beat

    def _mind_silence(self, now: float, hours_since: float) -> float:
        limit = max(self._heard, hours_since) + self._patience.silence
        if now < limit:
            return limit
        self._drop(f"silent for {now - self._heard:.1f} s in market hours")
        return now + self._patience.silence

    def _mind_pending(self, now: float, hours_since: float) -> float:
        """Ask again for what has not ticked; returns when to look again."""
        with self._lock:
            if not self._pending or self._link is None:
                return now + self._patience.resubscribe
            due = max(self._asked, hours_since) + self._patience.resubscribe * 2.0 ** min(self._asks, 6)
            if now < due:
                return due
            names = list(self._pending.values())
            log.warning("feed %s: %d of %d subscriptions have not ticked; asking again", self._name, len(names), len(self._desired))
            self._asked, self._asks = now, self._asks + 1
            self._say(lambda link: link.subscribe(names))
            return now + self._patience.resubscribe * 2.0 ** min(self._asks, 6)

    # --- both ---------------------------------------------------------------------------------------------------------------------------

    def _say(self, words: Callable[[Link], None]) -> None:
        """Send on the present link. Where that fails the link is dropped, and its reader tells why."""
        link = self._link
        if link is None:
            return
        try:
            words(link)
        except Closed as error:
            self._drop(str(error))

    def _drop(self, reason: str) -> None:
        with self._lock:
            link = self._link
            if link is None or self._drop_reason:
                return
            self._drop_reason = reason
        link.close()


# --- the native transport ---------------------------------------------------------------------------------------------------------------


class Dialect(Protocol):
    """What differs between brokers on one socket: the address, the subscription messages, and what a message means."""

    @property
    def faults(self) -> Faults: ...
    def address(self, token: str) -> tuple[str, Mapping[str, str]]:
        """(URL, headers) of a new connection; may ask the broker for it, and raise Refused or Closed."""
        ...

    def dead_token(self, status: int, body: str) -> bool:
        """Whether this refusal of a handshake means that only a new login helps."""
        ...

    def subscribe(self, instruments: Sequence[Instrument]) -> Sequence[str | bytes]: ...
    def unsubscribe(self, instruments: Sequence[Instrument]) -> Sequence[str | bytes]: ...
    def take(self, payload: bytes | str, at: datetime) -> Sequence[Event]: ...


class SocketTransport:
    """Connects a Dialect's address with websocket-client. TLS is verified against certifi's authorities (or `context`'s).

    `beat` is the text that tells the broker we are alive (see Patience.beat).
    """

    def __init__(self, clock: Clock, lane: str, dialect: Dialect, context: ssl.SSLContext | None = None, *, beat: str = "") -> None:
        self._clock = clock
        self._lane = lane
        self._dialect = dialect
        self._context = context
        self._beat = beat
        self._opened = 0

    @property
    def faults(self) -> Faults:
        return self._dialect.faults

    @property
    def link(self) -> "type[SocketLink]":
        """What an open connection is made as."""
        return SocketLink

    def open(self, token: str) -> "SocketLink":
        url, headers = self._dialect.address(token)
        if self._context is None and url.startswith("wss:"):
            self._context = ssl.create_default_context(cafile=certifi.where())
        socket = websocket.WebSocket(sslopt={"context": self._context} if self._context else {}, skip_utf8_validation=True)
        self._opened += 1
        try:
            with self._clock.call(self._lane) as grant:
                header = [f"{name}: {value}" for name, value in {**headers, **grant}.items()]
                socket.connect(url, header=header, timeout=_GUARD if grant else _CONNECT_SECONDS)
        except websocket.WebSocketBadStatusException as error:
            raise _refusal(error, self._dialect) from None
        except (OSError, websocket.WebSocketException) as error:
            raise Closed(f"no connection: {type(error).__name__}: {error}") from None
        link = self.link(self._clock, grant.get("X-Grant", f"{self._lane}/{self._opened}"), socket, self._dialect, self._beat)
        try:
            self._greet(link, token)
        except (Refused, Closed):
            link.abandon()
            raise
        socket.settimeout(None)
        return link

    def _greet(self, link: "SocketLink", token: str) -> None:
        """What both sides say before the first subscription, where a broker's protocol has such; raises Refused or Closed."""

    def take(self, message: Any, at: datetime) -> Sequence[Event]:
        return self._dialect.take(message, at)


def _refusal(error: websocket.WebSocketBadStatusException, dialect: Dialect) -> Refused | Closed:
    body = (error.resp_body or b"").decode("utf-8", "replace")[:200] or (error.resp_headers or {}).get("x-error-message", "")[:200]
    reason = f"the stream answered the handshake with HTTP {error.status_code} {body}".strip()
    if error.status_code not in (401, 403):
        return Closed(reason)
    if not dialect.dead_token(error.status_code, body):
        return Refused(f"{reason} - the app's plan or its number of connections is to blame; a new login does not help", dead_token=False)
    return Refused(reason, dead_token=True)


class SocketLink:
    """One open websocket. Our own close is counted by the clock as one frame sent, once."""

    def __init__(self, clock: Clock, connection: str, socket: websocket.WebSocket, dialect: Dialect, beat: str = "") -> None:
        self._beat = beat
        self._clock = clock
        self._connection = connection
        self._socket = socket
        self._wire = socket.sock
        self._dialect = dialect
        self._lock = threading.Lock()
        self._over = False

    def receive(self) -> bytes | str:
        try:
            with self._clock.listening(self._connection):
                opcode, data = self._socket.recv_data()
                if opcode == websocket.ABNF.OPCODE_CLOSE:
                    code = int.from_bytes(data[:2], "big") if len(data) >= 2 else 1005
                    raise Closed(f"closed by the server, code {code} {bytes(data[2:82]).decode('utf-8', 'replace')}".strip())
        except Closed:
            self._release()
            raise
        except (OSError, websocket.WebSocketException) as error:
            self._release()
            raise Closed(f"{type(error).__name__}: {error}") from None
        return data.decode("utf-8", "replace") if opcode == websocket.ABNF.OPCODE_TEXT else bytes(data)

    def subscribe(self, instruments: Sequence[Instrument]) -> None:
        self.send(self._dialect.subscribe(instruments))

    def unsubscribe(self, instruments: Sequence[Instrument]) -> None:
        self.send(self._dialect.unsubscribe(instruments))

    def beat(self) -> None:
        self.send([self._beat] if self._beat else [])

    def close(self) -> None:
        """End the connection from any thread; the reader then sees it closed and gives the socket back."""
        with self._lock:
            if self._over:
                return
            self._over = True
            self._clock.sent(self._connection)
            with suppress(OSError, websocket.WebSocketException):  # already gone: what we wanted
                self._socket.send_close()
            with suppress(OSError):
                self._wire.shutdown(socket_module.SHUT_RDWR)

    def abandon(self) -> None:
        """Close a connection that nobody reads: its socket is given back here."""
        self.close()
        self._release()

    def _release(self) -> None:
        with self._lock:
            self._over = True
            self._socket.shutdown()

    def send(self, texts: Sequence[str | bytes]) -> None:
        """Send these frames; raises Closed."""
        with self._lock:
            for text in texts:
                if self._over:
                    return  # the reader tells why
                self._clock.sent(self._connection)
                try:
                    self._socket.send(text, websocket.ABNF.OPCODE_TEXT if isinstance(text, str) else websocket.ABNF.OPCODE_BINARY)
                except (OSError, websocket.WebSocketException) as error:
                    raise Closed(f"sending failed: {type(error).__name__}: {error}") from None
