"""A signed quantity and what it cost, by the average-price method, in whole paise."""


class Cost:
    """An open quantity (signed), what it cost in paise (of the same sign), and what closing parts of it has realised."""

    __slots__ = ("cost", "quantity", "realised")

    def __init__(self, quantity: int = 0, cost: int = 0, realised: int = 0) -> None:
        self.quantity = quantity
        self.cost = cost
        self.realised = realised

    def add(self, quantity: int, value: int) -> None:
        """Book a signed quantity worth `value` paise (of the same sign); what crosses zero closes first and opens with the rest."""
        held = self.quantity
        if held * quantity >= 0:
            self.quantity += quantity
            self.cost += value
            return
        closed = min(abs(held), abs(quantity))
        received = share(value, closed, abs(quantity))
        released = share(self.cost, closed, abs(held))
        self.realised -= received + released
        self.quantity += quantity
        self.cost = self.cost - released if closed == abs(quantity) else value - received

    def average(self, multiplier: int) -> float:
        """Rupees per unit of the open quantity; 0.0 when flat."""
        return self.cost / (self.quantity * multiplier * 100) if self.quantity else 0.0


def share(value: int, part: int, whole: int) -> int:
    """value x part / whole, rounded half up to whole paise; exact for part == whole."""
    return value if part == whole else (2 * value * part + whole) // (2 * whole)
