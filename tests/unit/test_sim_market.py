"""The synthetic market: the same seed gives the same prints whatever is asked, and a day has the shape of an Indian one."""

from datetime import date, datetime, time, timedelta
from itertools import pairwise

import pytest

from simulators.facts import IST
from simulators.market import SyntheticMarket
from tests.unit.sim_stage import DAY, FACTS, NIFTY, SHARE, clock

INDEX = "NSE:NIFTY 50"


def opened(seed: int = 7, day: date = DAY, start: date | None = None) -> SyntheticMarket:
    market = SyntheticMarket(seed, start or day, FACTS)
    market.open_day(day)
    return market


def prints(market: SyntheticMarket, key: str, start: str, end: str) -> list[tuple[float, int]]:
    at, found = clock(start, market.day), []
    while at < clock(end, market.day):
        found += market.trades(key, at)
        at += timedelta(seconds=1)
    return found


@pytest.fixture(scope="module")
def played() -> SyntheticMarket:
    market = opened()
    market.quote(NIFTY)
    market.step(market.closes_at)
    return market


def test_access_order_changes_nothing(played: SyntheticMarket) -> None:
    other = opened()
    for key in reversed(list(other.listings)[:40]):
        other.quote(key)
    at = other.opens_at
    while at < clock("09:40"):
        other.step(at)
        at += timedelta(seconds=1)
    other.step(other.closes_at)
    for key in (INDEX, NIFTY, SHARE):
        assert other.quote(key) == played.quote(key)
        assert prints(other, key, "09:15", "09:30") == prints(played, key, "09:15", "09:30")


def test_a_day_is_the_same_whenever_the_run_started() -> None:
    following = FACTS.next_day(DAY)
    late, early = opened(day=following), opened(day=following, start=DAY)
    assert late.listings[NIFTY] == early.listings[NIFTY]
    for market in (late, early):
        market.step(market.closes_at)
    assert late.quote(SHARE) == early.quote(SHARE)


def test_another_seed_is_another_market(played: SyntheticMarket) -> None:
    other = opened(seed=8)
    other.step(other.closes_at)
    assert other.quote(NIFTY).last_price != played.quote(NIFTY).last_price


def test_what_was_played_is_tomorrows_history() -> None:
    market = opened()
    market.step(market.closes_at)
    today = market.candles(SHARE, clock("09:15"), clock("15:40"), 5)
    market.open_day(FACTS.next_day(DAY))
    assert market.candles(SHARE, clock("09:15"), clock("15:40"), 5) == today
    assert market.listings[SHARE].previous_close == pytest.approx(today[-1].close)  # the closing auction's price


def test_running_candles_show_only_what_was_played() -> None:
    market = opened()
    market.step(clock("09:22:30"))
    candles = market.candles(NIFTY, clock("09:15"), clock("15:40"), 1)
    assert [candle.start for candle in candles] == [clock(f"09:{minute}") for minute in range(15, 23)]
    seen = prints(market, NIFTY, "09:16", "09:17")
    assert candles[1].open == seen[0][0]
    assert (candles[1].high, candles[1].low) == (max(seen)[0], min(seen)[0])
    assert candles[1].volume == sum(quantity for _, quantity in seen)
    before = candles
    market.step(clock("09:40"))
    assert market.candles(NIFTY, clock("09:15"), clock("09:21"), 1) == before[:7]


def test_history_reaches_back_thirty_trading_days_and_resamples(played: SyntheticMarket) -> None:
    start = datetime.combine(date(2026, 9, 1), time(0), IST)
    days = played.candles(SHARE, start, clock("15:40"), 1440)
    assert len(days) == 31
    assert all(FACTS.trading_day(candle.start.date()) for candle in days)
    five = played.candles(NIFTY, clock("00:00", date(2026, 11, 19)), clock("23:00", date(2026, 11, 19)), 5)
    fifteen = played.candles(NIFTY, clock("00:00", date(2026, 11, 19)), clock("23:00", date(2026, 11, 19)), 15)
    assert fifteen[0].high == max(candle.high for candle in five[:3])
    assert fifteen[0].volume == sum(candle.volume for candle in five[:3])
    assert five[0].start.time() == time(9, 15)


def test_before_nine_fifteen_there_is_one_auction_print(played: SyntheticMarket) -> None:
    for key in (SHARE, NIFTY, INDEX):
        assert len(prints(played, key, "09:00", "09:15")) == 1
    assert prints(played, "NFO:NIFTY27JANFUT", "09:00", "09:15") == []
    option = next(key for key, item in played.listings.items() if item.kind == "CE")
    assert prints(played, option, "09:00", "09:15") == []
    assert played.quote(SHARE).open == prints(played, SHARE, "09:10", "09:12")[0][0]


