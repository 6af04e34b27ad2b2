"""What a stream brought and could not be used: counted by reason, never raised, so that a bad packet costs itself alone."""

from collections import Counter, deque

from core.ports import Token

_MOST_TOKENS = 1000


class Faults:
    """`counts` by reason, `tokens` of instruments nobody asked for (the first thousand), and the latest `texts` sent as errors."""

    __slots__ = ("counts", "texts", "tokens")

    def __init__(self) -> None:
        self.counts: Counter[str] = Counter()
        self.tokens: set[Token] = set()
        self.texts: deque[str] = deque(maxlen=20)

    def unknown(self, token: Token) -> None:
        self.counts["unknown token"] += 1
        if len(self.tokens) < _MOST_TOKENS:
            self.tokens.add(token)
