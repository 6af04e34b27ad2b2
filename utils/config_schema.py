"""What the YAML files may say: every key, its type, its range and its default. Parsed once at the edge, frozen afterwards.

A key without a default must be written; a documented default stands where one is. Unknown keys, other types and values out of range
are refused by utils/config_loader.py with file, line, the value seen and the nearest right name. Money is rupees, times are IST.
"""

import re
from datetime import date, time
from typing import Annotated, Any, Literal, Self

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    Strict,
    StrictBool,
    StrictFloat,
    StrictInt,
    StrictStr,
    model_validator,
)

from core.types import Account, AccountKind, Horizon

BrokerName = Literal["zerodha", "groww", "upstox", "icici", "angelone"]
INTERVALS = {"1m": 1, "3m": 3, "5m": 5, "15m": 15}


def _clock_time(value: Any) -> time:
    if isinstance(value, int) and not isinstance(value, bool) and 0 <= value < 1440:
        raise ValueError(
            f'write the time in quotes: "{value // 60:02d}:{value % 60:02d}" (YAML reads it as the number {value} without them)'
        )
    if not isinstance(value, str) or not re.fullmatch(r"([01]\d|2[0-3]):[0-5]\d", value):
        raise ValueError('expected a time of day in IST as "HH:MM", 24 hours, in quotes')
    return time.fromisoformat(value)


def _interval(value: Any) -> int:
    if value not in INTERVALS:
        raise ValueError(f"expected one of {', '.join(INTERVALS)}")
    return INTERVALS[value]


def _database_url(value: str) -> str:
    if value == "sqlite":
        return value
    matched = re.fullmatch(r"(sqlite:///.+|postgresql(\+psycopg)?://(?P<user>[^/@]*@)?[^/@]+/.+)", value)
    if matched is None:
        raise ValueError('expected "sqlite" (a file in the state folder), "sqlite:///PATH" or "postgresql://USER@HOST/NAME"')
    if ":" in (matched["user"] or ""):
        raise ValueError("a password does not belong in YAML: leave it out and give it as the secret NIYAM_DATABASE_PASSWORD")
    return value


def _unique(values: tuple[str, ...]) -> tuple[str, ...]:
    repeated = sorted({value for value in values if values.count(value) > 1})
    if repeated:
        raise ValueError(f"{', '.join(repeated)} stands in the list more than once")
    return values


def _cut_off(value: str) -> str:
    if not re.fullmatch(r"([01]\d|2[0-3]):[0-5]\d|close-\d{1,3}m|none", value):
        raise ValueError('expected "HH:MM" (IST), close-10m (minutes before the end of continuous trading) or none (no cut-off)')
    return value


def _stretch(value: tuple[time, ...]) -> tuple[time, ...]:
    if len(value) != 2 or value[0] >= value[1]:
        raise ValueError('expected a start and a later end: ["18:00", "19:00"]')
    return value


ClockTime = Annotated[time, BeforeValidator(_clock_time)]
Interval = Annotated[int, BeforeValidator(_interval)]
Text = Annotated[StrictStr, Field(min_length=1)]
Number = Annotated[StrictFloat, Field(allow_inf_nan=False)]
Positive = Annotated[Number, Field(gt=0)]
Fraction = Annotated[Number, Field(gt=0, le=1)]
Percent = Annotated[Number, Field(gt=0, le=100)]
Count = Annotated[StrictInt, Field(gt=0)]


