"""Which form and which language a request is given."""

from __future__ import annotations

import pytest

from arun_welcome.negotiation import choose_format, choose_language

FIREFOX = "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8"


@pytest.mark.parametrize(
    ("accept", "form"),
    [
        pytest.param(FIREFOX, "text/html", id="a browser gets the page"),
        pytest.param("", "text/plain", id="who says nothing gets text"),
        pytest.param("*/*", "text/plain", id="curl gets text"),
        pytest.param("text/*", "text/plain", id="any text is plain text"),
        pytest.param("text/html;q=0.5, */*;q=0.1", "text/html", id="named beats wildcard"),
        pytest.param("text/html, text/plain", "text/html", id="the page first of equals"),
        pytest.param("text/html;q=0.2, text/plain;q=0.3", "text/plain", id="the higher quality wins"),
        pytest.param("application/json", "application/json", id="json as json"),
        pytest.param("application/problem+json", "application/problem+json", id="problem as problem"),
        pytest.param("application/json, application/problem+json", "application/problem+json", id="problem over json"),
        pytest.param("application/*", "application/problem+json", id="any application form is a problem document"),
        pytest.param("application/json, text/plain, */*", "application/json", id="axios gets json"),
        pytest.param("application/json, text/javascript, */*; q=0.01", "application/json", id="jquery gets json"),
        pytest.param("text/plain;q=0, */*", "text/html", id="quality 0 rules out"),
        pytest.param("text/html;q=0, application/*;q=0.1, */*;q=0", "application/problem+json", id="what is left"),
        pytest.param("image/png", "text/plain", id="nothing acceptable gets text, not 406"),
        pytest.param("TEXT/HTML ; charset=utf-8 ; Q=0.9", "text/html", id="case and other parameters do not matter"),
        pytest.param("text/html;q=nan, text/plain;q=0.1", "text/plain", id="a quality that is none"),
        pytest.param("text/html;q=2, application/json;q=0.1", "application/json", id="a quality above 1"),
        pytest.param(',;,;q=,"', "text/plain", id="rubbish"),
    ],
)
def test_the_form_follows_accept(accept: str, form: str) -> None:
    assert choose_format(accept) == form


@pytest.mark.parametrize(
    ("accept_language", "language"),
    [
        pytest.param("", "en", id="nothing said"),
        pytest.param("de, fr;q=0.5", "en", id="neither"),
        pytest.param("zh", "zh-Hans", id="zh"),
        pytest.param("zh-CN,zh;q=0.9,en;q=0.8", "zh-Hans", id="a browser in mainland China"),
        pytest.param("ZH-hans-SG", "zh-Hans", id="by script, in any case"),
        pytest.param("en-GB,en;q=0.9,zh-CN;q=0.8", "en", id="English first"),
        pytest.param("zh-CN;q=0.8,en;q=0.9", "en", id="quality over order"),
        pytest.param("zh, en", "zh-Hans", id="order among equals, Chinese"),
        pytest.param("en, zh", "en", id="order among equals, English"),
        pytest.param("zh-TW,zh;q=0.9,en-US;q=0.8,en;q=0.7", "en", id="traditional readers who list English"),
        pytest.param("zh-Hant-HK, zh;q=0.5", "zh-Hans", id="traditional readers who list only Chinese"),
        pytest.param("zh-TW, en;q=0", "zh-Hans", id="traditional readers who rule English out"),
        pytest.param("zh-TW, zh-CN;q=0.8, en;q=0.5", "zh-Hans", id="simplified named before English"),
        pytest.param("zh;q=0, *", "en", id="Chinese ruled out"),
        pytest.param("zh-CN;q=0.5, *;q=0.4", "zh-Hans", id="any other language liked less"),
        pytest.param("*", "en", id="any language"),
        pytest.param("en;q=0.1, *;q=0.9, zh-CN;q=0.5", "zh-Hans", id="the asterisk is for what is not listed"),
        pytest.param("-,zh-,;q", "zh-Hans", id="rubbish around it"),
    ],
)
def test_the_language_follows_accept_language(accept_language: str, language: str) -> None:
    assert choose_language(accept_language) == language
