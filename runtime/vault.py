"""`main.py vault`: the credential store by hand. Secrets come from the terminal or standard input and leave as four characters at most."""

import argparse
import getpass
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from core.clock import SystemClock
from core.errors import ConfigError
from storage.account_file import AccountFile, exists
from storage.credentials import KEY_FILE, Materials, Vault
from storage.vault import VaultError, from_fernet
from utils.config_loader import vault_places


def command(options: argparse.Namespace, state: Path) -> Any:
    """What the action says, as its JSON document; raises ConfigError for misuse, VaultError for a vault that stays locked."""
    if (options.action == "set") != bool(options.name):
        raise ConfigError("`vault set NAME` needs the secret's name; the other actions take none")
    if options.action not in ("init", "rotate") and (options.password or options.key_file):
        raise ConfigError("--password and --key-file belong to `vault init` and `vault rotate`")
    if options.password and options.key_file:
        raise ConfigError("--password or --key-file, not both")
    if options.action != "init" and not exists(state):
        raise ConfigError(f"there is no vault in {state} yet: `main.py vault init`")
    vault, clock = opened(state), SystemClock()
    if options.action == "init":
        vault.init(clock.now(), **_new_key(options))
        where = "a password" if options.password else options.key_file or str(state / KEY_FILE)
        return {"vault": str(state / "accounts.sqlite"), "key": where}
    if options.action == "set":
        if not vault.ready:
            vault.init(clock.now())
        value = _asked(f"{options.name} (not shown): ")
        if options.fernet_key_file:
            value = from_fernet(value, Path(options.fernet_key_file).read_text(encoding="utf-8"))
        _checked(options.name, value)
        vault.put(options.name, value)
        return {"set": options.name}
    if options.action == "rotate":
        return {"resealed": vault.rotate(clock.now(), **_new_key(options))}
    rows = [{"id": app.id, "name": app.name, "broker": app.broker, "account_id": app.account_id} for app in vault.apps_of()]
    if options.action == "export-public":
        return {"secrets": sorted(vault.listed()), "apps": rows}
    return {"secrets": vault.listed(), "apps": [{**row, "holds": dict(app.holds)} for row, app in zip(rows, vault.apps_of(), strict=True)]}


def opened(state: Path, *, ask: bool = True) -> Vault:
    """The vault of a state folder. Where only a password opens it, it is asked for on a terminal, once."""
    file = AccountFile(state)
    vault = Vault(file, Materials(state, vault_places()))
    if not (ask and vault.ready and sys.stdin.isatty()):
        return vault
    try:
        vault.listed()
    except VaultError:
        return Vault(file, Materials(state, vault_places(), typed=getpass.getpass("The vault's password (not shown): ").encode()))
    return vault


def told(action: str, data: Mapping[str, Any]) -> str:
    """The same for a person."""
    if action == "init":
        return f"the vault {data['vault']} is ready; its key: {data['key']}. Keep a copy of the key elsewhere: nothing opens without it\n"
    if action == "set":
        return f"{data['set']} is sealed in the vault\n"
    if action == "rotate":
        return f"what is in the vault ({data['resealed']}) is sealed with a new key; the old one opens nothing any more\n"
    secrets = data["secrets"]
    lines = [f"{name}  {secrets[name]}" for name in secrets] if isinstance(secrets, Mapping) else list(secrets)
    for app in data["apps"]:
        holds = ", ".join(f"{name} {text}" for name, text in app.get("holds", {}).items())
        lines.append(f"app {app['id']} {app['name']} ({app['broker']} {app['account_id']})  {holds}".rstrip())
    return "\n".join(lines or ["the vault is empty"]) + "\n"


def _new_key(options: argparse.Namespace) -> dict[str, bytes]:
    if options.password:
        first = _asked("New password of the vault (not shown): ")
        if sys.stdin.isatty() and getpass.getpass("Again: ") != first:
            raise ConfigError("the two differ; nothing was changed")
        return {"password": first.encode()}
    return {"key": Path(options.key_file).read_bytes()} if options.key_file else {}


def _asked(prompt: str) -> str:
    text = getpass.getpass(prompt) if sys.stdin.isatty() else sys.stdin.readline()
    if not text.strip():
        raise ConfigError("nothing was given: type it, or pipe it in as one line")
    return text.strip()


def _checked(name: str, value: str) -> None:
    from utils.config_loader import Secrets

    Secrets(environment={name: value}).get_secret(name)  # refuses a name that could never be asked for
