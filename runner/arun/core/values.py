"""Values: what ``typing.NamedTuple`` is to a type checker, made without importing ``typing`` and without compiling each.

That import, with the ``re`` that it needs and the compiling of every annotation, is a sixth of what a start costs before
it fails; the constructor that ``collections.namedtuple`` compiles for each type is another tenth of it. Nothing else of NamedTuple is
left out: fields with defaults, methods, properties, ``_make``, ``_replace``, ``_asdict``.
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import NamedTuple as Value
else:
    from collections import _tuplegetter as field_at
    from functools import cache
    from types import FunctionType

    class _Tuple(tuple):
        __slots__ = ()
        _fields = ()

        @classmethod
        def _make(cls, values):  # noqa: ANN001, ANN206 - never seen by a type checker
            made = tuple.__new__(cls, values)
            if len(made) != len(cls._fields):
                raise TypeError(f"Expected {len(cls._fields)} arguments, got {len(made)}")
            return made

        def _replace(self, /, **changes):  # noqa: ANN003, ANN202
            made = self._make(map(changes.pop, self._fields, self))
            if changes:
                raise ValueError(f"Got unexpected field names: {list(changes)!r}")
            return made

        def _asdict(self):  # noqa: ANN202
            return dict(zip(self._fields, self, strict=True))

        def __repr__(self):  # noqa: ANN204
            return f"{type(self).__name__}({', '.join(f'{name}={value!r}' for name, value in self._asdict().items())})"

        def __getnewargs__(self):  # noqa: ANN204
            return tuple(self)

    @cache
    def _constructor(count):  # noqa: ANN001, ANN202
        """Return the code that makes a value of so many fields: it is compiled once, and gets other names for each type."""
        names = "".join(f"f{number}, " for number in range(count))
        return eval(f"lambda _cls, {names}: _new(_cls, ({names}))").__code__  # noqa: S307 - numbers of ours

    class _Fields(type):
        """Makes a named tuple out of a class body with annotated fields."""

        def __new__(cls, name, bases, body):  # noqa: ANN001, ANN204
            if not bases:
                return super().__new__(cls, name, bases, body)
            fields = tuple(body.pop("__annotations__", ()))
            given = {field: body.pop(field) for field in fields if field in body}
            code = _constructor(len(fields)).replace(co_varnames=("_cls", *fields), co_name="__new__")
            new = FunctionType(code, {"_new": tuple.__new__}, "__new__", tuple(given.values()))
            getters = {field: field_at(number, None) for number, field in enumerate(fields)}
            own = {"__slots__": (), "_fields": fields, "_field_defaults": given, "__match_args__": fields}
            return type(name, (_Tuple,), {**body, **getters, **own, "__new__": new})

    class Value(metaclass=_Fields):
        """Subclass it with annotated fields; those with defaults come last."""


__all__ = ("Value",)
