"""What margin an order would block, approximately: single legs by fixed fractions; no spread benefit, so it errs to the high side.

The fractions are those of MarginSettings, a choice of ours and no exchange's SPAN file: equity intraday 20 % (25 % where the price is
below Rs 50 or the share has no derivatives), delivery in full, bought options their premium, index futures 13 %, stock futures 20 %,
written index options the larger of 11 % of notional less the distance out of the money, and 7 %, plus the premium; 2 % more on the expiry
day; written stock options one and a half times as much in the week of expiry. A broker's own margin answer is better wherever there is one.
"""

from datetime import date

from core.types import Horizon, Instrument, Kind, Side
from risk.settings import MarginSettings

INDICES = frozenset({"NIFTY", "BANKNIFTY", "FINNIFTY", "MIDCPNIFTY", "NIFTYNXT50", "SENSEX", "BANKEX", "SENSEX50"})
"""Underlyings whose derivatives take the index rates; all others, commodities and currencies too, take the higher stock rates."""


def required(
    instrument: Instrument,
    side: Side,
    quantity: int,
    price: float,
    horizon: Horizon,
    settings: MarginSettings,
    day: date,
    underlying_price: float | None = None,
) -> float:
    """Rupees that `quantity` units (positive) at `price` would block. Without `underlying_price` an option counts as at the money."""
    value = price * quantity * instrument.multiplier
    if instrument.kind in (Kind.EQUITY, Kind.INDEX):
        return value * _equity_rate(instrument, price, horizon, settings)
    of_index = instrument.underlying in INDICES
    if instrument.kind is Kind.FUTURE:
        return value * (settings.index_future if of_index else settings.stock_future)
    if side is Side.BUY:
        return value
    return value + _written(instrument, quantity, underlying_price, settings, day, of_index)


def _equity_rate(instrument: Instrument, price: float, horizon: Horizon, settings: MarginSettings) -> float:
    if horizon is Horizon.CARRY:
        return settings.equity_carry
    restricted = price < settings.restricted_below_price or not instrument.is_fno
    return settings.equity_intraday_restricted if restricted else settings.equity_intraday


def _written(
    instrument: Instrument, quantity: int, underlying_price: float | None, settings: MarginSettings, day: date, of_index: bool
) -> float:
    """The margin of a written option beside its premium."""
    strike = instrument.strike or 0.0
    spot = strike if underlying_price is None else underlying_price
    distance = max(0.0, strike - spot if instrument.kind is Kind.CALL else spot - strike)  # out of the money, a unit
    units = quantity * instrument.multiplier
    if of_index:
        rate, floor = settings.short_index_option, settings.short_index_option_floor
    else:
        rate, floor = settings.short_stock_option, settings.short_stock_option_floor
    margin = max(rate * spot - distance, floor * spot) * units
    expiry = instrument.expiry
    if expiry is None:
        return margin
    if not of_index and day.isocalendar()[:2] == expiry.isocalendar()[:2]:
        margin *= settings.stock_option_expiry_week_factor
    if of_index and day == expiry:
        margin += settings.expiry_day_addition * spot * units
    return margin