def test_the_closing_auction_stops_shares_and_index_but_not_futures(played: SyntheticMarket) -> None:
    assert prints(played, SHARE, "15:15", "15:30") == []
    assert prints(played, INDEX, "15:15", "15:30") == []
    assert len(prints(played, SHARE, "15:30", "15:35")) == 1
    assert len(prints(played, INDEX, "15:30", "15:35")) == 1
    assert prints(played, NIFTY, "15:15", "15:40")
    assert prints(played, "NSE:VSTIND", "15:15", "15:30")
    assert prints(played, "NSE:VSTIND", "15:30", "15:40") == []


def test_before_the_closing_auction_came_in_everything_ended_at_half_past_three() -> None:
    day = date(2025, 7, 1)
    market = opened(day=day)
    market.step(market.closes_at)
    share, future = SHARE, next(key for key, item in market.listings.items() if item.kind == "FUT" and item.underlying == "NIFTY")
    assert market.closes_at == clock("15:30", day)
    assert prints(market, share, "15:29", "15:30")
    assert prints(market, future, "15:29", "15:30")
    assert prints(market, future, "09:00", "09:15") == []  # no pre-open for futures yet


def test_contracts_of_the_practice_days() -> None:
    market = opened()
    near, far = market.listings[NIFTY], market.listings["NFO:NIFTY26DECFUT"]
    assert (near.expiry, far.expiry) == (date(2026, 11, 23), date(2026, 12, 29))
    assert (near.lot, near.tick_size, near.freeze) == (65, 0.1, 1800)
    bank = market.listings["NFO:BANKNIFTY26NOVFUT"]
    assert (bank.lot, bank.tick_size, bank.freeze) == (30, 0.2, 600)
    weekly = [item for item in market.listings.values() if item.kind == "CE" and item.expiry == date(2026, 12, 1)]
    assert weekly
    assert weekly[0].symbol.startswith("NIFTY26D01")
    assert market.days[:3] == [date(2026, 11, 20), date(2026, 11, 23), date(2026, 11, 25)]
    assert market.listings[INDEX].token == 256265


def test_derivative_tokens_are_of_the_day_and_unique() -> None:
    market = opened()
    today = {key: item.token for key, item in market.listings.items()}
    market.open_day(FACTS.next_day(DAY))
    tomorrow = {key: item.token for key, item in market.listings.items()}
    assert today[NIFTY] != tomorrow[NIFTY]
    assert today[SHARE] == tomorrow[SHARE] == 738561
    assert len(set(today.values())) == len(today)
    assert all(item.exchange_token * 256 + 2 == item.token for item in market.listings.values() if item.exchange == "NFO")


def test_after_an_expiry_the_contracts_roll() -> None:
    market = opened(day=date(2026, 11, 25), start=DAY)
    assert NIFTY not in market.listings
    assert "NFO:NIFTY27FEBFUT" in market.listings
    with pytest.raises(KeyError):
        market.quote(NIFTY)


def test_prices_lie_on_ticks_inside_the_circuits_with_a_sane_book(played: SyntheticMarket) -> None:
    for key in (NIFTY, SHARE, "NSE:VSTIND", "NFO:RELIANCE26NOVFUT"):
        item = played.listings[key]
        for price, quantity in prints(played, key, "09:15", "10:15"):
            assert abs(price / item.tick_size - round(price / item.tick_size)) < 1e-6
            assert quantity > 0
            assert quantity % item.lot == 0
            assert item.lower_circuit <= price <= item.upper_circuit
        for minute in range(16, 59):
            quote = played.quote(key, clock(f"09:{minute}"))
            assert quote.bids[0][0] < quote.asks[0][0]
            assert [level[0] for level in quote.bids] == sorted((level[0] for level in quote.bids), reverse=True)
            assert quote.low <= quote.last_price <= quote.high


def test_the_quote_of_a_day_only_grows(played: SyntheticMarket) -> None:
    quotes = [played.quote(NIFTY, clock(f"{hour:02}:{minute:02}")) for hour in range(10, 15) for minute in range(0, 60, 5)]
    for earlier, later in pairwise(quotes):
        assert later.volume >= earlier.volume
        assert later.high >= earlier.high
        assert later.low <= earlier.low
        assert later.exchange_time > earlier.exchange_time


def test_before_the_open_the_quote_is_yesterdays_close_and_stale() -> None:
    market = opened()
    quote = market.quote(NIFTY)
    assert quote.last_price == market.listings[NIFTY].previous_close
    assert quote.exchange_time.date() == date(2026, 11, 19)
    assert quote.volume == 0


def test_the_future_follows_its_index_with_a_basis(played: SyntheticMarket) -> None:
    gaps = []
    for hour in (10, 11, 12, 13, 14):
        index, future = (played.quote(key, clock(f"{hour}:30")).last_price for key in (INDEX, NIFTY))
        gaps.append(future / index - 1)
    assert all(abs(gap) < 0.004 for gap in gaps)
    later = played.quote("NFO:NIFTY26DECFUT", clock("12:00")).last_price
    assert later > played.quote(NIFTY, clock("12:00")).last_price


def test_expiring_index_contracts_stop_early_from_december_2026() -> None:
    expiry = date(2026, 12, 29)
    market = opened(day=expiry)
    market.step(market.closes_at)
    near, following = "NFO:NIFTY26DECFUT", "NFO:NIFTY27JANFUT"
    assert market.listings[near].expiry == expiry
    assert prints(market, near, "15:30", "15:45") == []
    assert prints(market, following, "15:30", "15:45")


