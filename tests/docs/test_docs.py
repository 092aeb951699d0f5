"""The documents say what is so."""

from __future__ import annotations

import re
import runpy
import tomllib
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest

from kerwen import cli
from tests.conftest import Server

ROOT = Path(__file__).resolve().parents[2]
DOCS = ROOT / "docs"
PAGES = sorted([*DOCS.rglob("*.md"), ROOT / "README.md", ROOT / "CONTRIBUTING.md"])
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))


def paths_in(page: Path) -> Iterator[str]:
    """What stands in code marks and looks like a path of the repository."""
    places = "kerwen|tests|tools|docs|bench|requirements|web"
    for found in re.findall(r"`([^`\s]+)`", page.read_text("utf-8")):
        if re.match(rf"({places})/", found) and not re.search(r"[*<>{}…]", found):
            yield found.partition(":")[0]


@pytest.mark.parametrize("page", PAGES, ids=lambda p: p.relative_to(ROOT).as_posix())
def test_every_path_exists(page: Path) -> None:
    gone = [path for path in paths_in(page) if not (ROOT / path).exists()]
    assert gone == []


@pytest.mark.parametrize("page", PAGES, ids=lambda p: p.relative_to(ROOT).as_posix())
def test_every_link_leads_somewhere(page: Path) -> None:
    targets = re.findall(r"\]\(([^)#\s]+)\)", page.read_text("utf-8"))
    targets += re.findall(r'src="([^"]+)"', page.read_text("utf-8"))
    local = [t for t in targets if not re.match(r"[a-z]+:", t)]
    assert [t for t in local if not (page.parent / t).exists()] == []


def test_the_map_is_not_empty() -> None:
    assert len(set(paths_in(DOCS / "where.md"))) > 40


def names(requirements: list[str]) -> set[str]:
    return {re.split(r"[\[;<>=~ ]", text)[0].lower() for text in requirements}


@pytest.mark.parametrize(
    ("heading", "needs"),
    [
        ("To run", PROJECT["project"]["dependencies"]),
        ("To test", PROJECT["dependency-groups"]["test"]),
        ("To check", PROJECT["dependency-groups"]["check"]),
        ("Without Node", PROJECT["dependency-groups"]["node"]),
    ],
)
def test_every_dependency_has_its_reason(heading: str, needs: list[str]) -> None:
    text = (DOCS / "dependencies.md").read_text("utf-8")
    part = text.split(f"## {heading}\n")[1].split("\n## ")[0]
    rows = re.findall(r"^\| ([a-z0-9-]+) \| (.{10,}) \|$", part, re.MULTILINE)
    assert {name for name, _ in rows} == names(needs)


def test_every_dependency_is_locked() -> None:
    for file, needs in (
        ("run.txt", PROJECT["project"]["dependencies"]),
        ("all.txt", PROJECT["dependency-groups"]["test"] + PROJECT["dependency-groups"]["check"]),
        ("node.txt", PROJECT["dependency-groups"]["node"]),
    ):
        locked = (ROOT / "requirements" / file).read_text("utf-8")
        found = set(re.findall(r"^([a-z0-9-]+)==", locked, re.MULTILINE))
        assert names(needs) <= found, f"make lock: requirements/{file}"
        assert "://" not in locked, "a lock names no index"
        blocks = re.split(r"^(?=[a-z0-9-]+==)", locked, flags=re.MULTILINE)[1:]
        assert [b for b in blocks if "--hash=sha256:" not in b] == []


def test_the_page_of_the_configuration_is_current() -> None:
    made = runpy.run_path(str(ROOT / "tools" / "config_page.py"))["page"]()
    assert (DOCS / "operate" / "config.md").read_text("utf-8") == made


def commands() -> set[str]:
    top = next(a for a in cli.parser()._actions if a.dest == "==SUPPRESS==" or a.choices)
    assert top.choices is not None
    found = {str(name) for name in top.choices}
    account = top.choices["account"]  # type: ignore[call-overload]
    below = next(a for a in account._actions if a.choices)
    return found | {f"account {name}" for name in below.choices}


def test_every_command_is_told_to_operators() -> None:
    text = "".join(page.read_text("utf-8") for page in (DOCS / "operate").glob("*.md"))
    text += (ROOT / "README.md").read_text("utf-8")
    text = text.replace("`unlock NAME`", "`kerwen account unlock NAME`")
    missing = {c for c in commands() if f"kerwen {c}" not in text}
    assert missing == set()


def test_every_metric_is_told(server: Server) -> None:
    with urllib.request.urlopen(f"{server.url}/_kerwen/metrics") as answer:
        served = set(re.findall(r"^(kerwen_\w+)", answer.read().decode(), re.MULTILINE))
    told = set(re.findall(r"`(kerwen_\w+)", (DOCS / "operate" / "metrics.md").read_text("utf-8")))
    assert served == told


def test_every_quirk_is_told() -> None:
    told = (DOCS / "quirks.md").read_text("utf-8")
    quirky = [
        path.relative_to(ROOT).as_posix()
        for path in (ROOT / "kerwen").rglob("*.py")
        if "QUIRK:" in path.read_text("utf-8")
    ]
    assert quirky
    assert [path for path in quirky if path not in told] == []


def test_the_glossary_is_in_order() -> None:
    text = (DOCS / "glossary.md").read_text("utf-8")
    words = re.findall(r"^\| ([a-z]+) \|", text, re.MULTILINE)[1:]
    assert words == sorted(set(words))
    assert len(words) > 20


def test_decisions_are_numbered_without_holes() -> None:
    numbers = sorted(int(p.name[:4]) for p in (DOCS / "decisions").glob("[0-9]*.md"))
    assert numbers == list(range(1, len(numbers) + 1))


def test_no_page_is_lost() -> None:
    """Every page can be reached from another one."""
    texts = {page: page.read_text("utf-8") for page in PAGES}
    for page in PAGES:
        if page.parent == ROOT or page.parent.name == "decisions":
            continue
        name = page.relative_to(DOCS).as_posix()
        assert any(
            f"docs/{name}" in t or f"({page.name})" in t or f"(../{name})" in t
            for other, t in texts.items()
            if other != page
        ), f"{name} is told of nowhere"
