"""Where values come from: the environment, then `.env`; each name also as `NAME_FILE`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from dotenv.parser import parse_stream

from nanogpt_proxy.settings.parse import Unusable

_MAX_FILE = 64 * 1024  # a secret in a file is short; anything longer is the wrong file


@dataclass(frozen=True, slots=True)
class Said:
    """A value as somebody wrote it."""

    text: str
    where: str
    """For messages: the name, and the place if it is not the environment."""
    base: Path
    """What a relative path in it counts from."""


@dataclass(frozen=True, slots=True)
class _Place:
    values: Mapping[str, str]
    base: Path
    label: str

    def get(self, name: str) -> Said | None:
        text = self.values.get(name)
        if not text:  # compose writes NAME= for what is not given
            return None
        return Said(text, f"{name}{self.label}", self.base)


@dataclass(frozen=True, slots=True)
class Sources:
    places: tuple[_Place, ...]
    problems: tuple[str, ...]
    """What is wrong with `.env` itself."""

    @classmethod
    def read(cls, environ: Mapping[str, str], cwd: Path, checkout: Path | None) -> Sources:
        places = [_Place(environ, cwd, "")]
        problems: list[str] = []
        for folder in (cwd, checkout):
            if folder is None or not (folder / ".env").is_file():
                continue
            path = folder / ".env"
            values, problems = _read_env_file(path)
            places.append(_Place(values, folder, f" in {path}"))
            break
        return cls(tuple(places), tuple(problems))

    def find(self, name: str, other_spelling: str | None = None) -> Said | None:
        """What was said about a setting; `None` if nothing. Raises `Unusable`."""
        said = self._first(name)
        if said is None and other_spelling is not None:
            said = self._first(other_spelling)
        in_file = self._first(f"{name}_FILE")
        if in_file is None:
            return said
        if said is not None:
            raise Unusable(f"{said.where}: {name}_FILE is set too; keep one of the two")
        return Said(_content(in_file), in_file.where, in_file.base)

    def empty(self, name: str) -> bool:
        """Whether the name is there, and nothing was said about it anywhere."""
        names = (name, f"{name}_FILE")
        there = any(name in place.values for place in self.places for name in names)
        return there and not any(self._first(name) for name in names)

    def _first(self, name: str) -> Said | None:
        return next((said for place in self.places if (said := place.get(name))), None)


def _read_env_file(path: Path) -> tuple[dict[str, str], list[str]]:
    values: dict[str, str] = {}
    problems: list[str] = []
    try:
        # a byte order mark is what some editors leave
        with path.open(encoding="utf-8-sig") as stream:
            bindings = list(parse_stream(stream))
    except OSError as error:
        return {}, [f"{path}: cannot be read ({error.strerror}); mend its permissions"]
    except UnicodeDecodeError:
        return {}, [f"{path}: is not UTF-8; save it as UTF-8"]
    for binding in bindings:
        if binding.error:
            problems.append(f"{path}: line {binding.original.line} is not NAME=value; mend it")
        elif binding.key is not None and binding.value is not None:
            values[binding.key] = binding.value
    return values, problems


def _content(said: Said) -> str:
    """What the file named by a `NAME_FILE` holds, less the newline that editors put at its end."""
    path = said.base / Path(said.text).expanduser()
    try:
        with path.open("rb") as stream:
            raw = stream.read(_MAX_FILE + 1)
    except OSError as error:
        reason = error.strerror or "unknown reason"
        raise Unusable(f"{said.where}: its file cannot be read ({reason}); mend the path") from None
    if len(raw) > _MAX_FILE:
        raise Unusable(f"{said.where}: its file has more than 64 KiB; name the right one")
    try:
        text = raw.decode("utf-8")
    except UnicodeDecodeError:
        raise Unusable(f"{said.where}: its file is not UTF-8 text; name the right one") from None
    text = text.removesuffix("\n").removesuffix("\r")
    if not text:
        raise Unusable(f"{said.where}: its file is empty; write the value into it")
    return text
