"""What was built: the words of four languages, the first load's budgets, nothing from elsewhere."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from .conftest import WEB

LANGUAGES = ("en", "tk", "ru", "fr")
WORDS = ("start_title", "key_shown_text", "n_members", "verify_compare", "tab_chats")


def scripts(built: Path) -> str:
    return "".join(path.read_text() for path in sorted((built / "assets").glob("*.js")))


def first_words(told: object) -> str:
    """The longest piece of a message that stands in it as it is written."""
    text = told if isinstance(told, str) else next(iter(told[0]["match"].values()))  # type: ignore[index]
    return max(re.split(r"\{\w+\}", text), key=len)


@pytest.mark.parametrize("language", LANGUAGES)
def test_known_words_are_in_the_bundle(built: Path, language: str) -> None:
    """Paraglide says "successfully compiled" also where it compiled nothing."""
    told = json.loads((WEB / "words" / f"{language}.json").read_text())
    bundle = scripts(built)
    for word in WORDS:
        assert first_words(told[word]) in bundle, (language, word)


def test_every_language_has_the_same_words() -> None:
    keys = {
        lang: set(json.loads((WEB / "words" / f"{lang}.json").read_text())) for lang in LANGUAGES
    }
    assert all(found == keys["en"] for found in keys.values())


def test_placeholders_are_the_same_in_every_language() -> None:
    told = {lang: json.loads((WEB / "words" / f"{lang}.json").read_text()) for lang in LANGUAGES}
    wrong = []
    for key, english in told["en"].items():
        wanted = set(re.findall(r"\{(\w+)\}", json.dumps(english)))
        for lang in LANGUAGES:
            if set(re.findall(r"\{(\w+)\}", json.dumps(told[lang][key]))) != wanted:
                wrong.append((lang, key))
    assert wrong == []


def test_the_first_load_keeps_its_budgets(built: Path) -> None:
    node = shutil.which("node")
    if node is None:
        pytest.skip("no Node here")
    done = subprocess.run(
        [node, "tools/budget.js"], cwd=WEB, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "log-in" in done.stdout


def test_the_page_holds_no_script_of_its_own(built: Path) -> None:
    page = (built / "index.html").read_text()
    assert re.findall(r"<script(?![^>]*\bsrc=)", page) == []
    assert " style=" not in page
    assert " on" not in re.sub(r">[^<]*<", "><", page)
    links = re.findall(r'(?:src|href)="([^"]+)"', page)
    assert links
    assert all(link.startswith("/") and not link.startswith("//") for link in links)


def test_the_worker_knows_the_shell(built: Path) -> None:
    worker = (built / "sw.js").read_text()
    assert "__SHELL__" not in worker
    entry = re.search(r'src="(/assets/index-[^"]+\.js)"', (built / "index.html").read_text())
    assert entry is not None
    assert entry[1] in worker


def test_the_app_can_be_installed(built: Path) -> None:
    told = json.loads((built / "manifest.webmanifest").read_text())
    assert told["display"] == "standalone"
    sizes = {icon["sizes"] for icon in told["icons"] if icon["type"] == "image/png"}
    assert {"192x192", "512x512"} <= sizes
    assert any(icon.get("purpose") == "maskable" for icon in told["icons"])
    assert all((built / icon["src"].lstrip("/")).exists() for icon in told["icons"])
