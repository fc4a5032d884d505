"""The personal-data map: where a person's data is, and what the export and the erasure do with it.

`load_map()` reads `include/personal_data.yaml`. Where it and the connected database (`cp_ops.privacy.catalogue`) do not
agree, `PersonalDataMap.unmapped()` says so: reported, never dropped in silence. A deployment may lack tables of the map
and have others: a job uses `PersonalDataMap.present()`.
"""

from __future__ import annotations

import re
from enum import StrEnum
from functools import cache
from typing import TYPE_CHECKING, Self

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from cp_ops.runtime.errors import CpOpsError
from cp_ops.runtime.statements import INCLUDE

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

    from cp_ops.privacy.catalogue import Catalogue, CatalogueTable, ForeignKey

MAP_FILE = INCLUDE / "personal_data.yaml"
EMAIL = "email"
"""The subject of a key that names a person by address instead of by id."""

PERSONAL_NAME = re.compile(
    r"(^|_)(e?mails?|phone|mobile|first_name|last_name|contact_name|ip_address|user_agent|street|postal_code|latitude"
    r"|longitude|birth|ssn|passport|iban)(_|$)"
)
"""Column names that promise personal data."""
NOT_PERSONAL_TYPES = frozenset({"boolean", "timestamp with time zone", "date", "integer", "bigint"})


class PersonalDataMapError(CpOpsError):
    """The personal-data map contradicts itself."""


class Role(StrEnum):
    """What a key says about the person whom it names."""

    ABOUT = "about"
    BELONGS = "belongs"
    AUTHOR = "author"


class Export(StrEnum):
    """How much of a row that a key leads to is in the person's export."""

    ROWS = "rows"
    REFERENCE = "reference"
    NONE = "none"


class Erasure(StrEnum):
    """What the erasure of a person does with a column."""

    KEEP = "keep"
    ERASE = "erase"
    PSEUDONYMISE = "pseudonymise"


