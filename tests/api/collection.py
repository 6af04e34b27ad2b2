"""docs/niyam-api.postman_collection.json: every route of the API's OpenAPI document as a Postman request. `make docs` writes it."""

import json
import re
import tempfile
from pathlib import Path
from typing import Any

from tests.api.house import House

FILE = Path(__file__).resolve().parents[2] / "docs" / "niyam-api.postman_collection.json"
_ABOUT = (
    "Every route of Niyam's own API, made from its OpenAPI document by `make docs`. Set username and password, then send `log in`: its "
    "token is kept in access_token and goes along with every other request. Live updates are a WebSocket: see docs/frontend.md."
)
_VARIABLES = {"base_url": "http://127.0.0.1:8000", "username": "", "password": "", "access_token": ""}
_KEEP = 'pm.collectionVariables.set("access_token", pm.response.json().access_token);'
_FORMATTED = {"username": "{{username}}", "password": "{{password}}"}


def document() -> dict[str, Any]:
    """The OpenAPI document of the application."""
    with tempfile.TemporaryDirectory() as folder:
        made: dict[str, Any] = House(Path(folder)).app.openapi()
        return made


def collection(api: dict[str, Any]) -> str:
    """The file's text. A folder for each tag; paths in the document's order."""
    folders: dict[str, list[dict[str, Any]]] = {}
    for path, methods in api["paths"].items():
        for method, one in methods.items():
            folders.setdefault(one.get("tags", ["other"])[0], []).append(_item(api, method.upper(), path, one))
    made = {
        "info": {"name": "Niyam", "description": _ABOUT, "schema": "https://schema.getpostman.com/json/collection/v2.1.0/collection.json"},
        "auth": {"type": "bearer", "bearer": [{"key": "token", "value": "{{access_token}}", "type": "string"}]},
        "item": [{"name": name, "item": items} for name, items in folders.items()],
        "variable": [{"key": key, "value": value, "type": "string"} for key, value in _VARIABLES.items()],
    }
    return json.dumps(made, indent=2, ensure_ascii=False) + "\n"


def _item(api: dict[str, Any], method: str, path: str, one: dict[str, Any]) -> dict[str, Any]:
    named = {given["name"]: given for given in one.get("parameters", [])}
    asked = [
        {"key": name, "value": _shown(_example(api, given["schema"], name)) if given["required"] else "", "disabled": not given["required"]}
        for name, given in named.items()
        if given["in"] == "query"
    ]
    placed = [
        {"key": name, "value": _shown(_example(api, given["schema"], name))} for name, given in named.items() if given["in"] == "path"
    ]
    parts = re.sub(r"\{(\w+)\}", r":\1", path).strip("/").split("/")
    url: dict[str, Any] = {"raw": "{{base_url}}/" + "/".join(parts), "host": ["{{base_url}}"], "path": parts}
    url |= {"variable": placed} if placed else {}
    url |= {"query": asked} if asked else {}
    request: dict[str, Any] = {"method": method, "header": [], "url": url}
    if one.get("description"):
        request["description"] = one["description"]
    content = one.get("requestBody", {}).get("content", {})
    if "application/json" in content:
        body = json.dumps(_example(api, content["application/json"]["schema"], ""), indent=2, ensure_ascii=False)
        request["header"] = [{"key": "Content-Type", "value": "application/json"}]
        request["body"] = {"mode": "raw", "raw": body, "options": {"raw": {"language": "json"}}}
    if "security" not in one:
        request["auth"] = {"type": "noauth"}
    keeps = path == "/api/v1/auth/login"
    event = [{"listen": "test", "script": {"type": "text/javascript", "exec": [_KEEP]}}] if keeps else []
    return {"name": one["summary"].lower(), **({"event": event} if event else {}), "request": request, "response": []}


def _example(api: dict[str, Any], schema: dict[str, Any], name: str) -> Any:
    """What a body or a path needs at least: its required fields, each with its default, its first choice, or its kind's plainest value."""
    if "$ref" in schema:
        return _example(api, api["components"]["schemas"][schema["$ref"].rpartition("/")[2]], name)
    if "anyOf" in schema:
        return _example(api, next(one for one in schema["anyOf"] if one.get("type") != "null"), name)
    if name in _FORMATTED:
        return _FORMATTED[name]
    if "default" in schema or "enum" in schema:
        return schema.get("default", schema.get("enum", [""])[0])
    match schema.get("type"):
        case "object":
            if schema.get("minProperties"):
                return {"name": 1}
            needed = schema.get("required", [])
            return {key: _example(api, value, key) for key, value in schema.get("properties", {}).items() if key in needed}
        case "array":
            return [_example(api, schema["items"], name)]
        case "integer" | "number":
            return max(1, schema.get("minimum", 1))
        case "boolean":
            return False
    return name


def _shown(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value)


if __name__ == "__main__":
    FILE.write_text(collection(document()), encoding="utf-8")
