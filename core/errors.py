"""What a failure means. The type decides what happens next: retry, stop, ask for a login, or go and look for evidence."""


class NiyamError(Exception):
    """The root. Its text says what was wrong, the value seen, where, and the next step; it never holds a secret."""


class ConfigError(NiyamError):
    """A file a person wrote is wrong: nothing starts. The text carries file and line."""


class DataError(NiyamError):
    """A market data file or instrument dump is wrong: refused whole, with file, row and reason."""


class StoreError(NiyamError):
    """The ledger or an audit segment could not be written or read (locked, full, gone, too new). What was to be written is kept in
    memory and goes with the next commit; until one succeeds no entry may leave."""


class BrokerError(NiyamError):
    """Anything a broker call can end in except success. `code` is the broker's own, where it gave one."""

    def __init__(self, message: str, *, code: str = "") -> None:
        super().__init__(message)
        self.code = code


class Transient(BrokerError):
    """A read failed in transit; reading again later is safe. Never raised by an order call."""


class RateLimited(BrokerError):
    """The broker refused for rate before looking at the request: certain that nothing happened. Pauses the budget."""


class Rejected(BrokerError):
    """The broker looked and said no: certain that nothing happened."""


class LoginRefused(Rejected):
    """The broker refused a login: a wrong or late code, PIN or key. A person must look; it is never tried again by itself."""


class SessionExpired(BrokerError):
    """The token is dead or missing: certain that nothing happened. Only a login helps; never retried by itself."""


class Unknown(BrokerError):
    """The request may or may not have been taken. Only evidence from the broker decides; it is never sent again by itself."""