class _Section(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


# --- settings.yaml ------------------------------------------------------------------------------------------------------------


class AccountSettings(_Section):
    """One account. `broker` takes the orders, `data_broker` the market data (default: the same); `app` names its set of credentials,
    `plan` its brokerage plan where the broker sells several (icici: ivalue, prime_9999)."""

    kind: AccountKind
    broker: BrokerName
    data_broker: BrokerName | None = None
    app: Text | None = None
    plan: Text | None = None
    capital: Annotated[Positive, Field(le=1e10)]

    def account(self, name: str) -> Account:
        return Account(name, self.kind, self.broker, self.capital, self.data_broker, self.app, self.plan)


class Database(_Section):
    """Where the ledger lives; `sqlite` is a file in the run's state folder."""

    url: Annotated[StrictStr, AfterValidator(_database_url)] = "sqlite"


class Feed(_Section):
    """`stale_after_s`: silence of the whole connection, in seconds of market hours, after which it is dropped and made anew.

    `canary` is the instrument whose silence (`canary_stale_s`) says that a connected feed is mute; null: any subscribed instrument.
    Without any tick `first_tick_minutes` after the calendar's open a person is paged: is there a session at all?
    `record` keeps every tick that comes (or ticks with five levels of depth) in Parquet files, written by a process of its own.
    """

    transport: Literal["native", "kiteticker"] = "native"
    stale_after_s: Annotated[Number, Field(ge=1, le=60)]
    canary: Text | None = "NIFTY_FUT"
    canary_stale_s: Annotated[Number, Field(ge=1, le=300)]
    first_tick_minutes: Annotated[Number, Field(gt=0, le=60)]
    record: Literal["nothing", "ticks", "depth"] = "nothing"


class Api(_Section):
    """Where API and dashboard listen, and how much they take. `hosts` are further names that a browser may call us by.

    `address` is how browsers reach us where that is not http://HOST:PORT. `data` is the folder whose files backtests may be run on
    (null: backtest-data in the state folder). `largest_request` is bytes.
    """

    host: Text = "127.0.0.1"
    port: Annotated[StrictInt, Field(ge=0, le=65535)] = 8000
    hosts: Annotated[tuple[Text, ...], AfterValidator(_unique)] = ()
    address: Text | None = None
    token_minutes: Annotated[StrictInt, Field(ge=5, le=1440)] = 60
    requests_per_minute: Annotated[StrictInt, Field(ge=60, le=1_000_000)] = 1200
    logins_per_minute: Annotated[StrictInt, Field(ge=1, le=1_000_000)] = 20
    largest_request: Annotated[StrictInt, Field(ge=1024, le=10_000_000)] = 262_144
    bulk: StrictBool = True
    webhooks: StrictBool = False
    postbacks: StrictBool = False
    data: Text | None = None


class Alerts(_Section):
    """What is sent beyond the log: messages of these levels to a webhook (secret NIYAM_WEBHOOK_URL) and to a Telegram chat (secret
    NIYAM_TELEGRAM_TOKEN; `telegram_chat` is the chat's id)."""

    levels: Annotated[tuple[Literal["page", "warn", "info"], ...], AfterValidator(_unique)] = ("page", "warn")
    webhook: StrictBool = False
    telegram_chat: Text | None = None


class SquareOff(_Section):
    """The configured part of the square-off rule (core/market.py). `time` is for equity and F&O; null: the broker's cut-off decides."""

    time: ClockTime | None
    lead_minutes: Annotated[StrictInt, Field(ge=1, le=60)]
    commodity_time: ClockTime | None = None
    currency_time: ClockTime | None = None


class Rollover(_Section):
    """When and how a carried future moves to the next month (docs/rollover.md). `index_days` and `stock_days` are trading days before the
    expiry; `oi` rolls on the first of the last `oi_from_days` days before which the next month's open interest was the larger."""

    time: ClockTime
    rule: Literal["days", "oi"] = "days"
    index_days: Annotated[StrictInt, Field(ge=1, le=10)] = 1
    stock_days: Annotated[StrictInt, Field(ge=1, le=10)] = 2
    oi_from_days: Annotated[StrictInt, Field(ge=1, le=15)] = 5
    max_slippage_pct: Annotated[Number, Field(gt=0, le=5)] = 0.5
    attempts: Annotated[StrictInt, Field(ge=1, le=50)] = 6
    physical_days: Annotated[StrictInt, Field(ge=1, le=10)] = 1


class Orders(_Section):
    """How an order chases the price: a capped limit, moved every `step_s` seconds in `steps` steps to at most `cap_pct` percent beyond the
    price at which the entry was decided. An exit goes on beyond that.
    `stand_in`: where a broker has no intraday product for shares, entries go by the carried one, which is closed by us before the close;
    false refuses them.
    An entry whose turn to be sent comes more than `entry_age_s` seconds after its decision (a call before it hung) is not sent."""

    cap_pct: Annotated[Number, Field(gt=0, le=5)] = 0.3
    steps: Annotated[StrictInt, Field(ge=1, le=10)] = 3
    step_s: Annotated[Number, Field(ge=0.5, le=60)] = 3.0
    entry_age_s: Annotated[Number, Field(ge=1, le=60)] = 5.0
    stand_in: StrictBool = True


class Protect(_Section):
    """Who holds the stop of an open position: `broker` (survives our death), `engine`, or `auto` = the broker for live, else the engine.

    `distance_pct` of the entry price serves a signal that brings no stop; live refuses a strategy that has neither. `limit_pct`: how far
    beyond its trigger the limit of a stop at the broker lies.
    """

    by: Literal["auto", "broker", "engine"] = "auto"
    distance_pct: Annotated[Number, Field(gt=0, le=50)] | None = None
    limit_pct: Annotated[Number, Field(gt=0, le=20)] = 1.0


class Log(_Section):
    """`level` is the least that is written; files are kept `keep_days`."""

    level: Literal["DEBUG", "INFO", "WARNING", "ERROR"] = "INFO"
    keep_days: Annotated[StrictInt, Field(ge=1, le=3650)] = 30


class Settings(_Section):
    """config/settings.yaml. `account` is the one in use; `beside` are further ones that the daemon trades side by side with it."""

    accounts: Annotated[dict[Annotated[str, Field(pattern=r"^[a-z][a-z0-9-]{0,31}$")], AccountSettings], Field(min_length=1)]
    account: Text
    beside: Annotated[tuple[Text, ...], AfterValidator(_unique)] = ()
    database: Database = Database()
    feed: Feed
    api: Api = Api()
    alerts: Alerts = Alerts()
    square_off: SquareOff
    rollover: Rollover
    orders: Orders = Orders()
    protect: Protect = Protect()
    log: Log = Log()


# --- risk.yaml ------------------------------------------------------------------------------------------------------------------


class Margin(_Section):
    """The pre-trade margin approximation as fractions of value (risk/margin.py); `model` is recorded with results."""

    model: Text
    equity_intraday: Fraction
    equity_intraday_restricted: Fraction
    restricted_below_price: Positive
    equity_carry: Fraction
    index_future: Fraction
    stock_future: Fraction
    short_index_option: Fraction
    short_index_option_floor: Fraction
    short_stock_option: Fraction
    short_stock_option_floor: Fraction
    expiry_day_addition: Fraction
    stock_option_expiry_week_factor: Annotated[Number, Field(ge=1, le=10)]


class Risk(_Section):
    """config/risk.yaml: the caps, none of which has a default: a cap that was deleted by mistake must not vanish quietly.

    The names are those of risk/settings.py, where each is explained.
    """

    max_order_value: Positive
    max_order_quantity: Count
    max_instrument_value: Positive
    max_strategy_exposure: Positive
    max_gross_exposure: Positive
    orders_per_second: Annotated[StrictInt, Field(ge=1, le=9)]
    orders_per_minute: Annotated[StrictInt, Field(ge=1, le=390)]
    orders_per_day: Annotated[StrictInt, Field(ge=1, le=4900)]
    runaway_factor: Annotated[Number, Field(ge=1, le=10)]
    max_daily_loss: Positive
    max_strategy_loss: Positive | None
    flatten_on_loss: StrictBool
    stale_after: Annotated[Number, Field(gt=0, le=60)]
    exchange_stale_after: Annotated[Number, Field(gt=0, le=300)]
    price_band_pct: Percent
    exit_band_pct: Percent
    duplicate_window: Annotated[Number, Field(gt=0, le=3600)]
    check_margin: StrictBool
    margin: Margin

    @model_validator(mode="after")
    def _ordered(self) -> Self:
        for small, large in (
            ("max_order_value", "max_gross_exposure"),
            ("orders_per_second", "orders_per_minute"),
            ("orders_per_minute", "orders_per_day"),
            ("price_band_pct", "exit_band_pct"),
        ):
            if getattr(self, small) > getattr(self, large):
                raise ValueError(f"{small} ({getattr(self, small):g}) is above {large} ({getattr(self, large):g})")
        return self


# --- strategies/*.yaml ----------------------------------------------------------------------------------------------------------


class Size(_Section):
    """What a target of 1 means; exactly one of: lots, quantity (units), capital (rupees of value), risk (rupees between entry and stop)."""

    lots: Count | None = None
    quantity: Count | None = None
    capital: Positive | None = None
    risk: Positive | None = None

    @model_validator(mode="after")
    def _one(self) -> Self:
        given = [name for name in ("lots", "quantity", "capital", "risk") if getattr(self, name) is not None]
        if len(given) != 1:
            raise ValueError(f"give exactly one of lots, quantity, capital, risk; got {', '.join(given) or 'none'}")
        return self


class Window(_Section):
    """When entries are allowed, within what market and square-off allow anyway."""

    entry_from: ClockTime | None = None
    entry_until: ClockTime | None = None

    @model_validator(mode="after")
    def _forward(self) -> Self:
        if self.entry_from is not None and self.entry_until is not None and self.entry_from >= self.entry_until:
            raise ValueError(f"entry_from {self.entry_from:%H:%M} is not before entry_until {self.entry_until:%H:%M}")
        return self


class LockProfit(_Section):
    """Once the day's net result has reached `at` rupees, falling back to `keep` per cent of its best ends the day; 100: at `at` itself."""

    at: Positive
    keep: Percent = 100.0


class CoolDown(_Section):
    """No new trade for `minutes` after one that ended: `after` a net loss, or any `exit`."""

    minutes: Annotated[Number, Field(gt=0, le=900)]
    after: Literal["loss", "exit"] = "loss"


class StrategyRisk(_Section):
    """The strategy's own limits of a day (risk/settings.py explains each). `stop_pct` and `take_profit_pct` of the entry price serve a
    signal that brings none of its own."""

    max_loss: Positive | None = None
    lock_profit: LockProfit | None = None
    max_trades: Count | None = None
    cooldown: CoolDown | None = None
    stop_pct: Annotated[Number, Field(gt=0, le=50)] | None = None
    take_profit_pct: Annotated[Number, Field(gt=0, le=500)] | None = None


class StrategySettings(_Section):
    """One file of config/strategies/. The file's name (without .yaml) is the strategy's name; `account` null: the account in use.

    `on_disable` says what becomes of what it holds when nobody decides on it any more: it is disabled, or no longer trades an instrument.
    """

    class_: Annotated[Text, Field(alias="class")]
    instruments: Annotated[tuple[Text, ...], Field(min_length=1), AfterValidator(_unique)]
    interval: Interval
    params: dict[StrictStr, StrictInt | StrictFloat | StrictBool | StrictStr] = {}
    size: Size
    horizon: Horizon
    window: Window = Window()
    risk: StrategyRisk = StrategyRisk()
    account: Text | None = None
    enabled: StrictBool = True
    on_disable: Literal["flatten", "keep"] = "flatten"


# --- market/overrides.yaml and market/assumed.yaml ----------------------------------------------------------------------------------

Day = Annotated[date, Strict()]
SegmentName = Literal["EQ", "FO", "CDS", "MCX"]
Stretch = Annotated[tuple[ClockTime, ...], AfterValidator(_stretch)]
CutOffTime = Annotated[Annotated[StrictStr, AfterValidator(_cut_off)] | None, Field(default=None)]
BrokerText = Annotated[StrictStr, Field(pattern=r"^[a-z]+$")]
Source = StrictStr | list[StrictStr]


class DayOverride(_Section):
    """A day that is, or is not, a holiday after all."""

    d: Day
    n: Text
    segments: Annotated[list[SegmentName], Field(min_length=1)]
    src: Source = ""


class SpecialSession(_Section):
    """Continuous trading at times of its own, instead of whatever the day had."""

    d: Day
    kind: Text
    segments: Annotated[list[SegmentName], Field(min_length=1)]
    sessions: Annotated[list[Stretch], Field(min_length=1)]
    pre_open: Stretch | None = None
    src: Source = ""


class _Version(_Section):
    from_: Annotated[Day, Field(alias="from")]
    to: Day | None
    status: Literal["confirmed", "single_source", "unconfirmed", "assumed"] = "confirmed"
    src: Source = ""
    note: StrictStr = ""

    @model_validator(mode="after")
    def _forward(self) -> Self:
        if self.to is not None and self.to < self.from_:
            raise ValueError(f"to {self.to} is before from {self.from_}")
        return self


class PhaseOverride(_Section):
    """One phase of a day's hours, named as in sessions.yaml."""

    name: Annotated[
        StrictStr, Field(pattern=r"^(continuous|morning|evening|buffer|pre_open|cas_|close_price|post_close|block_deal|order_cancel)")
    ]
    start: ClockTime
    end: ClockTime | Literal["DST_RULE"]
    order_types: list[StrictStr] | None = None


class HoursVersion(_Version):
    """Session hours from a date on."""

    phases: Annotated[list[PhaseOverride], Field(min_length=1)]
    expiring_index_contracts_stop: ClockTime | None = None


class CutOffVersion(_Version):
    """A broker's intraday cut-offs from a date on."""

    EQ: CutOffTime
    EQ_CAS: CutOffTime
    EQ_NONCAS: CutOffTime
    FO: CutOffTime
    CDS: CutOffTime
    MCX: CutOffTime


class Hours(_Section):
    versions: list[HoursVersion]


class CutOffs(_Section):
    versions: list[CutOffVersion]


class Corrections(_Section):
    """config/market/overrides.yaml (the operator's) and assumed.yaml (practice and backtests only); the forms of the facts files."""

    schema_version: Literal[1]
    closed: list[DayOverride] = []
    open: list[DayOverride] = []
    special_sessions: list[SpecialSession] = []
    segments: dict[Literal["EQ_NONCAS", "EQ_CAS", "FO", "CDS", "MCX"], Hours] = {}
    mis_squareoff: dict[BrokerText, CutOffs] = {}
    confirmed_years: list[Annotated[StrictInt, Field(ge=2020, le=2100)]] = []
