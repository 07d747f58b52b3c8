"""WSGI apps (PEP 3333)."""