def test_options_keep_put_call_parity_and_vanish_at_expiry() -> None:
    expiry = date(2026, 11, 23)
    market = opened(day=expiry)
    market.step(clock("11:00", expiry))
    spot = market.quote(INDEX).last_price
    strike = round(spot / 50) * 50
    call, put = (market.quote(f"NFO:NIFTY26NOV{strike}{kind}", clock("11:00", expiry)) for kind in ("CE", "PE"))
    mid = [sum(side[0][0] for side in (quote.bids, quote.asks)) / 2 for quote in (call, put)]
    assert mid[0] - mid[1] == pytest.approx(spot - strike, abs=0.003 * spot**0.5 + 6)
    far = f"NFO:NIFTY26NOV{strike + 1000}CE"
    market.quote(far)
    market.step(clock("15:29", expiry))
    assert market.quote(far).last_price <= 0.10


def test_index_and_futures_move_together(played: SyntheticMarket) -> None:
    candles = played.candles(NIFTY, clock("09:15"), clock("15:40"), 15)
    index = {candle.start: candle for candle in played.candles(INDEX, clock("09:15"), clock("15:15"), 15)}
    same = [(candle.close - candle.open) * (index[candle.start].close - index[candle.start].open) > 0 for candle in candles[:24]]
    assert sum(same) >= 18


def test_the_open_is_livelier_than_noon(played: SyntheticMarket) -> None:
    candles = played.candles(NIFTY, clock("00:00", date(2026, 10, 20)), clock("15:40"), 1)
    moves: dict[int, list[float]] = {}
    for candle in candles:
        moves.setdefault(candle.start.hour * 60 + candle.start.minute - 555, []).append(abs(candle.close / candle.open - 1))
    opening, noon = (sum(sum(moves[minute]) for minute in range(start, start + 30)) for start in (0, 180))
    assert opening > 1.25 * noon


def test_moving_averages_cross_and_opening_ranges_break() -> None:
    """The day has to give strategies something to do: on most days of any seed it does."""
    crossing = breaking = days = 0
    for seed in (1, 2, 3, 7, 11):
        market = opened(seed=seed)
        for day in (DAY, FACTS.next_day(DAY)):
            market.open_day(day)
            market.step(market.closes_at)
            candles = market.candles(NIFTY if NIFTY in market.listings else SHARE, clock("09:15", day), clock("15:40", day), 5)
            closes = [candle.close for candle in candles]
            above = [sum(closes[at - 9 : at]) / 9 > sum(closes[at - 21 : at]) / 21 for at in range(21, len(closes))]
            crossing += any(first != second for first, second in pairwise(above))
            high, low = max(candle.high for candle in candles[:3]), min(candle.low for candle in candles[:3])
            breaking += any(close > high or close < low for close in closes[3:])
            days += 1
    assert crossing >= 0.8 * days
    assert breaking >= 0.7 * days


def test_only_keys_somebody_asked_for_are_reported_as_changed() -> None:
    market = opened()
    market.quote(NIFTY)
    assert market.step(clock("09:20")) == [NIFTY]
    market.quote(SHARE)
    assert set(market.step(clock("09:21"))) == {NIFTY, SHARE}
    assert market.step(clock("09:21")) == []


def test_a_circuit_lock_empties_one_side() -> None:
    market = opened()
    market.step(clock("10:00"))
    market.lock(SHARE, "upper")
    limit = market.listings[SHARE].upper_circuit
    quote = market.quote(SHARE)
    assert quote.last_price == limit
    assert quote.asks[0] == (0.0, 0, 0)
    assert quote.bids[0][0] == limit
    market.lock(SHARE, None)
    assert market.quote(SHARE).asks[0][0] > 0
    with pytest.raises(ValueError, match="upper"):
        market.lock(SHARE, "sideways")


def test_a_halt_freezes_the_market_and_its_prints_are_lost() -> None:
    market = opened()
    market.quote(NIFTY)
    market.step(clock("10:00"))
    market.halt(True)
    assert market.step(clock("10:05")) == []
    frozen = market.quote(NIFTY)
    assert frozen.exchange_time <= clock("10:00")
    market.halt(False)
    market.step(clock("10:06"))
    assert market.trades(NIFTY, clock("10:03")) == []
    assert market.quote(NIFTY).exchange_time > frozen.exchange_time


def test_a_holiday_or_foreign_day_is_refused() -> None:
    with pytest.raises(ValueError, match="no trading day"):
        SyntheticMarket(1, date(2026, 11, 24), FACTS)
    market = SyntheticMarket(1, DAY, FACTS)
    with pytest.raises(ValueError, match="not among the days"):
        market.open_day(date(2026, 11, 19))


def test_it_says_that_it_is_synthetic(played: SyntheticMarket) -> None:
    assert played.synthetic
    assert "synthetic" in played.label
