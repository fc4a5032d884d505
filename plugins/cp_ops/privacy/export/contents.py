"""What one person's export holds: found, counted, and written table by table from one snapshot."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from functools import partial
from typing import TYPE_CHECKING

from psycopg import sql

from cp_ops.privacy.export.archive import README, ArchivedTable, Ending
from cp_ops.privacy.export.extract import harmless
from cp_ops.privacy.export.readme import readme
from cp_ops.privacy.export.selection import Selector
from cp_ops.privacy.personal_data import EMAIL, Export
from cp_ops.runtime.statements import ComposedStatement, part, template

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from cp_ops.privacy.catalogue import Catalogue
    from cp_ops.privacy.export.archive import ArchiveWriter
    from cp_ops.privacy.export.extract import TableExtract
    from cp_ops.privacy.export.firm_by_firm import FirmByFirm
    from cp_ops.privacy.export.person import Person
    from cp_ops.privacy.personal_data import PersonalDataMap
    from cp_ops.runtime.database import Line, Transaction
    from cp_ops.runtime.job import JobRun

REFERENCES, DOCUMENTS = "references", "documents"
REFERENCE_COLUMNS = ("table", "id", "column", "created_at")
DOCUMENT_COLUMNS = (
    "id",
    "firm_id",
    "name",
    "file_type",
    "file_size_bytes",
    "current_version",
    "created_at",
    "uploaded_by_you",
    "versions",
)
MANIFEST_FORMAT = 1


@dataclass
class Contents:
    """What an export holds.

    :ivar unsearched: columns with addresses of tables that do not tell whose firm a row is: not searched.
    """

    person: Person
    tables: list[ArchivedTable] = field(default_factory=list)
    extracts: dict[str, TableExtract] = field(default_factory=dict)
    unmapped: dict[str, list[str]] = field(default_factory=dict)
    unsearched: list[str] = field(default_factory=list)
    documents: int = 0
    documents_guarded: bool = False


class Collector:
    """Finds and counts what belongs to a person, and writes it."""

    def __init__(
        self, run: JobRun, tx: Transaction, firms: FirmByFirm, mapped: PersonalDataMap, catalogue: Catalogue
    ) -> None:
        self._run, self._tx, self._firms = run, tx, firms
        self._mapped, self._catalogue = mapped, catalogue

    def find(self, person: Person) -> Contents:
        """Select and count every table of the map, the missing and the empty ones, too."""
        contents = Contents(person)
        present = self._mapped.present(self._catalogue)
        by_address: dict[tuple[str, str], list[int]] = {}
        selector = Selector(present, self._catalogue, person, by_address)
        # The search by address comes first: what it finds is part of the conditions of the tables that bear addresses,
        # and of those whose rows are parts of theirs.
        for name, (entry, _) in present.items():
            for column, key in entry.keys.items():
                if key.names == EMAIL and key.export is not Export.NONE:
                    by_address[name, column] = self._keys_by_address(contents, selector, name, column)
        for name in self._mapped.tables:
            contents.tables.append(ArchivedTable(name, present=name in present))
            if name in present:
                self._count(contents, selector.extract(name))
        self._find_documents(contents)
        contents.unmapped = self._unmapped()
        return contents

    def write(self, archive: ArchiveWriter, contents: Contents, endings: Sequence[Ending]) -> None:
        """Write tables, references, documents, README and manifest."""
        for table in contents.tables:
            if table.rows:
                lines = partial(self._table_lines, contents, table)
                _add(archive, f"tables/{table.table}", endings, lines)
        if any(table.references for table in contents.tables):
            _add(archive, REFERENCES, endings, partial(self._reference_lines, contents))
        if contents.documents:
            _add(archive, DOCUMENTS, endings, partial(self._document_lines, contents))
        archive.add_text(README, readme(contents.tables, endings, documents=contents.documents))
        archive.finish(
            {
                "format": MANIFEST_FORMAT,
                "user_id": contents.person.user_id,
                "contents": list(endings),
                "tables": [asdict(table) for table in contents.tables],
                "documents": contents.documents,
                "unmapped": contents.unmapped,
                "not_searched_by_address": contents.unsearched,
            }
        )

    def _keys_by_address(self, contents: Contents, selector: Selector, name: str, column: str) -> list[int]:
        """Give the keys of the rows that bear one of the person's addresses, in the person's own firms only."""
        if not contents.person.emails or not contents.person.firm_ids:
            return []
        query = selector.by_address(name, column)
        if query is None:
            contents.unsearched.append(f"{name}.{column}")
            return []
        return sorted(
            row["id"]
            for _ in self._firms.visits(guarded=selector.scope_is_guarded(name))
            for row in self._tx.rows(
                ComposedStatement(f"search {name} by address", query), **contents.person.params()
            )
        )

    def _count(self, contents: Contents, extract: TableExtract) -> None:
        table = contents.tables[-1]
        table.withheld = list(extract.withheld)
        params = contents.person.params()
        if extract.condition is not None:
            table.rows = sum(
                self._tx.count(ComposedStatement(f"count {table.table}", extract.count()), **params)
                for _ in self._firms.visits(guarded=extract.guarded)
            )
        if extract.authored:
            table.references = sum(
                self._tx.count(
                    ComposedStatement(f"count references in {table.table}", extract.count_references()),
                    **params,
                )
                for _ in self._firms.visits(guarded=extract.table.guarded)
            )
        contents.extracts[table.table] = extract

    def _find_documents(self, contents: Contents) -> None:
        if not {"documents_documents", "documents_versions"} <= set(self._catalogue.tables):
            return
        # Documents have a query of their own: the row says where the object is, which is in no export.
        contents.documents_guarded = self._catalogue.tables["documents_documents"].guarded
        count = template("privacy/export/count_documents", query=_documents())
        contents.documents = sum(
            self._tx.count(ComposedStatement("count documents", count), **contents.person.params())
            for _ in self._firms.visits(guarded=contents.documents_guarded)
        )

    def _unmapped(self) -> dict[str, list[str]]:
        columns = self._mapped.unmapped_columns(self._catalogue)
        return {
            "keys": [str(key) for key in self._mapped.unmapped(self._catalogue)],
            "columns": [f"{table}.{column}" for table, column in columns],
        }

    def _table_lines(self, contents: Contents, table: ArchivedTable, ending: Ending) -> Iterator[Line]:
        self._run.progress(f"{table.table}: {table.rows} rows as {ending}")
        extract = contents.extracts[table.table]
        header = ending is Ending.CSV  # once in the file, whatever the number of statements
        for _ in self._firms.visits(guarded=extract.guarded):
            query = extract.as_csv(header=header) if ending is Ending.CSV else extract.as_json()
            statement = ComposedStatement(f"export {table.table}", query)
            yield from self._tx.lines(statement, **contents.person.params())
            header = False

    def _reference_lines(self, contents: Contents, ending: Ending) -> Iterator[Line]:
        header = ending is Ending.CSV
        for table in contents.tables:
            if not table.references:
                continue
            extract = contents.extracts[table.table]
            for query in extract.references():
                for _ in self._firms.visits(guarded=extract.table.guarded):
                    copy = _copy(query, REFERENCE_COLUMNS, ending, header=header)
                    yield from self._tx.lines(
                        ComposedStatement(f"references in {table.table}", copy), **contents.person.params()
                    )
                    header = False

    def _document_lines(self, contents: Contents, ending: Ending) -> Iterator[Line]:
        header = ending is Ending.CSV
        for _ in self._firms.visits(guarded=contents.documents_guarded):
            copy = _copy(_documents(), DOCUMENT_COLUMNS, ending, header=header, text=("name", "file_type"))
            yield from self._tx.lines(ComposedStatement("export documents", copy), **contents.person.params())
            header = False


def _add(
    archive: ArchiveWriter,
    name: str,
    endings: Sequence[Ending],
    lines: Callable[[Ending], Iterator[Line]],
) -> None:
    for ending in endings:
        archive.add_lines(f"{name}.{ending}", lines(ending), headers=ending is Ending.CSV)


def _documents() -> sql.Composed:
    return part("privacy/export/documents_query")


def _copy(
    query: sql.Composed, columns: tuple[str, ...], ending: Ending, *, header: bool, text: tuple[str, ...] = ()
) -> sql.Composed:
    if ending is Ending.JSONL:
        return template("privacy/export/query_as_json", query=query)
    shown = sql.SQL(", ").join(
        sql.SQL("{} AS {}").format(harmless(sql.Identifier(name)), sql.Identifier(name))
        if name in text
        else sql.Identifier(name)
        for name in columns
    )
    return template("privacy/export/query_as_csv", query=query, columns=shown, header=sql.Literal(header))
