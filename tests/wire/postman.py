"""Runs a Postman collection (v2.1) over HTTP: variables put in, values that its scripts keep carried on, its own order of requests.

Of scripts it understands the lines that our collections consist of: keep a value of the reply, go to another request, end. Assertions of
the scripts are Postman's; what a reply must say is checked by the test. A line of another kind is an error, so that nothing is passed over.
"""

import json
import re
import urllib.error
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

SCHEMA = "https://schema.getpostman.com/json/collection/v2.1.0/collection.json"
_VARIABLE = re.compile(r"\{\{(\w+)\}\}")
_KEEP = re.compile(r'pm\.collectionVariables\.set\("(\w+)", pm\.response\.json\(\)\.([\w.\[\]]+)\);')
_NEXT = re.compile(r"pm\.execution\.setNextRequest\((null|\"[^\"]+\")\);")


@dataclass(frozen=True)
class Reply:
    """One request's answer; `folder` is the top folder that it stands in."""

    folder: str
    name: str
    status: int
    data: Any


class Collection:
    """A collection and its variables."""

    def __init__(self, path: Path, **variables: str) -> None:
        self.document: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        assert self.document["info"]["schema"] == SCHEMA
        self.variables: dict[str, str] = {one["key"]: one["value"] for one in self.document["variable"]}
        assert variables.keys() <= self.variables.keys(), "the collection declares what it is given"
        self.variables |= variables
        self.requests = list(_requests(self.document["item"], ""))

    def run(self) -> Iterator[Reply]:
        """Every request in the collection's own order, each once."""
        place: int | None = 0
        done = 0
        names = [one["name"] for _, one in self.requests]
        while place is not None and place < len(self.requests):
            done += 1
            assert done <= len(self.requests), "the collection runs in a circle"
            folder, one = self.requests[place]
            status, data = self._send(one["request"])
            yield Reply(folder, one["name"], status, data)
            place = self._after(one, data, place + 1, names)

    def _send(self, request: dict[str, Any]) -> tuple[int, Any]:
        headers = {self._filled(one["key"]): self._filled(one["value"]) for one in request["header"]}
        auth = request.get("auth", self.document.get("auth"))
        if auth is not None and auth["type"] == "bearer":
            headers["Authorization"] = f"Bearer {self._filled(auth['bearer'][0]['value'])}"
        body = self._filled(request["body"]["raw"]).encode() if "body" in request else None
        sent = urllib.request.Request(self._filled(request["url"]["raw"]), body, headers, method=request["method"])
        try:
            with urllib.request.urlopen(sent, timeout=30) as reply:
                return reply.status, json.loads(reply.read())
        except urllib.error.HTTPError as error:
            return error.code, error.read()

    def _after(self, one: dict[str, Any], data: Any, following: int, names: list[str]) -> int | None:
        goes: int | None = following
        for line in (line for event in one["event"] if event["listen"] == "test" for line in event["script"]["exec"]):
            if kept := _KEEP.fullmatch(line):
                self.variables[kept[1]] = str(_at(data, kept[2]))
            elif chosen := _NEXT.fullmatch(line):
                goes = None if chosen[1] == "null" else names.index(json.loads(chosen[1]))
            else:
                assert line.startswith("pm.test("), f"a line that this runner does not know: {line}"
        return goes

    def _filled(self, text: str) -> str:
        """The text with its variables put in; an undeclared one is an error."""
        return _VARIABLE.sub(lambda found: self.variables[found[1]], text)


def _requests(items: list[dict[str, Any]], folder: str) -> Iterator[tuple[str, dict[str, Any]]]:
    for one in items:
        if "item" in one:
            yield from _requests(one["item"], folder or one["name"])
        else:
            yield folder, one


def _at(data: Any, path: str) -> Any:
    """`data.fetched[0].ltp` of a parsed reply."""
    for part in re.findall(r"\w+", path):
        data = data[int(part)] if part.isdigit() else data[part]
    return data
