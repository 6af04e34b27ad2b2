"""The brokers as the page shows them: their names, and which credentials each wants and where a person finds them."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Field:
    """One credential: the API's field, its label, whether it must be given, whether it is hidden while typed, and a hint."""

    name: str
    label: str
    needed: bool = True
    hidden: bool = False
    hint: str = ""


@dataclass(frozen=True, slots=True)
class Form:
    """`where`: what a person does at the broker first. `answer`: what its login gives, as the person sees it; `answer_field`: the API's."""

    title: str
    where: str
    fields: tuple[Field, ...]
    answer: str
    answer_field: str


_KEY = Field("api_key", "API key")
_SECRET = Field("api_secret", "API secret", hidden=True)
_TOTP_SECRET = Field(
    "totp_secret",
    "TOTP secret (optional)",
    needed=False,
    hidden=True,
    hint="Only for logins without you: stored here it makes the second factor one more password on this machine. Leave it empty to type "
    "the code each time.",
)

FORMS: dict[str, Form] = {
    "zerodha": Form(
        "Zerodha",
        "Create an app at developers.kite.trade and register the redirect URL below with it.",
        (_KEY, _SECRET),
        "request_token",
        "request_token",
    ),
    "groww": Form(
        "Groww",
        "Make an API key at groww.in/trade-api/api-keys: a TOTP key, or an approval key with its secret.",
        (
            Field("api_key", "API key (TOTP token)"),
            Field(
                "api_secret",
                "API secret (approval keys only)",
                needed=False,
                hidden=True,
                hint="With a secret the key counts as an approval key: approve it on Groww's page each day, no code is asked for.",
            ),
            _TOTP_SECRET,
        ),
        "code of your authenticator app",
        "totp",
    ),
    "upstox": Form(
        "Upstox",
        "Create an app at account.upstox.com/developer/apps and register the redirect URL below with it.",
        (_KEY, _SECRET),
        "code",
        "authorization_code",
    ),
    "icici": Form(
        "ICICI Direct",
        "Register an app at api.icicidirect.com with the redirect URL below. ICICI gives an API session after its login, no OAuth code.",
        (
            Field("api_key", "API key (app key)"),
            _SECRET,
            Field(
                "authorization_code",
                "API session (optional)",
                needed=False,
                hint="The apisession of today's login, if you have one; leave it empty to log in by the next step.",
            ),
        ),
        "apisession",
        "authorization_code",
    ),
    "angelone": Form(
        "Angel One",
        "Create an app at smartapi.angelone.in and switch TOTP on for your account.",
        (
            Field("account_id", "Client ID (client code)"),
            Field("api_key", "SmartAPI key"),
            Field("api_secret", "SmartAPI secret (optional)", needed=False, hidden=True, hint="The login does not use it."),
            Field("mpin", "MPIN", hidden=True, hint="Four digits. Stored sealed in the vault."),
            _TOTP_SECRET,
        ),
        "code of your authenticator app",
        "totp",
    ),
}


def title(broker: str) -> str:
    return FORMS[broker].title if broker in FORMS else broker
