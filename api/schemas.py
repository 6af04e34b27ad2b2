"""What requests and replies of the API look like. Money is rupees; the dashboard's shapes are those of the integration guides."""

from typing import Annotated, Any, Literal

from pydantic import AliasChoices, BaseModel, ConfigDict, Field, SecretStr

from utils.config_schema import BrokerName

Name = Annotated[str, Field(min_length=1, max_length=64, pattern=r"^[^\x00-\x1f\x7f]+$")]
ParameterName = Annotated[str, Field(pattern=r"^[A-Za-z_][A-Za-z0-9_]{0,63}$")]
ParameterText = Annotated[str, Field(max_length=64, pattern=r"^[\w .:-]*$")]
Secret = Annotated[SecretStr, Field(min_length=1, max_length=2048)]


class _In(BaseModel):
    model_config = ConfigDict(extra="forbid", hide_input_in_errors=True)


# --- users --------------------------------------------------------------------------------------------------------------------


class Register(_In):
    username: Annotated[
        str, Field(min_length=3, max_length=120, pattern=r"^[\w.@+-]+$", validation_alias=AliasChoices("username", "email"))
    ]
    password: Annotated[SecretStr, Field(min_length=10, max_length=200)]
    name: Annotated[str, Field(max_length=64)] = ""
    invitation: Annotated[SecretStr, Field(max_length=100)] | None = None


class LogIn(_In):
    username: Annotated[str, Field(min_length=1, max_length=120, validation_alias=AliasChoices("username", "email"))]
    password: Annotated[SecretStr, Field(max_length=200)]


class Invite(_In):
    role: Literal["viewer", "trader"] = "viewer"


class TokenReply(BaseModel):
    access_token: str
    token_type: Literal["bearer"] = "bearer"  # noqa: S105 - a kind of token
    expires_in: int
    username: str
    role: str


class UserReply(BaseModel):
    id: int
    username: str
    name: str
    role: str


class InvitationReply(BaseModel):
    invitation: str
    role: str
    expires_at: str


class Message(BaseModel):
    message: str


# --- brokers ------------------------------------------------------------------------------------------------------------------


class FirstTimeSetup(_In):
    """As in the integration guides; Angel One's further fields may be given here too."""

    broker: BrokerName
    api_key: Secret
    api_secret: Secret
    request_token: Secret | None = None
    account_id: Annotated[str, Field(max_length=64, validation_alias=AliasChoices("account_id", "client_id"))] = ""
    mpin: Secret | None = None
    name: Name | None = None


class SetupReply(BaseModel):
    message: str
    app_id: int
    broker: str
    activated: bool = False


class LoginUrlAsked(_In):
    """`app_id` or `api_key` say which of several apps of that broker; without one it is the app in use, else the default one."""

    app_id: Annotated[int, Field(ge=1, le=2**31)] | None = None
    api_key: Secret | None = None
    redirect_uri: Annotated[str, Field(max_length=500, pattern=r"^https?://[^\s/?#@]+(/[^\s?#]*)?$")] | None = None


class LoginUrlReply(BaseModel):
    login_url: str
    redirect_uri: str
    state: str | None = None
    kind: Literal["redirect", "code"] = "redirect"
    message: str
    instructions: list[str]


class Caught(BaseModel):
    """Whether the callback holds the answer of a login that this user began for this app: activating needs no other then."""

    caught: bool


class Activate(_In):
    brokerage: BrokerName
    app_id: Annotated[int, Field(ge=1, le=2**31)] | None = None
    api_url: Annotated[str, Field(max_length=300)] | None = None
    api_key: Secret | None = None
    api_secret: Secret | None = None
    request_token: Secret | None = None
    authorization_code: Secret | None = None
    totp: Annotated[SecretStr, Field(min_length=6, max_length=8)] | None = None
    redirect_uri: Annotated[str, Field(max_length=500)] | None = None
    state: Annotated[str, Field(max_length=200)] | None = None


class Activated(BaseModel):
    """`session_id` and `access_token` are the same opaque handle of ours, never the broker's token."""

    message: str
    session_id: str
    access_token: str
    expires_at: str | None = None


class ActivityStatus(BaseModel):
    is_active: bool
    last_active: str | None


class PortfolioOverview(BaseModel):
    value: float | None
    change_percentage: float | None


class OngoingTrade(BaseModel):
    stock: str
    bought: float
    quantity: int
    capital_used: float
    profit: float


class RecentTrade(BaseModel):
    stock: str
    side: str
    quantity: int
    price: float
    time: str


class DayProfit(BaseModel):
    date: str
    value: float
    profit: float


class OverallProfit(BaseModel):
    value: float | None
    percentage: float | None
    last_7_days: list[DayProfit]


class Dashboard(BaseModel):
    """`stale: true`: the broker did not answer now (`error` says why), and this is what it said at `as_of`; null: it never said."""

    activity_status: ActivityStatus
    portfolio_overview: PortfolioOverview
    unused_funds: float | None
    allocated_funds: float | None
    ongoing_trades: list[OngoingTrade]
    recent_trades: list[RecentTrade]
    overall_profit: OverallProfit
    broker: str | None = None
    account_kind: str | None = None
    source: str | None = None
    as_of: str | None = None
    stale: bool = False
    error: str | None = None


