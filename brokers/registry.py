"""The closed table of brokers: a name finds its Spec, and only then is that broker's folder imported."""

import difflib
import importlib

from brokers.spec import Spec
from core.errors import ConfigError

_FOLDERS = {name: f"brokers.{name}" for name in ("angelone", "groww", "icici", "upstox", "zerodha")}


def names() -> tuple[str, ...]:
    """The brokers there are."""
    return tuple(sorted(_FOLDERS))


def get(name: str) -> Spec:
    """The Spec of broker `name`; raises ConfigError naming the nearest one there is."""
    folder = _FOLDERS.get(name)
    if folder is None:
        near = difflib.get_close_matches(name, _FOLDERS, 1)
        hint = f"; did you mean {near[0]!r}?" if near else ""
        raise ConfigError(f"there is no broker {name!r}{hint} Known: {', '.join(names())}")
    spec: Spec = importlib.import_module(folder).SPEC
    return spec
