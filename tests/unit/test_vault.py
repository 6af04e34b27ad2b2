"""The vault: what opens it and what does not, what lies on disk, rotation, old tokens, and `config.get_secret`."""

import base64
import os
import sqlite3
import subprocess
import sys
from collections.abc import Callable
from datetime import datetime
from pathlib import Path

import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from cryptography.fernet import Fernet
from hypothesis import given
from hypothesis import strategies as st

from core.errors import ConfigError
from core.types import IST
from storage import account_models, connecting
from storage.account_file import AccountFile
from storage.credentials import AppCredentials, Materials, Vault
from storage.vault import VaultError, from_fernet, make_key, shown, unlock
from utils.config_loader import Secrets

NOW = datetime(2026, 11, 20, 10, 0, tzinfo=IST)
MARKED = "marked-secret-0123456789"
ROOT = Path(__file__).resolve().parents[2]


def vault(state: Path, *, elsewhere: tuple[Path, ...] = (), typed: bytes | None = None) -> Vault:
    return Vault(AccountFile(state), Materials(state, elsewhere, typed))


def everything(folder: Path) -> bytes:
    return b"".join(path.read_bytes() for path in folder.rglob("*") if path.is_file())


def a_user(state: Path, role: str = "owner") -> int:
    file = AccountFile(state)
    with file.writing() as connection:
        row = {"username": role, "name": "", "password": "", "role": role, "created_at": "", "failures": 0}
        made = connection.execute(account_models.users.insert().values(row)).inserted_primary_key
    assert made is not None
    return int(made[0])


def test_a_secret_is_kept_sealed_and_its_files_are_its_owners_alone(tmp_path: Path) -> None:
    store = vault(tmp_path)
    store.init(NOW)
    store.put("ZERODHA_API_SECRET", MARKED)
    assert vault(tmp_path).find("ZERODHA_API_SECRET") == MARKED
    assert MARKED.encode() not in everything(tmp_path)
    key = (tmp_path / "vault.key").read_bytes()
    assert key.strip() not in b"".join(path.read_bytes() for path in tmp_path.glob("accounts.sqlite*")), "the key is never in the database"
    assert {path.stat().st_mode & 0o777 for path in tmp_path.iterdir()} == {0o600}
    assert store.listed() == {"ZERODHA_API_SECRET": "…6789"}
    assert MARKED not in repr(store) + repr(vars(store))


def test_another_key_a_lost_one_and_one_that_others_read_do_not_open_it(tmp_path: Path) -> None:
    store = vault(tmp_path)
    store.init(NOW)
    store.put("NAME", MARKED)
    good = (tmp_path / "vault.key").read_bytes()
    for bad in (b"x" * 64, good[:-10] + b"0000000000", b""):
        (tmp_path / "vault.key").write_bytes(bad)
        with pytest.raises(VaultError, match="is locked"):
            vault(tmp_path).find("NAME")
    (tmp_path / "vault.key").unlink()
    with pytest.raises(VaultError, match="systemd credential"):
        vault(tmp_path).find("NAME")
    (tmp_path / "vault.key").write_bytes(good)
    (tmp_path / "vault.key").chmod(0o644)
    with pytest.raises(ConfigError, match="readable by others"):
        vault(tmp_path).find("NAME")


def test_a_sealed_text_moved_to_another_record_does_not_open(tmp_path: Path) -> None:
    store = vault(tmp_path)
    store.init(NOW)
    store.put("MINE", MARKED)
    store.put("OTHER", "another-value-000")
    with sqlite3.connect(tmp_path / "accounts.sqlite") as database:
        database.execute("UPDATE secrets SET value = (SELECT value FROM secrets WHERE name = 'MINE') WHERE name = 'OTHER'")
    with pytest.raises(VaultError, match="belongs to another record"):
        store.find("OTHER")
    assert store.find("MINE") == MARKED


@given(text=st.text(max_size=40), identity=st.text(max_size=20), at=st.integers(0, 10_000), bit=st.integers(0, 7))
def test_any_changed_bit_is_noticed(text: str, identity: str, at: int, bit: int) -> None:
    _, cipher = make_key(3, "file", b"k" * 32)
    sealed = cipher.seal(text, identity)
    assert cipher.open(sealed, identity) == text
    head, body = sealed.rsplit(".", 1)
    raw = bytearray(base64.urlsafe_b64decode(body))
    raw[at % len(raw)] ^= 1 << bit
    with pytest.raises(VaultError):
        cipher.open(f"{head}.{base64.urlsafe_b64encode(bytes(raw)).decode()}", identity)
    with pytest.raises(VaultError):
        cipher.open(sealed, identity + "x")


