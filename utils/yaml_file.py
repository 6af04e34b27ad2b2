"""A YAML file with the line of each key and value remembered, so that an error can say where; duplicate keys are refused."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import yaml

from core.errors import ConfigError

_Loader: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)  # libyaml reads the market facts ten times faster
Place = tuple[str | int, ...]


@dataclass(frozen=True, slots=True)
class Document:
    """The parsed value, and the line (from 1) of each place in it: a key's own line, for list items the line of the item."""

    path: Path
    value: Any
    lines: Mapping[Place, int]

    def where(self, place: Place) -> str:
        """`file:line` of the place, or of its nearest enclosing one that the file has."""
        while place and place not in self.lines:
            place = place[:-1]
        return f"{self.path}:{self.lines.get(place, 1)}"


def read(path: Path, text: str | None = None) -> Document:
    """Parse one YAML file; raises ConfigError with file and line for what is unreadable, no YAML, or repeated.

    `text` is what the file is to hold, where that is judged before it is written.
    """
    return _parse(path, _text(path) if text is None else text)


def read_shared(path: Path) -> Document:
    """As `read`, but parsed once for as long as the text stays the same: everybody gets the same value, which nobody may change."""
    return _kept(path, _text(path))


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except OSError as error:
        raise ConfigError(f"{path}: cannot be read ({error.strerror}); is the --config folder right?") from None
    except UnicodeDecodeError as error:
        raise ConfigError(f"{path}: is not UTF-8 text (byte {error.start}); save it as UTF-8") from None


def _parse(path: Path, text: str) -> Document:
    try:
        root = yaml.compose(text, Loader=_Loader)
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        line = mark.line + 1 if mark is not None else 1
        problem = getattr(error, "problem", None) or str(error)
        raise ConfigError(f"{path}:{line}: this is no YAML: {problem}; look at the indentation, colons and quotes there") from None
    reader = _Reader(path)
    value = None if root is None else reader.value(root, (), ())
    return Document(path, value, reader.lines)


_kept = lru_cache(maxsize=16)(_parse)  # a file that cannot be read is never kept


class _Reader:
    """Turns the tree of nodes into values, noting lines."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._scalars = yaml.constructor.SafeConstructor()
        self.lines: dict[Place, int] = {}

    def value(self, node: yaml.Node, place: Place, above: tuple[yaml.Node, ...]) -> Any:
        self.lines.setdefault(place, node.start_mark.line + 1)
        if any(node is one for one in above):
            raise self._error(node, "an alias that contains itself")
        if isinstance(node, yaml.MappingNode):
            return self._mapping(node, place, (*above, node))
        if isinstance(node, yaml.SequenceNode):
            return [self.value(item, (*place, index), (*above, node)) for index, item in enumerate(node.value)]
        return self._scalar(node)

    def _mapping(self, node: yaml.MappingNode, place: Place, above: tuple[yaml.Node, ...]) -> dict[Any, Any]:
        result: dict[Any, Any] = {}
        for key_node, value_node in node.value:
            if not isinstance(key_node, yaml.ScalarNode):
                raise self._error(key_node, "a key must be a word, not a list or mapping")
            if key_node.tag == "tag:yaml.org,2002:merge":
                raise self._error(key_node, "merge keys (<<) are not taken here; write the values out")
            key = self._scalar(key_node)
            if key in result:
                first = self.lines[(*place, key)]
                raise self._error(key_node, f"the key {key!r} stands here a second time (first in line {first}); keep one of them")
            self.lines[(*place, key)] = key_node.start_mark.line + 1
            result[key] = self.value(value_node, (*place, key), above)
        return result

    def _scalar(self, node: yaml.Node) -> Any:
        try:
            return self._scalars.construct_object(node)
        except (yaml.YAMLError, ValueError) as error:
            problem = getattr(error, "problem", None) or str(error)
            raise self._error(node, f"the value {node.value!r} cannot be read: {problem}") from None

    def _error(self, node: yaml.Node, text: str) -> ConfigError:
        return ConfigError(f"{self._path}:{node.start_mark.line + 1}: {text}")
