"""Arguments and results that are models of pydantic, which is imported for tasks that ask for it and for no others."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, get_type_hints

from kernel.errors import ConfigError, DecodeError, MissingExtra

#: Errors of one call that are named; the rest are counted.
NAMED = 5

Options = Mapping[str, Any]


def library() -> Any:
    """Pydantic; `MissingExtra` where it is not installed."""
    try:
        import pydantic
    except ImportError:
        raise MissingExtra("pydantic=True needs pydantic: pip install 'kernelq[pydantic]'") from None
    return pydantic


def dumper(options: Options) -> Callable[[Any], Any] | None:
    """What makes plain values of models, at any depth of lists, tuples and mappings; None for a task without."""
    if not options.get("pydantic"):
        return None
    model = library().BaseModel
    how = {"mode": "json", **options.get("pydantic_dump_kwargs", {})}

    def plain(value: Any) -> Any:
        if isinstance(value, model):
            return value.model_dump(**how)
        kind = type(value)
        if kind is dict:
            return {key: plain(item) for key, item in value.items()}
        if kind is list or kind is tuple:
            return kind(map(plain, value))
        return value

    return plain


class Models:
    """Validates the arguments of one function by its annotations."""

    __slots__ = ("_adapters", "_context", "_dump", "_error", "_more_args", "_more_kwargs", "_names", "_strict")

    def __init__(self, function: Callable[..., Any], options: Options, bound: int, skipped: frozenset[str]) -> None:
        """The first `bound` parameters, and those of the names in `skipped`, are the worker's. `ConfigError` for
        annotations that cannot be resolved or validated."""
        import inspect  # only for tasks that ask for this

        pydantic = library()
        try:
            hints = get_type_hints(function, include_extras=True)
            parameters = list(inspect.signature(function).parameters.values())[bound:]
            self._adapters = {
                each.name: pydantic.TypeAdapter(hints[each.name])
                for each in parameters
                if each.name in hints and each.name not in skipped
            }
        except Exception as error:
            title = getattr(function, "__qualname__", "task")
            raise ConfigError(f"pydantic cannot validate the arguments of {title}: {error}") from error
        by_place = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
        self._names = [each.name for each in parameters if each.kind in by_place]
        kinds = {each.kind: each.name for each in parameters}
        self._more_args = kinds.get(inspect.Parameter.VAR_POSITIONAL, "")
        self._more_kwargs = kinds.get(inspect.Parameter.VAR_KEYWORD, "")
        self._strict: bool = options.get("pydantic_strict", False)
        self._context = options.get("pydantic_context")
        self._error = pydantic.ValidationError
        self._dump = pydantic.TypeAdapter(Any).dump_json

    def validated(self, args: Sequence[Any], kwargs: Mapping[str, Any]) -> tuple[list[Any], dict[str, Any]]:
        """The arguments as their annotations want them; `DecodeError` that names all that do not fit."""
        wrong: list[str] = []
        names = self._names + [self._more_args] * (len(args) - len(self._names))
        given = [self._one(name, value, wrong) for name, value in zip(names, args, strict=False)]
        named = {
            name: self._one(name if name in self._adapters else self._more_kwargs, value, wrong)
            for name, value in kwargs.items()
        }
        if wrong:
            more = f" and {len(wrong) - NAMED} more" if len(wrong) > NAMED else ""
            raise DecodeError("; ".join(wrong[:NAMED]) + more)
        return given, named

    def _one(self, name: str, value: Any, wrong: list[str]) -> Any:
        adapter = self._adapters.get(name)
        if adapter is None:
            return value
        try:
            if self._strict:
                # What came as JSON is judged as JSON: a date is a text there, and strict about Python would refuse it.
                return adapter.validate_json(self._dump(value), strict=True, context=self._context)
            return adapter.validate_python(value, context=self._context)
        except self._error as error:
            for each in error.errors(include_url=False, include_context=False):
                place = ".".join(map(str, (name, *each["loc"])))
                wrong.append(f"{place}: {each['msg']}")
            return value
