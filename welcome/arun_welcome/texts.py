"""What the pages say, in each language; a word between backquotes is code.

A text of several sentences is a tuple, because languages differ in what stands between two of them.
"""
# ruff: noqa: RUF001 - typographic apostrophes and Chinese punctuation are meant

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Literal, TypedDict

    Wait = Literal["unknown", "moment", "seconds", "minute", "minutes", "hours"]
    Voice = Literal["welcome", "pause", "offline", "absent", "refused"]

    class Page(TypedDict):
        """The text of one voice: the title of the window, the heading, the sentences under it."""

        title: str
        heading: str
        lead: tuple[str, ...]

    class Words(TypedDict):
        """Every text in one language."""

        space: str
        pages: dict[Voice, Page]
        next_heading: str
        commands: tuple[tuple[str, str], ...]
        home: str
        retry: str
        waits: dict[Wait, str]
        reloads: str
        reference: str
        causes_heading: str
        cause_labels: dict[str, str]
        causes_note: str
        motto: str


__all__ = ("WORDS",)

_ENGLISH: Words = {
    "space": " ",
    "pages": {
        "welcome": {
            "title": "It works",
            "heading": "It works.",
            "lead": ("arun is up and answering.", "No app has been named yet, so you see this page."),
        },
        "pause": {
            "title": "Temporarily unavailable",
            "heading": "We’ll be right back.",
            "lead": ("This service is temporarily unavailable.", "Nothing is wrong at your end."),
        },
        "offline": {
            "title": "Temporarily unavailable",
            "heading": "We’ll be back.",
            "lead": ("This service is offline for a while.", "Nothing is wrong at your end."),
        },
        "absent": {
            "title": "Not found",
            "heading": "Nothing here yet.",
            "lead": ("This instance has not been given an app, so there is only a welcome page.",),
        },
        "refused": {
            "title": "Method not allowed",
            "heading": "This page can only be read.",
            "lead": ("It answers GET and HEAD, and takes nothing in.",),
        },
    },
    "next_heading": "Give it something to serve",
    "commands": (
        ("arun app.py", "The app in that file. Whether it is aiohttp, ASGI or WSGI, arun finds out."),
        (
            "arun package.module:app",
            "The app of that name in a module. A function that makes the app works too.",
        ),
        (
            "arun --fallback-config welcome app.py",
            "With a safety net: if the app cannot start, a page like this answers in its place.",
        ),
    ),
    "home": "Go to the welcome page",
    "retry": "Try again",
    "waits": {
        "unknown": "It comes back as soon as the cause is mended.",
        "moment": "We try again by ourselves in a few seconds.",
        "seconds": "We try again by ourselves in about {n} seconds.",
        "minute": "We try again by ourselves in about a minute.",
        "minutes": "We try again by ourselves in about {n} minutes.",
        "hours": "We try again by ourselves, though not within the hour.",
    },
    "reloads": "This page reloads by itself.",
    "reference": "Reference {id}",
    "causes_heading": "Why it did not start",
    "cause_labels": {
        "id": "Id",
        "origin": "From",
        "config": "Config",
        "when": "Time",
        "hint": "Hint",
        "detail": "Traceback",
    },
    "causes_note": "Shown because debug is on and you are on the same machine. Visitors do not see it.",
    "motto": "arun, the instance that always answers",
}

_SIMPLIFIED_CHINESE: Words = {
    "space": "",
    "pages": {
        "welcome": {
            "title": "运行正常",
            "heading": "一切就绪。",
            "lead": ("arun 已经启动，正在应答请求。", "还没有指定应用，所以先显示这个页面。"),
        },
        "pause": {
            "title": "服务暂时不可用",
            "heading": "我们马上回来。",
            "lead": ("服务暂时无法访问。", "这不是您这边的问题。"),
        },
        "offline": {
            "title": "服务暂时不可用",
            "heading": "我们会回来的。",
            "lead": ("服务暂时下线。", "这不是您这边的问题。"),
        },
        "absent": {
            "title": "页面不存在",
            "heading": "这里还没有内容。",
            "lead": ("尚未为这个实例指定应用，目前只有一个欢迎页。",),
        },
        "refused": {
            "title": "不支持此方法",
            "heading": "这个页面只供阅读。",
            "lead": ("它只应答 GET 和 HEAD 请求，不接收任何数据。",),
        },
    },
    "next_heading": "接下来，给它一个应用",
    "commands": (
        ("arun app.py", "运行文件中的应用。aiohttp、ASGI 还是 WSGI，arun 会自行识别。"),
        ("arun package.module:app", "运行模块中的应用，冒号后写它的名称；返回应用的工厂函数也可以。"),
        ("arun --fallback-config welcome app.py", "多一层保障：万一应用启动失败，就由这样的页面代为应答。"),
    ),
    "home": "前往欢迎页",
    "retry": "重试",
    "waits": {
        "unknown": "问题解决后会立即恢复。",
        "moment": "我们会在几秒后自动重试。",
        "seconds": "我们会在大约 {n} 秒后自动重试。",
        "minute": "我们会在大约一分钟后自动重试。",
        "minutes": "我们会在大约 {n} 分钟后自动重试。",
        "hours": "我们会自动重试，但需要一小时以上。",
    },
    "reloads": "本页面会自动刷新。",
    "reference": "参考编号 {id}",
    "causes_heading": "启动失败的原因",
    "cause_labels": {
        "id": "编号",
        "origin": "来源",
        "config": "配置",
        "when": "时间",
        "hint": "提示",
        "detail": "调用栈",
    },
    "causes_note": "已开启调试模式，且您正在本机访问，因此显示以上内容；其他访客看不到。",
    "motto": "arun，始终应答的实例",
}

WORDS: dict[Literal["en", "zh-Hans"], Words] = {"en": _ENGLISH, "zh-Hans": _SIMPLIFIED_CHINESE}
