"""ASGI apps."""
