"""The page itself: complete in one answer, accessible, within its policy."""

from __future__ import annotations

import base64
import hashlib
import itertools
from dataclasses import dataclass, field
from html.parser import HTMLParser
from typing import TYPE_CHECKING, Any

import pytest

from arun.core.outlook import Outlook
from arun_welcome import STYLE_HASH, make_app
from arun_welcome.texts import WORDS

if TYPE_CHECKING:
    from arun.core.failures import FailureRecord

VOID = {"meta", "link", "path"}
LANDMARKS = {"header", "main", "footer"}


@dataclass
class Page(HTMLParser):
    """What stands in a page, as far as the tests ask for it."""

    elements: list[tuple[str, dict[str, str | None]]] = field(default_factory=list)
    texts: dict[str, list[str]] = field(default_factory=dict)
    open: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        super().__init__()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag, f"{tag} closes another element"

    def handle_data(self, data: str) -> None:
        if self.open:
            self.texts.setdefault(self.open[-1], []).append(data)

    def attributes(self, name: str) -> list[str | None]:
        return [attributes[name] for _, attributes in self.elements if name in attributes]


@pytest.fixture(
    params=[
        f"{voice} in {language}"
        for voice in ("welcome", "absent", "refused", "pause", "told", "offline")
        for language in WORDS
    ]
)
async def page(request: pytest.FixtureRequest, ask: Any, failure: FailureRecord) -> Page:
    """Each page there is, in each language."""
    voice, _, language = request.param.split(" ")
    failures = (failure, failure) if voice in {"pause", "told"} else ()
    now = Outlook(failures, offline="back at 14:00" if voice == "offline" else None)
    app = make_app(outlook=lambda: now, debug=voice == "told")
    answer = await ask(
        app,
        "/missing" if voice == "absent" else "/",
        method="POST" if voice == "refused" else "GET",
        client=("127.0.0.1", 1),
        headers={"accept": "text/html", "accept-language": language},
    )
    assert len(answer.body) < 30_000
    page = Page()
    page.feed(answer.text)
    page.close()
    assert page.attributes("lang")[0] == language
    return page


def test_a_page_is_well_formed(page: Page) -> None:
    assert page.open == []
    identifiers = page.attributes("id")
    assert len(identifiers) == len(set(identifiers))
    assert set(page.attributes("aria-labelledby")) <= set(identifiers)


def test_a_page_has_its_landmarks_one_title_and_headings_in_order(page: Page) -> None:
    tags = [tag for tag, _ in page.elements]
    assert all(tags.count(landmark) == 1 for landmark in LANDMARKS)
    assert tags.count("title") == 1
    levels = [int(tag[1]) for tag in tags if tag in {"h1", "h2", "h3", "h4"}]
    assert levels.count(1) == 1
    assert levels[0] == 1
    assert all(deeper - level <= 1 for level, deeper in itertools.pairwise(levels))
    assert all(text.strip() for heading in ("title", "h1") for text in page.texts[heading])


def test_a_page_fetches_nothing_and_runs_nothing(page: Page) -> None:
    assert "script" not in {tag for tag, _ in page.elements}
    assert not [
        name for _, attributes in page.elements for name in attributes if name == "style" or name.startswith("on")
    ]
    assert all(link == "" or (link or "").startswith(("data:", "/")) for link in page.attributes("href"))
    assert not page.attributes("src")
    (style,) = page.texts["style"]
    assert "url(" not in style
    assert "@import" not in style


def test_a_page_fits_a_phone_and_both_schemes(page: Page) -> None:
    metas = {attributes.get("name"): attributes.get("content") for tag, attributes in page.elements if tag == "meta"}
    assert metas["viewport"] == "width=device-width, initial-scale=1"
    assert metas["color-scheme"] == "light dark"


def test_the_policy_allows_the_style_of_the_page_and_no_other(page: Page) -> None:
    (style,) = page.texts["style"]
    assert "sha256-" + base64.b64encode(hashlib.sha256(style.encode()).digest()).decode() == STYLE_HASH


def test_motion_is_only_for_who_wants_it(page: Page) -> None:
    still, _, moving = page.texts["style"][0].partition("@media (prefers-reduced-motion: no-preference)")
    assert "animation" not in still
    assert "animation" in moving


def test_what_has_the_focus_is_seen(page: Page) -> None:
    (style,) = page.texts["style"]
    assert ":focus-visible { outline: 3px solid" in style
    assert "outline: none" not in style


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("behind", ["paper", "wash"])
@pytest.mark.parametrize("written", ["ink", "quiet", "green", "amber"])
async def test_text_stands_out_from_what_is_behind_it(ask: Any, scheme: str, behind: str, written: str) -> None:
    """WCAG 2.2, success criterion 1.4.3: at least 4.5 to 1."""
    text = (await ask(make_app(), headers={"accept": "text/html"})).text
    light, _, dark = text.partition("prefers-color-scheme: dark")
    colours = _colours(light.partition(":root {")[2].partition("}")[0] if scheme == "light" else dark.partition("}")[0])
    brighter, darker = sorted((_luminance(colours[behind]), _luminance(colours[written])), reverse=True)
    assert (brighter + 0.05) / (darker + 0.05) >= 4.5


def _colours(rule: str) -> dict[str, str]:
    pairs = (line.strip().rstrip(";").split(": ") for line in rule.splitlines() if line.strip().startswith("--"))
    return {name.removeprefix("--"): value for name, value in pairs}


def _luminance(colour: str) -> float:
    """Return the relative luminance of #rrggbb as WCAG 2.2 defines it."""
    channels = [int(colour[n : n + 2], 16) / 255 for n in (1, 3, 5)]
    red, green, blue = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in channels]
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue


def test_both_languages_say_the_same_things() -> None:
    english, chinese = WORDS["en"], WORDS["zh-Hans"]
    assert english.keys() == chinese.keys()
    assert english["pages"].keys() == chinese["pages"].keys()
    assert english["cause_labels"].keys() == chinese["cause_labels"].keys()
    assert [command for command, _ in english["commands"]] == [command for command, _ in chinese["commands"]]
