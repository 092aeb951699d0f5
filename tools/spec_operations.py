"""Writes what the tests compare our API with, and ask it with: `tests/api/operations.json`,
`schemas.json` (answers) and `requests.json`.

    python tools/spec_operations.py SPEC

`SPEC` is the `data` folder of a checkout of the Matrix specification (Apache-2.0). Facts only are
kept: methods, paths, operation ids, and the shapes of requests and answers without their prose and
examples.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import yaml

_ROOT = Path(__file__).resolve().parent.parent
_METHODS = ("get", "put", "post", "delete")
_PROSE = {"description", "example", "examples", "title", "deprecated", "format"}
_NAMED = {"properties", "patternProperties", "$defs"}  # their keys are names, not words


class Shapes:
    """Schemas with their references turned into `#/$defs/…` of one document."""

    def __init__(self, spec: Path) -> None:
        self._spec = spec
        self.defs: dict[str, Any] = {}

    def shape(self, node: Any, file: Path) -> Any:
        """A schema without prose; `file` is where it stands."""
        if isinstance(node, list):
            return [self.shape(part, file) for part in node]
        if not isinstance(node, dict):
            return node
        found: dict[str, Any] = {}
        for key, value in node.items():
            if key == "$ref":
                found[key] = f"#/$defs/{self._define(value, file)}"
            elif key in _NAMED:
                found[key] = {name: self.shape(part, file) for name, part in value.items()}
            elif key not in _PROSE and not key.startswith("x-"):
                found[key] = self.shape(value, file)
        return found

    def _define(self, ref: str, file: Path) -> str:
        where, _, inner = ref.partition("#")
        target = (file.parent / where).resolve() if where else file
        name = str(target.relative_to(self._spec).with_suffix("")) + inner
        name = name.replace("/", ".").replace("#", ".")
        if name not in self.defs:
            self.defs[name] = {}  # a schema may hold itself
            node = yaml.safe_load(target.read_text("utf-8"))
            for part in inner.strip("/").split("/") if inner else ():
                node = node[part]
            self.defs[name] = self.shape(node, target)
        return name


def read(spec: Path) -> tuple[list[dict[str, Any]], dict[str, Any]]:
    """(operations, schemas) of the client-server API."""
    operations, answers, shapes = [], {}, Shapes(spec)
    for file in sorted((spec / "api" / "client-server").glob("*.yaml")):
        api = yaml.safe_load(file.read_text("utf-8"))
        base = api["servers"][0]["variables"]["basePath"]["default"]
        for path, methods in api["paths"].items():
            for method in _METHODS:
                if method not in methods:
                    continue
                said = methods[method]
                operations.append(
                    {
                        "id": said["operationId"],
                        "method": method.upper(),
                        "path": base + path.strip(),
                        "file": file.stem,
                        "secured": _needs_token(said.get("security") or [{}]),
                    }
                )
                answers[said["operationId"]] = _answers(said, file, shapes)
    operations.sort(key=lambda o: (o["path"], o["method"], o["id"]))
    return operations, {"answers": answers, "$defs": shapes.defs}


def _needs_token(schemes: list[dict[str, Any]]) -> bool:
    """Whether nobody may call without an access token; `{}` among the schemes: anybody may."""
    return all(
        any(name.endswith("AccessTokenBearer") or name == "accessTokenBearer" for name in scheme)
        for scheme in schemes
    )


def _answers(said: dict[str, Any], file: Path, shapes: Shapes) -> dict[str, Any]:
    """Status → schema of the JSON answer; null where the answer is no JSON."""
    found = {}
    for status, answer in said["responses"].items():
        content = (answer.get("content") or {}).get("application/json")
        found[str(status)] = shapes.shape(content["schema"], file) if content else None
    return found


def read_requests(spec: Path) -> dict[str, Any]:
    """Operation id → the schemas of its query parameters and of its body (null: it is no JSON)."""
    shapes, found = Shapes(spec), {}
    for file in sorted((spec / "api" / "client-server").glob("*.yaml")):
        api = yaml.safe_load(file.read_text("utf-8"))
        for methods in api["paths"].values():
            for method in _METHODS:
                if said := methods.get(method):
                    params = methods.get("parameters", []) + said.get("parameters", [])
                    found[said["operationId"]] = {
                        "query": {
                            p["name"]: shapes.shape(p["schema"], file)
                            for p in (_pointed(p, api) for p in params)
                            if p["in"] == "query"
                        },
                        "body": _body(said, file, shapes),
                    }
    return {"requests": found, "$defs": shapes.defs}


def _pointed(node: dict[str, Any], api: dict[str, Any]) -> Any:
    """What stands under `components` of the same file."""
    found: Any = node
    if "$ref" in node:
        found = api
        for part in node["$ref"].removeprefix("#/").split("/"):
            found = found[part]
    return found


def _body(said: dict[str, Any], file: Path, shapes: Shapes) -> Any:
    content = said.get("requestBody", {}).get("content", {}).get("application/json")
    return shapes.shape(content["schema"], file) if content else None


def main() -> None:
    """Writes the files."""
    spec = Path(sys.argv[1]).resolve()
    operations, schemas = read(spec)
    folder = _ROOT / "tests" / "api"
    asked = json.dumps(read_requests(spec), sort_keys=True, separators=(",", ":"))
    (folder / "requests.json").write_text(asked + "\n")
    lines = ",\n".join(json.dumps(o) for o in operations)
    (folder / "operations.json").write_text(f"[\n{lines}\n]\n")
    text = json.dumps(schemas, sort_keys=True, separators=(",", ":"))
    (folder / "schemas.json").write_text(text + "\n")
    print(f"{len(operations)} operations, {len(text)} bytes of schemas")


if __name__ == "__main__":
    main()
