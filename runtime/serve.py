"""`main.py serve`: the web process. On loopback unless TLS is given or `--insecure` says that something in front of us has it."""

import argparse
import os
import socket
import sys
import threading
from pathlib import Path
from typing import Any

from loguru import logger

from api.app import create
from api.dashboard.mount import mount
from api.ports import Parts
from core.clock import SystemClock
from core.errors import ConfigError
from runtime import checks, vault
from runtime.web_brokers import WebBrokers
from runtime.web_child import ANNOUNCED
from runtime.web_desk import WebDesk
from storage.account_file import AccountFile
from storage.remembered import Remembered
from storage.users import Users
from utils.config_loader import config as secrets
from utils.config_loader import load
from utils.config_schema import Api
from utils.logging_setup import setup as setup_logging

LOOPBACK = ("127.0.0.1", "localhost", "::1")
TIDY_S = 10  # seconds that open requests have when we end


def command(options: argparse.Namespace, state: Path) -> int:
    """Serve until stopped; with `--child` until standard input ends, which is when the daemon does."""
    import uvicorn

    folder, state = Path(options.config).resolve(), state.resolve()  # backtests are processes that begin elsewhere
    settings = load(folder).settings
    host = options.host or settings.api.host
    port = settings.api.port if options.port is None else options.port
    tls = _tls(options)
    if host not in LOOPBACK and not tls and not options.insecure:
        raise ConfigError(
            f"passwords and tokens would go over the network in the clear on {host}: give --tls-cert and --tls-key, or --insecure where a "
            "proxy in front of it has TLS"
        )
    listening = _listen(host, port)
    port = listening.getsockname()[1]  # of --port 0 the one that was free
    setup_logging(level=settings.log.level, file=state / "log" / "web.jsonl", keep_days=settings.log.keep_days, human=not options.child)
    names = (host, *LOOPBACK, *settings.api.hosts) if host not in ("0.0.0.0", "::") else (*LOOPBACK, *settings.api.hosts)  # noqa: S104 - compared, not bound to
    shown = host if host not in ("0.0.0.0", "::") else LOOPBACK[0]  # noqa: S104 - compared, not bound to
    address = settings.api.address or f"http{'s' if tls else ''}://{shown}:{port}"
    made = parts(settings.api, folder, state, address, ask=not options.child)
    app = create(made, hosts=names, tls=bool(tls))
    mount(app, made)
    server = uvicorn.Server(
        uvicorn.Config(
            app,
            host=host,
            port=port,
            log_config=None,
            log_level="warning",  # a socket's address holds the number of its page
            access_log=False,  # a callback's address holds a login's answer
            server_header=False,
            limit_concurrency=300,
            timeout_keep_alive=10,
            timeout_graceful_shutdown=TIDY_S,
            ws_max_size=65_536,
            **tls,
        )
    )
    if options.child:
        threading.Thread(target=_end_with_parent, args=(server,), name="parent", daemon=True).start()
        os.nice(5)  # the engine beside us goes first
    logger.info("dashboard and API on {} (state {})", address, state)
    sys.stdout.write(f"{ANNOUNCED}{address}, the API documented at {address}/docs{'' if options.child else ' (Ctrl-C to stop)'}\n")
    sys.stdout.flush()
    with listening:
        server.run([listening])
    return 0 if server.started else 1


def parts(settings: Api, config: Path, state: Path, address: str, *, ask: bool = False) -> Parts:
    """The web process's parts over one state folder."""
    file = AccountFile(state)
    store = vault.opened(state, ask=ask)
    desk = WebDesk(config, state)
    return Parts(
        desk=desk,
        brokers=WebBrokers(store, desk, state, address),
        file=file,
        vault=store,
        users=Users(file),
        remembered=Remembered(file),
        clock=SystemClock(),
        secrets=secrets,
        settings=settings,
        config=config,
        state=state,
        check=lambda account: checks.run(config, state, SystemClock(), account=account),
        address=address,
    )


def _tls(options: argparse.Namespace) -> dict[str, Any]:
    if bool(options.tls_cert) != bool(options.tls_key):
        raise ConfigError("--tls-cert and --tls-key belong together")
    for name, file in (("--tls-cert", options.tls_cert), ("--tls-key", options.tls_key)):
        if file and not Path(file).is_file():
            raise ConfigError(f"{name}: there is no file {file}")
    return {"ssl_certfile": options.tls_cert, "ssl_keyfile": options.tls_key} if options.tls_cert else {}


def _listen(host: str, port: int) -> socket.socket:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        return socket.create_server((host, port), family=family, backlog=2048)
    except OSError as error:
        raise ConfigError(
            f"cannot listen on {host} port {port}: {error.strerror}; end the program that has it (another Niyam?), or give another one "
            "(--port, or api.port in settings.yaml)"
        ) from error


def _end_with_parent(server: object) -> None:
    while os.read(sys.stdin.fileno(), 1):  # nothing is ever written: it ends when the daemon does, however it does
        pass
    server.should_exit = True  # type: ignore[attr-defined]  # a uvicorn.Server, imported late
