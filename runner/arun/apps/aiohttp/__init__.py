"""aiohttp apps."""
