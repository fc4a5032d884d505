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
from cp_ops.runtime.validation import first_problem

if TYPE_CHECKING:
    from collections.abc import Container, Iterator, Mapping
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


class _MapEntry(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class PersonKey(_MapEntry):
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


class ParentKey(_MapEntry):
    """A column that makes the row a part of another table's row."""

    table: str
    export: Export


class PersonalColumn(_MapEntry):
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


class MappedTable(_MapEntry):
    """What the map says about one table."""

    keys: dict[str, PersonKey] = Field(default_factory=dict)
    parents: dict[str, ParentKey] = Field(default_factory=dict)
    columns: dict[str, PersonalColumn] = Field(default_factory=dict)

    @property
    def named(self) -> set[str]:
        """Every column that the map says something about."""
        return {*self.keys, *self.parents, *self.columns}


class PersonalDataMap(_MapEntry):
    """The whole map. `tables` are in alphabetical order."""

    version: int
    subjects: dict[str, str]
    reasons: dict[str, str]
    tables: dict[str, MappedTable]

    def erasable(self, table: str, present: CatalogueTable) -> dict[str, PersonalColumn]:
        """Give the columns of a table that the erasure changes, as far as the database has them."""
        entry = self.tables[table]
        return {
            name: column
            for name, column in entry.columns.items()
            if column.erasure is not Erasure.KEEP and name in present.columns
        }

    def passing(self, table: str) -> frozenset[str]:
        """Give the keys that reach a row of a table without making it the person's.

        Three keys do so. An e-mail address on a client's row names one contact of the client. A link from somebody
        else's record leads to another person, for example where a client keeps the id of the prospect it grew from. And
        text may merely mention the person. In such rows only the naming values are erased.
        """
        entry = self.tables[table]
        keys = {
            column
            for column, key in entry.keys.items()
            if key.export is Export.NONE and self._may_be_somebody_elses(table, key)
        }
        return frozenset(keys | {column for column, treated in entry.columns.items() if treated.mentions})

    def _may_be_somebody_elses(self, table: str, key: PersonKey) -> bool:
        # In a table of persons only the row's own key means the row's person; every other key links two people.
        if self.subjects.get(key.names) == table:
            return False
        return key.names == EMAIL or table in self.subjects.values()

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
            if key.references in persons and not self._knows_key(key.table, key.column)
        )

    def unmapped_columns(self, catalogue: Catalogue) -> list[tuple[str, str]]:
        """Give the columns whose name promises personal data and that the map does not know."""
        return sorted(
            (table.name, column)
            for table in catalogue.tables.values()
            for column, kind in table.columns.items()
            if _promises_personal_data(column, kind) and not self._knows_column(table.name, column)
        )

    def _knows_key(self, table: str, column: str) -> bool:
        return table in self.tables and column in self.tables[table].keys

    def _knows_column(self, table: str, column: str) -> bool:
        return table in self.tables and column in self.tables[table].named

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
            yield from _problems_of(self, name, entry)
        if unknown := used - set(self.reasons):
            yield f"reasons {', '.join(sorted(unknown))} are not defined"
        if unused := set(self.reasons) - used:
            yield f"reasons {', '.join(sorted(unused))} are not used"


def _problems_of(mapped: PersonalDataMap, name: str, entry: MappedTable) -> Iterator[str]:
    yield from _problems_of_keys(name, entry, subjects={EMAIL, *mapped.subjects})
    yield from _problems_of_parents(name, entry, tables=mapped.tables)
    yield from _problems_of_columns(name, entry)
    if not entry.named:
        yield f"{name} says nothing"


def _problems_of_keys(name: str, entry: MappedTable, *, subjects: Container[str]) -> Iterator[str]:
    for column, key in entry.keys.items():
        if key.names not in subjects:
            yield f"{name}.{column} names {key.names!r}, which is no subject"
        # Whoever asks why the export lacks a row must find an answer: `structure` is none.
        if key.export is Export.NONE and key.why == "structure":
            yield f"{name}.{column} is not exported, but does not say why"


def _problems_of_parents(name: str, entry: MappedTable, *, tables: Container[str]) -> Iterator[str]:
    for column, parent in entry.parents.items():
        if parent.table not in tables or parent.table == name:
            yield f"{name}.{column}: parent {parent.table} is not in the map"


def _problems_of_columns(name: str, entry: MappedTable) -> Iterator[str]:
    for column, treated in entry.columns.items():
        if missing := set(treated.whose) - set(entry.keys):
            yield f"{name}.{column}: whose {', '.join(sorted(missing))} is no key of the table"
        # A column with `mentions` is a way to its row, too, under its own name: a key of that name would hide it.
        if treated.mentions and (treated.erasure is Erasure.KEEP or column in entry.keys):
            yield f"{name}.{column}: what is kept, or is a key, is not erased for what it mentions"


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
        problem = first_problem(error)
        raise PersonalDataMapError(f"{path.name}: {problem.path} {problem.message}") from None


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


def _promises_personal_data(column: str, kind: str) -> bool:
    # A flag, a date or a number names nobody, whatever its column is called (`email_verified`, `phone_id`).
    return PERSONAL_NAME.search(column) is not None and kind not in NOT_PERSONAL_TYPES


def _tellable(column: PersonalColumn, keys: Mapping[str, PersonKey]) -> PersonalColumn:
    """Without any key that says whose a value is, it is not exported."""
    if not column.whose:
        return column
    whose = tuple(key for key in column.whose if key in keys)
    return column.model_copy(update={"whose": whose, "export": column.export and bool(whose)})
