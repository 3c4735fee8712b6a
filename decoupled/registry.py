"""A registry: what a run can name of one kind, such as heads; each by its name, or by reference to a user's own code."""

import difflib
import importlib
import inspect
from collections.abc import Callable, Iterator, Mapping
from typing import Any, TypeAlias

from pydantic import ConfigDict, TypeAdapter, ValidationError

from decoupled import user_code
from decoupled.errors import UsageError

Factory: TypeAlias = Callable[..., Any]

ANY_TYPE = ConfigDict(arbitrary_types_allowed=True)  # beside those that can be checked, such as a tensor
NEEDS_TORCH = "needs PyTorch: pip install 'decoupled-trainer[torch]', or scripts/setup --torch in a clone."


class Registry(Mapping[str, Factory]):
    """Factories by name. A reference finds the user's, where this process may run it.

    A factory may be given as the text `package.module:attribute`, which is imported when it is first asked for.
    """

    def __init__(self, kind: str, factories: Mapping[str, Factory | str]) -> None:
        self.kind, self._factories = kind, dict(factories)

    def __getitem__(self, name: str) -> Factory:
        """Raises UsageError where there is no such name, or the reference cannot be loaded."""
        if name in self._factories:
            factory = self._factories[name]
            return factory if callable(factory) else self._imported(name, factory)
        if user_code.is_reference(name):
            found = user_code.load(name)
            if not callable(found):
                raise UsageError(f"{name} is no {self.kind}: it cannot be called.")
            return found  # type: ignore[no-any-return]
        raise UsageError(f"There is no {self.kind} {name!r}; choose {', '.join(self)}.")

    def __contains__(self, name: object) -> bool:
        return name in self._factories

    def _imported(self, name: str, where: str) -> Factory:
        module, _, attribute = where.partition(":")
        try:
            found: Factory = getattr(importlib.import_module(module), attribute)
        except ModuleNotFoundError as error:
            if error.name != "torch":
                raise
            raise UsageError(f"The {self.kind} {name} {NEEDS_TORCH}") from None
        self._factories[name] = found
        return found

    def __iter__(self) -> Iterator[str]:
        return iter(self._factories)

    def __repr__(self) -> str:
        return f"Registry({', '.join(map(repr, self))})"

    def __len__(self) -> int:
        return len(self._factories)

    def name(self, given: Any) -> str:
        """The name or reference of what a run gives, which may be a class or a function. Nothing is loaded.

        Raises ValueError when there is none.
        """
        for name, factory in self._factories.items():
            if given is factory:
                return name
        if not isinstance(given, str):
            return user_code.reference_to(given)
        if given not in self._factories and not user_code.is_reference(given):
            near = difflib.get_close_matches(given, self._factories, 1)
            choices = ", ".join(self._factories)
            hint = f"did you mean {near[0]}? Else choose" if near else "choose"
            raise ValueError(f"there is no {self.kind} {given!r}; {hint} {choices}, or a reference such as my_code.py:thing")
        return given

    def make(self, name: str, *given: Any, options: Mapping[str, Any]) -> Any:
        """What the factory makes of what every one of its kind is given, and of its own options.

        Raises UsageError for an option that it does not have, a value that does not fit, and an error of its own.
        """
        checked = self.fitting(name, len(given), options)
        try:
            return self[name](*given, **checked)
        except Exception as error:
            if name in self._factories:
                raise
            raise UsageError(f"The {self.kind} {name} cannot be made: {user_code.describe(error)}.") from error

    def fitting(self, name: str, given: int, options: Mapping[str, Any]) -> dict[str, Any]:
        """The options as the factory takes them, behind so many arguments. Raises UsageError where one does not fit."""
        parameters = list(_signature(self[name]).parameters.values())[given:]
        known = {p.name: p for p in parameters if p.kind in (p.POSITIONAL_OR_KEYWORD, p.KEYWORD_ONLY)}
        takes_all = any(p.kind is p.VAR_KEYWORD for p in parameters)
        checked = {}
        for option, value in options.items():
            if option not in known and not takes_all:
                has = f"it has {', '.join(known)}" if known else "it has none"
                raise UsageError(f"The {self.kind} {name} has no option {option}; {has}.")
            checked[option] = self._value(name, known[option], value) if option in known else value
        return checked

    def _value(self, name: str, parameter: inspect.Parameter, value: Any) -> Any:
        if parameter.annotation is parameter.empty or isinstance(parameter.annotation, str):
            return value
        try:
            return TypeAdapter(parameter.annotation, config=ANY_TYPE).validate_python(value)
        except ValidationError as error:
            what = error.errors()[0]["msg"]
            raise UsageError(f"The {self.kind} {name}: {parameter.name}: {what}, not {value!r:.60}.") from None


def _signature(factory: Factory) -> inspect.Signature:
    """With annotations as they are written where their names are not there, such as those for type checkers alone."""
    try:
        return inspect.signature(factory, eval_str=True)
    except NameError:
        return inspect.signature(factory)