# --- apps ---------------------------------------------------------------------------------------------------------------------


class CreateApp(_In):
    name: Name
    broker: BrokerName = "angelone"
    account_id: Annotated[str, Field(max_length=64)] = ""
    api_key: Secret
    secret_key: Secret | None = None
    mpin: Secret | None = None
    totp_secret: Secret | None = None
    is_default: bool = False


class EditApp(_In):
    name: Name | None = None
    account_id: Annotated[str, Field(max_length=64)] | None = None
    api_key: Secret | None = None
    secret_key: Secret | None = None
    mpin: Secret | None = None
    totp_secret: Secret | None = None
    is_default: Literal[True] | None = None


class Switch(_In):
    totp: Annotated[SecretStr, Field(min_length=6, max_length=8)] | None = None


class AppReply(BaseModel):
    """`holds`: which secrets there are, and at most their last four characters."""

    id: int
    name: str
    broker: str
    account_id: str
    is_default: bool
    active: bool
    created_at: str
    holds: dict[str, str]
    session: str
    session_expires_at: str | None


# --- trading ------------------------------------------------------------------------------------------------------------------


class BulkOrder(_In):
    symbol: Annotated[str, Field(min_length=1, max_length=64)]
    direction: Annotated[Literal["BUY", "SELL"], Field(validation_alias=AliasChoices("direction", "side"))]
    quantity: Annotated[int, Field(ge=1, le=10_000_000)] | None = None
    lots: Annotated[int, Field(ge=1, le=100_000)] | None = None
    price: Annotated[float, Field(gt=0, le=1e8)] | None = None
    order_type: Literal["MARKET", "LIMIT"] | None = None
    product_type: Literal["MIS", "NRML", "CNC"] = "MIS"


class BulkTrades(_In):
    """`live` must be said where the account trades real money (or orders of a practice account go to its simulator).

    `account` is for several accounts at one broker side by side; without it, it is the one at that broker.
    """

    broker_type: BrokerName
    account: Annotated[str, Field(pattern=r"^[a-z][a-z0-9-]{0,31}$")] | None = None
    orders: Annotated[list[BulkOrder], Field(min_length=1, max_length=50)]
    live: bool = False


class OrderResult(BaseModel):
    symbol: str
    success: bool
    status: str
    order_id: str | None
    execution_price: float | None
    filled: int = 0
    error: str = ""


class BulkReply(BaseModel):
    broker_type: str
    accepted: int
    results: list[OrderResult]


class Command(_In):
    name: Literal["pause", "resume", "reduce-only", "square-off", "kill", "acknowledge", "absent", "watch", "reload"]
    confirm: bool = False
    whole_account: Annotated[str, Field(max_length=64)] | None = None
    instrument: Annotated[str, Field(max_length=64)] | None = None
    stop: bool = False
    tag: Annotated[str, Field(max_length=20)] | None = None


class Retune(_In):
    values: Annotated[dict[Annotated[str, Field(max_length=64)], Any], Field(min_length=1, max_length=20)]


class Outcome(BaseModel):
    ok: bool
    text: str
    data: Any = None


class AccountOutcome(BaseModel):
    account: str
    ok: bool
    text: str


class Outcomes(BaseModel):
    """What came of a command that every account was given; `ok` when it was done everywhere."""

    ok: bool
    text: str
    accounts: list[AccountOutcome]


class Backtest(_In):
    """`data` is a file or folder inside the data folder (settings.yaml: api.data), `strategy` a file's name without .yaml."""

    strategy: Annotated[str, Field(pattern=r"^[A-Za-z0-9_-]{1,64}$")]
    data: Annotated[str, Field(min_length=1, max_length=200, pattern=r"^[\w./ -]+$")]
    start: Annotated[str | None, Field(pattern=r"^\d{4}-\d{2}-\d{2}$", validation_alias=AliasChoices("from", "start"))] = None
    end: Annotated[str | None, Field(pattern=r"^\d{4}-\d{2}-\d{2}$", validation_alias=AliasChoices("to", "end"))] = None
    instrument: Annotated[str, Field(pattern=r"^[\w:&.-]{1,64}$")] | None = None
    params: Annotated[dict[ParameterName, bool | int | float | ParameterText], Field(max_length=20)] = {}


class BacktestReply(BaseModel):
    """`state` is queued, running, done, failed or cancelled; `progress` a part of one; `report`: whether there is one to look at."""

    id: str
    strategy: str
    data: str
    params: dict[str, Any]
    begun_at: str
    state: str
    progress: float
    report: bool
    error: str = ""
    result: Any = None


class StrategyChoice(BaseModel):
    """A strategy's file: its class, the parameters that it gives, and the ranges of all that the class has."""

    name: str
    class_: Annotated[str, Field(serialization_alias="class")]
    params: dict[str, Any]
    ranges: list[dict[str, Any]]


class BacktestChoices(BaseModel):
    """`folder` is where data files are looked for (settings.yaml: api.data)."""

    strategies: list[StrategyChoice]
    data: list[str]
    folder: str


def opened(secret: SecretStr | None) -> str | None:
    """The text of a secret field."""
    return None if secret is None else secret.get_secret_value()
