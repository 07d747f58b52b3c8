"""The engine of aiohttp apps: aiohttp's own server, guarded against hostile clients and faulty answers."""

from runner.apps.engines.aiohttp_engine.engine import AiohttpEngine

__all__ = ("AiohttpEngine",)
