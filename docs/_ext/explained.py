"""The keys of the configuration with the comments that stand beside or above them in the classes."""

import ast
import dataclasses
import inspect
import io
import tokenize
from typing import Any, NamedTuple

from rltoolkit.run.config import RunConfig


class ConfigKey(NamedTuple):
    """One key, as one would set it."""

    name: str
    type: str
    default: str
    meaning: str
    """its comment, or its entry in the class's Args; empty where nobody has explained it"""


def keys_of_configuration() -> dict[str, list[ConfigKey]]:
    """The keys of every section, those of the top level first."""
    sections: dict[str, list[ConfigKey]] = {"": []}
    for field in dataclasses.fields(RunConfig):
        default = field.default_factory if field.default_factory is not dataclasses.MISSING else None
        if inspect.isclass(default) and dataclasses.is_dataclass(default):
            sections[field.name] = _keys(default, f"{field.name}.")
    sections[""] = [key for key in _keys(RunConfig, "") if key.name not in sections]
    return sections


def _keys(cls: Any, prefix: str) -> list[ConfigKey]:
    comments = meanings_of_fields(cls)
    return [
        ConfigKey(f"{prefix}{field.name}", str(field.type), _default(field), comments.get(field.name, ""))
        for field in dataclasses.fields(cls)
    ]


def _default(field: Any) -> str:
    if field.default is dataclasses.MISSING:
        if field.default_factory is dataclasses.MISSING:
            return "required"
        made = field.default_factory()
        return repr(list(made)) if isinstance(made, (list, tuple)) else repr(made)
    text = str(field.default)
    if text == "???":
        return "required"
    return text.removeprefix("${").removesuffix("}") if text.startswith("${") else repr(field.default)


def meanings_of_fields(cls: Any) -> dict[str, str]:
    """What is said of each field, in the class or in those that it inherits fields from."""
    classes = [each for each in reversed(cls.__mro__) if dataclasses.is_dataclass(each)]
    return {name: meaning for each in classes for name, meaning in _own_meanings(each).items()}


def _own_meanings(cls: Any) -> dict[str, str]:
    """What is said of each field: a comment behind or above it, a text below it, or its entry under the class's Args."""
    source = inspect.cleandoc(inspect.getsource(cls))
    at = {
        token.start[0]: token
        for token in tokenize.generate_tokens(io.StringIO(source).readline)
        if token.type == tokenize.COMMENT
    }
    lines = source.splitlines()
    found = arguments(cls.__doc__ or "")
    (definition,) = ast.parse(source).body
    assert isinstance(definition, ast.ClassDef)
    for node, after in zip(definition.body, [*definition.body[1:], None], strict=True):
        if not isinstance(node, ast.AnnAssign) or not isinstance(node.target, ast.Name):
            continue
        above: list[str] = []
        number = node.lineno - 1
        while number in at and lines[number - 1].strip().startswith("#"):
            above.insert(0, at[number].string)
            number -= 1
        beside = [at[node.end_lineno].string] if node.end_lineno in at else []
        words = " ".join(comment.removeprefix("#").strip() for comment in above + beside)
        if isinstance(after, ast.Expr) and isinstance(after.value, ast.Constant):
            words = " ".join(str(after.value.value).split())
        if words:
            found[node.target.id] = words
    return found


def arguments(docstring: str) -> dict[str, str]:
    """The texts of a docstring's Args section by name."""
    _, _, section = docstring.partition("Args:\n")
    section = section.split("\n\n")[0]
    found: dict[str, str] = {}
    name = ""
    for line in section.splitlines():
        head, colon, text = line.strip().partition(": ")
        if colon and len(line) - len(line.lstrip()) == 8 and head.replace(", ", "").replace("_", "").isalnum():
            name = head
            found |= dict.fromkeys(head.split(", "), text)
        elif name:
            found |= {each: f"{found[each]} {line.strip()}".strip() for each in name.split(", ")}
    return found
