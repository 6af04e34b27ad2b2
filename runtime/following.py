"""What one daemon socket said last, kept by the web process: one connection follows it while anybody asks, and serves all who do."""

import threading
from dataclasses import replace
from pathlib import Path

import msgspec

from api.ports import Latest
from core.errors import NiyamError
from core.ports import Clock
from utils import control
from utils.control import Shot

WANTED_S = 30.0  # for so long after somebody asked last the daemon is followed
AGAIN_S = 1.0  # after a failure
FIRST_S = 20.0  # a daemon that is busy may take so long to say its first word
_NOTHING = Latest(("", 0), {}, {}, 0.0)


class Follower:
    """Follows one socket from a thread of its own, from when somebody asks until nobody has for a while."""

    def __init__(self, path: Path, clock: Clock) -> None:
        self._path = path
        self._clock = clock
        self._changed = threading.Condition()
        self._looking = threading.Lock()
        self._following = False
        self._wanted_at = -WANTED_S
        self._latest = _NOTHING
        self._heard = False  # whether the present connection has said anything
        self._failure: NiyamError | None = None

    def at_hand(self) -> Latest | None:
        """What the daemon said last, without a wait; None where it has published nothing, or has fallen silent."""
        self._wanted_at = self._clock.monotonic()
        found = self._latest
        if self._heard and _whole(found) and self._clock.monotonic() - found.heard_at <= control.SILENT_S:
            return found
        self._begin()
        return None

    def latest(self) -> Latest | None:
        """The same, waiting for the daemon's first word; None where it has published nothing yet. Raises DaemonDown, or Silent where
        the daemon is there and does not answer."""
        found = self.at_hand()
        if found is not None:
            return found
        with self._changed:
            self._changed.wait_for(lambda: self._heard or self._failure is not None, FIRST_S)
            if not self._heard:
                raise self._failure or control.Silent(f"the daemon has said nothing for {FIRST_S:.0f} s; ask again")
            return self._latest if _whole(self._latest) else None

    def look(self) -> None:
        """Take what the daemon shows now: after a command, so that whoever gave it sees what came of it."""
        if not self._heard:
            return  # nobody follows: whoever asks next begins with what there is then
        try:
            with self._looking:
                shot = next(iter(control.follow(self._path)))
        except NiyamError:
            return  # the following thread meets the same, and says so
        self._take(_NOTHING, shot)

    def _begin(self) -> None:
        with self._changed:
            if self._following:
                return
            self._following, self._failure = True, None
        threading.Thread(target=self._follow, name="follower", daemon=True).start()

    def _follow(self) -> None:
        while True:
            failure = self._stream()
            with self._changed:
                self._heard, self._failure = False, failure
                down = isinstance(failure, control.DaemonDown)  # the ledger answers; who asks next begins anew
                self._following = not down and self._wanted
                self._changed.notify_all()
                if not self._following:
                    return
            self._clock.wait_for(lambda: False, self._clock.monotonic() + AGAIN_S)

    def _stream(self) -> NiyamError | None:
        """Take what comes until it ends: why it did, None where nobody wants it any more."""
        latest = _NOTHING
        try:
            for shot in control.follow(self._path):
                latest = self._take(latest, shot)
                if not self._wanted:
                    return None
        except NiyamError as error:
            return error
        return None

    @property
    def _wanted(self) -> bool:
        return self._clock.monotonic() - self._wanted_at < WANTED_S

    def _take(self, before: Latest, shot: Shot) -> Latest:
        """Show a Shot that follows `before`, unless what is shown is newer: a look of ours and the stream may cross."""
        said = {name: bytes(raw) for name, raw in shot.parts.items()}
        encoded = {**before.encoded, **said}
        with self._changed:
            shown = self._latest
            known = {name: shown.decoded[name] for name, raw in encoded.items() if shown.encoded.get(name) == raw}
            decoded = {name: known[name] if name in known else msgspec.json.decode(raw) for name, raw in encoded.items()}
            now = self._clock.monotonic()
            made = Latest((shot.socket, shot.number), encoded, decoded, now)
            older = shown.source[0] == shot.socket and shown.source[1] > shot.number
            self._latest = replace(shown, heard_at=now) if older else made
            self._heard, self._failure = True, None
            self._changed.notify_all()
        return made


def _whole(latest: Latest) -> bool:
    return set(control.SHOWN) <= latest.encoded.keys()