class _Entry(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Key(_Entry):
    """A column that names a person.

    :ivar names: a subject of the map, or ``email``.
    :ivar only: the export takes only rows with these values.
    :ivar why: the reason why the export passes the rows over.
    """

    names: str
    role: Role
    export: Export
    only: dict[str, str] = Field(default_factory=dict)
    why: str = "structure"


class Parent(_Entry):
    """A column that makes the row a part of another table's row."""

    table: str
    export: Export


class Column(_Entry):
    """A column with personal data, and why it is treated as it is.

    :ivar whose: keys of the table; the export shows the value only in rows that name the person by one.
    :ivar mentions: the value is also erased where it holds an address or a number of the erased person, whatever the
        row is about.
    """

    erasure: Erasure
    export: bool
    why: str
    whose: tuple[str, ...] = ()
    mentions: bool = False


class MappedTable(_Entry):
    """What the map says about one table."""

    keys: dict[str, Key] = Field(default_factory=dict)
    parents: dict[str, Parent] = Field(default_factory=dict)
    columns: dict[str, Column] = Field(default_factory=dict)

    @property
    def named(self) -> set[str]:
        """Every column that the map says something about."""
        return {*self.keys, *self.parents, *self.columns}


class PersonalDataMap(_Entry):
    """The whole map. `tables` are in alphabetical order."""

    version: int
    subjects: dict[str, str]
    reasons: dict[str, str]
    tables: dict[str, MappedTable]

    def keys_naming(self, *subjects: str) -> Iterator[tuple[str, str, Key]]:
        """Give (table, column, key) of every key that names one of these subjects."""
        for table, entry in self.tables.items():
            for column, key in entry.keys.items():
                if key.names in subjects:
                    yield table, column, key

    def erasable(self, table: str, present: CatalogueTable) -> dict[str, Column]:
        """Give the columns of a table that the erasure changes, as far as the database has them."""
        entry = self.tables[table]
        return {
            name: column
            for name, column in entry.columns.items()
            if column.erasure is not Erasure.KEEP and name in present.columns
        }

    def passing(self, table: str) -> frozenset[str]:
        """Give the ways to a row of a table by which only the values that name the person are erased.

        An address that opens no client; another person's row that leads to this one: a client was once a prospect, but
        is not its first contact; a value that mentions the person.
        """
        entry = self.tables[table]
        is_person = table in self.subjects.values()
        keys = {
            name
            for name, key in entry.keys.items()
            if key.export is Export.NONE
            and (key.names == EMAIL or is_person)
            and self.subjects.get(key.names) != table
        }
        return frozenset(keys | {name for name, column in entry.columns.items() if column.mentions})

    def reason(self, why: str) -> str:
        """Give a reason in words."""
        return self.reasons[why]

    def present(self, catalogue: Catalogue) -> dict[str, tuple[MappedTable, CatalogueTable]]:
        """Give the tables that the connected database has, each with what the map says about its columns."""
        return {
            name: (_restricted(entry, catalogue.tables[name], catalogue), catalogue.tables[name])
            for name, entry in self.tables.items()
            if name in catalogue.tables
        }

    def unmapped(self, catalogue: Catalogue) -> list[ForeignKey]:
        """Give the foreign keys to a person or a client that the map does not know."""
        persons = set(self.subjects.values())
        return sorted(
            key
            for key in catalogue.foreign_keys
            if key.references in persons
            and (key.table not in self.tables or key.column not in self.tables[key.table].keys)
        )

    def unmapped_columns(self, catalogue: Catalogue) -> list[tuple[str, str]]:
        """Give the columns whose name promises personal data and that the map does not know."""
        return sorted(
            (table.name, column)
            for table in catalogue.tables.values()
            for column, kind in table.columns.items()
            if PERSONAL_NAME.search(column)
            and kind not in NOT_PERSONAL_TYPES
            and (table.name not in self.tables or column not in self.tables[table.name].named)
        )

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        problems = list(self._problems())
        if problems:
            raise ValueError("; ".join(problems))
        return self

    def _problems(self) -> Iterator[str]:
        if list(self.tables) != sorted(self.tables):
            yield "tables are not in alphabetical order"
        used = {"structure"}
        for name, entry in self.tables.items():
            used.update(key.why for key in entry.keys.values())
            used.update(column.why for column in entry.columns.values())
            yield from self._problems_of(name, entry)
        if unknown := used - set(self.reasons):
            yield f"reasons {', '.join(sorted(unknown))} are not defined"
        if unused := set(self.reasons) - used:
            yield f"reasons {', '.join(sorted(unused))} are not used"

    def _problems_of(self, name: str, entry: MappedTable) -> Iterator[str]:
        for column, key in entry.keys.items():
            if key.names not in (EMAIL, *self.subjects):
                yield f"{name}.{column} names {key.names!r}, which is no subject"
            if key.export is Export.NONE and key.why == "structure":
                yield f"{name}.{column} is not exported, but does not say why"
        for column, parent in entry.parents.items():
            if parent.table not in self.tables or parent.table == name:
                yield f"{name}.{column}: parent {parent.table} is not in the map"
        for column, treated in entry.columns.items():
            if missing := set(treated.whose) - set(entry.keys):
                yield f"{name}.{column}: whose {', '.join(sorted(missing))} is no key of the table"
            if treated.mentions and (treated.erasure is Erasure.KEEP or column in entry.keys):
                yield f"{name}.{column}: what is kept, or is a key, is not erased for what it mentions"
        if not entry.named:
            yield f"{name} says nothing"


def load_map(path: Path = MAP_FILE) -> PersonalDataMap:
    """Read and check the map, once per process and file.

    :raises PersonalDataMapError: naming what is wrong with it.
    """
    return _load(path)


@cache
def _load(path: Path) -> PersonalDataMap:
    try:
        return PersonalDataMap.model_validate(yaml.safe_load(path.read_text(encoding="utf-8")))
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        where = ".".join(str(part) for part in first["loc"])
        message = first["msg"].removeprefix("Value error, ")
        raise PersonalDataMapError(f"{path.name}: {where} {message}") from None


def _restricted(entry: MappedTable, table: CatalogueTable, catalogue: Catalogue) -> MappedTable:
    keys = {name: key for name, key in entry.keys.items() if name in table.columns}
    parents = {
        name: parent
        for name, parent in entry.parents.items()
        if name in table.columns and parent.table in catalogue.tables
    }
    columns = {
        name: _tellable(column, keys) for name, column in entry.columns.items() if name in table.columns
    }
    return MappedTable(keys=keys, parents=parents, columns=columns)


def _tellable(column: Column, keys: Mapping[str, Key]) -> Column:
    """Without any key that says whose a value is, it is not exported."""
    if not column.whose:
        return column
    whose = tuple(key for key in column.whose if key in keys)
    return column.model_copy(update={"whose": whose, "export": column.export and bool(whose)})
