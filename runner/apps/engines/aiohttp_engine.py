"""The engine of an aiohttp app: aiohttp's own server and its own order of start and stop, held to arun's promises."""

from __future__ import annotations

import asyncio
import logging

from aiohttp import web

from runner.apps.engines.proxies import TrustedPeers, scheme
from runner.apps.tracebacks import app_traceback
from runner.failures import AppStartupFailed, printable

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable
    from typing import Any

    from runner.apps.engines.options import Options

__all__ = ("AiohttpEngine",)
