"""Values: what ``typing.NamedTuple`` is to a type checker, made without importing ``typing``.

That import, with the ``re`` that it needs and the compiling of every annotation, is a sixth of what a start costs before
it fails. Nothing else of NamedTuple is left out: fields with defaults, methods, properties, ``_replace``, ``_asdict``.
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import NamedTuple as Value
else:
    from collections import namedtuple

    class _Fields(type):
        """Makes a named tuple out of a class body with annotated fields."""

        def __new__(cls, name, bases, body):  # noqa: ANN001, ANN204 - never seen by a type checker
            if not bases:
                return super().__new__(cls, name, bases, body)
            fields = body.pop("__annotations__", {})
            defaults = [body.pop(field) for field in fields if field in body]
            made = namedtuple(name, fields, defaults=defaults, module=body.pop("__module__"))  # noqa: PYI024 - see the head of the file
            for key, value in body.items():
                if key != "__slots__":
                    setattr(made, key, value)
            return made

    class Value(metaclass=_Fields):
        """Subclass it with annotated fields; those with defaults come last."""


__all__ = ("Value",)