def test_a_password_opens_it_and_a_wrong_one_does_not() -> None:
    row, cipher = make_key(1, "password", b"correct horse battery", cost=2**10)
    again = unlock(row, b"correct horse battery\n")
    assert again is not None
    assert again.open(cipher.seal("x", "a"), "a") == "x"
    assert unlock(row, b"correct horse batterz") is None
    with pytest.raises(ConfigError, match="at least 12"):
        make_key(1, "password", b"short")
    with pytest.raises(ConfigError, match="at least 32 bytes"):
        make_key(1, "file", b"short")


def test_a_key_kept_elsewhere_leaves_none_in_the_state_folder(tmp_path: Path) -> None:
    credential = tmp_path / "credentials" / "niyam-vault"
    credential.parent.mkdir()
    credential.write_bytes(os.urandom(48))
    state = tmp_path / "state"
    vault(state).init(NOW, key=credential.read_bytes())
    vault(state, elsewhere=(credential,)).put("NAME", MARKED)
    assert not (state / "vault.key").exists()
    with pytest.raises(VaultError):
        vault(state).find("NAME")
    assert vault(state, elsewhere=(credential,)).find("NAME") == MARKED


@pytest.mark.parametrize("new", ["file", "password"])
def test_rotation_reseals_everything_and_the_old_key_opens_nothing(tmp_path: Path, new: str) -> None:
    store = vault(tmp_path)
    store.init(NOW)
    store.put("NAME", MARKED)
    app = store.add_app(a_user(tmp_path), "angelone", "mine", "A1", {"api_key": "key-of-the-app-1", "mpin": "1234"}, NOW)
    other = vault(tmp_path)  # another process, unlocked with the old key
    assert other.find("NAME") == MARKED
    old = (tmp_path / "vault.key").read_bytes()
    before = everything(tmp_path)
    assert store.rotate(NOW, password=b"a long password" if new == "password" else None) == 3
    if new == "password":
        (tmp_path / "vault.key").unlink()
        with pytest.raises(VaultError, match="no password"):
            other.find("NAME")
        other = vault(tmp_path, typed=b"a long password")
    assert other.find("NAME") == MARKED
    assert other.app_secret(app.id, "mpin") == "1234"
    assert everything(tmp_path) != before
    assert not (tmp_path / "vault.new").exists()
    (tmp_path / "vault.key").write_bytes(old)
    (tmp_path / "vault.key").chmod(0o600)
    with pytest.raises(VaultError):
        vault(tmp_path).find("NAME")


def test_a_rotation_that_died_before_its_files_were_changed_over_is_finished(tmp_path: Path) -> None:
    store = vault(tmp_path)
    store.init(NOW)
    store.put("NAME", MARKED)
    key = tmp_path / "vault.key"
    key.replace(tmp_path / "vault.new")  # the database is at the new key; vault.key is still the old one
    key.write_bytes(b"o" * 64)
    key.chmod(0o600)
    assert vault(tmp_path).find("NAME") == MARKED
    assert not (tmp_path / "vault.new").exists()
    assert vault(tmp_path).find("NAME") == MARKED


def test_apps_hold_secrets_that_only_their_last_four_characters_leave(tmp_path: Path) -> None:
    store = vault(tmp_path)
    store.init(NOW)
    user = a_user(tmp_path)
    first = store.add_app(user, "zerodha", "one", "ZZ1", {"api_key": MARKED, "secret_key": "short"}, NOW)
    second = store.add_app(user, "angelone", "two", "A2", {"api_key": "another-key-22"}, NOW)
    assert (first.is_default, second.is_default) == (True, False)
    assert dict(first.holds) == {"api_key": "…6789", "secret_key": "…"}
    with pytest.raises(ConfigError, match="named 'one' already"):
        store.add_app(user, "zerodha", "one", "", {}, NOW)
    changed = store.change_app(second.id, {"is_default": True, "mpin": "4321", "name": "second"})
    assert (changed.is_default, changed.name, store.app(first.id).is_default) == (True, "second", False)
    credentials = AppCredentials(store, changed)
    assert [credentials.get_secret(f"ANGELONE_{name}") for name in ("API_KEY", "MPIN", "CLIENT_CODE")] == ["another-key-22", "4321", "A2"]
    with pytest.raises(ConfigError, match="has no totp_secret"):
        credentials.get_secret("ANGELONE_TOTP_SECRET")
    with pytest.raises(ConfigError):
        credentials.get_secret("ZERODHA_API_KEY")
    store.drop_app(first.id)
    assert [app.name for app in store.apps_of(user)] == ["second"]
    assert MARKED.encode() not in everything(tmp_path)


