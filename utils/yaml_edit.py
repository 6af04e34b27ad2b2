"""One value of a YAML file changed, and every other character of it kept: comments, order and quotes are somebody's."""

import json
from copy import deepcopy
from pathlib import Path
from typing import Any

import yaml

from core.errors import ConfigError
from utils.yaml_file import Document, read


def changed(document: Document, text: str, place: tuple[str, ...], value: Any) -> str:
    """`text` (the file's) with `value` at `place` (keys from the top), which is added where it is missing.

    Raises ConfigError for what cannot be changed without touching its surroundings: a person edits that.
    """
    edited = _set(text, document.path, place, value)
    wanted: Any = deepcopy(document.value) or {}
    inside = wanted
    for key in place[:-1]:
        if inside.get(key) is None:
            inside[key] = {}
        inside = inside[key]
    inside[place[-1]] = value
    if read(document.path, edited).value != wanted:
        raise _by_hand(document.path, place)
    return edited


def _set(text: str, path: Path, place: tuple[str, ...], value: Any) -> str:
    root = yaml.compose(text, Loader=yaml.SafeLoader)  # the pure one: its marks count the characters of `text`
    if root is None:  # an empty file
        return f"{text}{place[0]}: {_flow(_nested(place[1:], value))}\n"
    node: yaml.Node = root
    for depth, key in enumerate(place):
        if not isinstance(node, yaml.MappingNode):
            raise _by_hand(path, place)
        below: yaml.Node | None = next((inner for name, inner in node.value if name.value == key), None)
        rest = place[depth + 1 :]
        if below is None:
            return _added(text, node, key, _nested(rest, value), node is root)
        node = below
        if rest and isinstance(node, yaml.ScalarNode) and node.value in ("", "null", "~"):
            return _replaced(text, node, _nested(rest, value), path, place)
    return _replaced(text, node, value, path, place)


def _nested(place: tuple[str, ...], value: Any) -> Any:
    for key in reversed(place):
        value = {key: value}
    return value


def _replaced(text: str, node: yaml.Node, value: Any, path: Path, place: tuple[str, ...]) -> str:
    if isinstance(node, yaml.CollectionNode) and not node.flow_style:
        raise _by_hand(path, place)
    start, end = node.start_mark.index, node.end_mark.index
    return f"{text[:start]}{'' if text[start - 1 : start].isspace() else ' '}{_flow(value)}{text[end:]}"


def _added(text: str, node: yaml.MappingNode, key: str, value: Any, at_end: bool) -> str:
    entry = f"{key}: {_flow(value)}"
    if node.flow_style:
        at = node.end_mark.index - 1
        return f"{text[:at].rstrip()}{', ' if node.value else ''}{entry}{text[at:]}"
    if at_end:
        return f"{text.rstrip()}\n{entry}\n"
    first = node.value[0][0].start_mark
    return f"{text[: first.index]}{entry}\n{' ' * first.column}{text[first.index :]}"


def _flow(value: Any) -> str:
    if isinstance(value, str) and ":" in value:  # a time of day: some YAML readers take 12:30 for a number
        return json.dumps(value, ensure_ascii=False)
    text: str = yaml.safe_dump(value, default_flow_style=True, width=10**6, allow_unicode=True, sort_keys=False)
    return text.removesuffix("...\n").strip()


def _by_hand(path: Path, place: tuple[str, ...]) -> ConfigError:
    return ConfigError(f"{path}: {'.'.join(place)} cannot be changed without touching what stands around it; edit the file, then reload")