def test_the_vault_is_asked_before_the_environment(tmp_path: Path) -> None:
    store = vault(tmp_path)
    store.init(NOW)
    store.put("ZERODHA_API_KEY", "from-the-vault")
    store.add_app(a_user(tmp_path), "zerodha", "live-app", "ZZ9", {"api_key": "from-the-app"}, NOW)
    given = {"ZERODHA_API_KEY": "from-the-environment", "ZERODHA_API_SECRET": "only-there"}
    secrets = Secrets(tmp_path, given, state=tmp_path)
    assert secrets.get_secret("ZERODHA_API_KEY") == "from-the-vault"
    assert secrets.get_secret("ZERODHA_API_SECRET") == "only-there"
    assert secrets.for_app("live-app").get_secret("ZERODHA_API_KEY") == "from-the-app"
    with pytest.raises(ConfigError, match="no app 'nobody'"):
        secrets.for_app("nobody").get_secret("ZERODHA_API_KEY")
    assert Secrets(tmp_path, given).get_secret("ZERODHA_API_KEY") == "from-the-environment"


@pytest.mark.parametrize(("damage", "said"), [(lambda t: t[:-4] + "AAA=", "no Fernet token"), (lambda t: "x", "no Fernet token")])
def test_a_fernet_token_of_the_former_backend_is_imported(damage: Callable[[str], str], said: str) -> None:
    key = Fernet.generate_key().decode()
    token = Fernet(key).encrypt(MARKED.encode()).decode()
    assert from_fernet(f" {token}\n", key + "\n") == MARKED
    with pytest.raises(VaultError, match=said):
        from_fernet(damage(token), key)
    with pytest.raises(VaultError, match=said):
        from_fernet(token, Fernet.generate_key().decode())


@pytest.mark.parametrize(("text", "said"), [(None, ""), ("", ""), ("1234", "…"), ("elevenchars", "…"), ("twelve-chars", "…hars")])
def test_at_most_four_characters_are_shown(text: str | None, said: str) -> None:
    assert shown(text) == said


def test_the_migration_makes_what_the_models_say(tmp_path: Path) -> None:
    file = AccountFile(tmp_path)
    with file.reading() as connection:
        assert connecting.version(connection) == account_models.HEAD
        assert compare_metadata(MigrationContext.configure(connection), account_models.metadata) == []


def call(state: Path, *words: str, given: str = "") -> subprocess.CompletedProcess[str]:
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("NIYAM_", "ZERODHA_"))}
    command = [sys.executable, "main.py", "vault", *words, "--state", str(state)]
    return subprocess.run(command, input=given, capture_output=True, text=True, timeout=60, cwd=ROOT, env=environment)


def test_the_command_line_keeps_a_secret_and_never_says_it(tmp_path: Path) -> None:
    assert (call(tmp_path, "list").returncode, call(tmp_path, "set").returncode) == (2, 2)
    said = [call(tmp_path, "init"), call(tmp_path, "set", "ZERODHA_API_KEY", given=f"{MARKED}\n")]
    key, token = tmp_path / "fernet.key", Fernet.generate_key()
    key.write_bytes(token)
    old = Fernet(token).encrypt(b"an-old-api-secret").decode()
    said += [call(tmp_path, "set", "ZERODHA_API_SECRET", "--fernet-key-file", str(key), given=old), call(tmp_path, "rotate")]
    said += [call(tmp_path, "list"), call(tmp_path, "export-public", "--json")]
    assert [done.returncode for done in said] == [0] * len(said), said
    assert "…6789" in said[4].stdout
    assert "6789" not in said[5].stdout
    assert all(MARKED not in done.stdout + done.stderr and "an-old-api-secret" not in done.stdout + done.stderr for done in said)
    assert Secrets(tmp_path, {}, state=tmp_path).get_secret("ZERODHA_API_SECRET") == "an-old-api-secret"
    assert call(tmp_path, "init").returncode == 2
    assert "lower_case" in call(tmp_path, "set", "lower_case", given="x").stderr
