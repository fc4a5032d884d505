"""What one person's export holds: found, counted, and written table by table from one snapshot."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING

from cp_ops.privacy.export.archive import README, ArchivedTable
from cp_ops.privacy.export.person import become, firms_to_ask
from cp_ops.privacy.export.readme import readme
from cp_ops.privacy.export.selection import Selection, Selector, harmless
from cp_ops.privacy.personal_data import EMAIL, Export
from cp_ops.runtime.statements import ComposedStatement, part, template

if TYPE_CHECKING:
    from collections.abc import Iterator

    from psycopg import sql

    from cp_ops.privacy.catalogue import Catalogue
    from cp_ops.privacy.export.archive import ArchiveWriter
    from cp_ops.privacy.export.selection import Person
    from cp_ops.privacy.personal_data import PersonalDataMap
    from cp_ops.runtime.database import Line, Transaction
    from cp_ops.runtime.job import JobRun

REFERENCES, DOCUMENTS = "references", "documents"
REFERENCE_COLUMNS = ("table", "id", "column", "created_at")
DOCUMENT_COLUMNS = (
    *(
        "id",
        "firm_id",
        "name",
        "file_type",
        "file_size_bytes",
        "current_version",
        "created_at",
        "uploaded_by_you",
    ),
    "versions",
)
MANIFEST_FORMAT = 1


@dataclass
class Contents:
    """What an export holds.

    :ivar firms: as which firms guarded tables are asked; ``[None]`` without row-level security.
    :ivar unsearched: columns with addresses of tables that do not tell whose firm a row is: not searched.
    """

    person: Person
    firms: list[int | None]
    tables: list[ArchivedTable] = field(default_factory=list)
    selections: dict[str, Selection] = field(default_factory=dict)
    unmapped: dict[str, list[str]] = field(default_factory=dict)
    unsearched: list[str] = field(default_factory=list)
    documents: int = 0
    documents_guarded: bool | None = None

    def visits(self, *, guarded: bool) -> list[int | None]:
        """As which firms to ask a statement."""
        return self.firms if guarded else [None]


class Collector:
    """Finds and counts what belongs to a person, and writes it."""

    def __init__(self, run: JobRun, tx: Transaction, mapped: PersonalDataMap, catalogue: Catalogue) -> None:
        self._run, self._tx = run, tx
        self._mapped, self._catalogue = mapped, catalogue

    def find(self, person: Person) -> Contents:
        """Select and count every table of the map, the missing and the empty ones, too."""
        contents = Contents(person, firms_to_ask(self._run, self._tx))
        present = self._mapped.present(self._catalogue)
        selector = Selector(present, self._catalogue, person, by_address := {})
        for name, (entry, _) in present.items():
            for column, key in entry.keys.items():
                if key.names == EMAIL and key.export is not Export.NONE:
                    by_address[name, column] = self._by_address(contents, selector, name, column)
        for name in self._mapped.tables:
            contents.tables.append(ArchivedTable(name, present=name in present))
            if name in present:
                self._count(contents, selector.selection(name))
        self._find_documents(contents)
        contents.unmapped = {
            "keys": [str(key) for key in self._mapped.unmapped(self._catalogue)],
            "columns": [
                f"{table}.{column}" for table, column in self._mapped.unmapped_columns(self._catalogue)
            ],
        }
        return contents

    def write(self, archive: ArchiveWriter, contents: Contents, endings: tuple[str, ...]) -> None:
        """Write tables, references, documents, README and manifest."""
        for table in contents.tables:
            if table.rows:
                for ending in endings:
                    self._run.progress(f"{table.table}: {table.rows} rows as {ending}")
                    lines = self._table_lines(contents, contents.selections[table.table], ending)
                    archive.add_lines(f"tables/{table.table}.{ending}", lines, headers=ending == "csv")
        if any(table.references for table in contents.tables):
            for ending in endings:
                lines = self._reference_lines(contents, ending)
                archive.add_lines(f"{REFERENCES}.{ending}", lines, headers=ending == "csv")
        if contents.documents:
            for ending in endings:
                lines = self._document_lines(contents, ending)
                archive.add_lines(f"{DOCUMENTS}.{ending}", lines, headers=ending == "csv")
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

    # -- counting ------------------------------------------------------------------------------------------------

    def _by_address(self, contents: Contents, selector: Selector, name: str, column: str) -> list[int]:
        if not contents.person.emails or not contents.person.firm_ids:
            return []
        query = selector.by_address(name, column)
        if query is None:
            contents.unsearched.append(f"{name}.{column}")
            return []
        return sorted(
            row["id"]
            for _ in self._as_firms(contents, guarded=selector.scope_is_guarded(name))
            for row in self._tx.rows(
                ComposedStatement(f"search {name} by address", query), **contents.person.params()
            )
        )

    def _count(self, contents: Contents, selection: Selection) -> None:
        table = contents.tables[-1]
        table.withheld = list(selection.withheld)
        params = contents.person.params()
        if selection.condition is not None:
            table.rows = sum(
                self._tx.count(ComposedStatement(f"count {table.table}", selection.count()), **params)
                for _ in self._as_firms(contents, guarded=selection.guarded)
            )
        if selection.authored:
            table.references = sum(
                self._tx.count(
                    ComposedStatement(f"count references in {table.table}", selection.count_references()),
                    **params,
                )
                for _ in self._as_firms(contents, guarded=selection.table.guarded)
            )
        contents.selections[table.table] = selection

    def _find_documents(self, contents: Contents) -> None:
        if not {"documents_documents", "documents_versions"} <= set(self._catalogue.tables):
            return
        contents.documents_guarded = self._catalogue.tables["documents_documents"].guarded
        count = template("privacy/export/count_documents", query=_documents())
        contents.documents = sum(
            self._tx.count(ComposedStatement("count documents", count), **contents.person.params())
            for _ in self._as_firms(contents, guarded=contents.documents_guarded)
        )

    # -- writing -------------------------------------------------------------------------------------------------

    def _table_lines(self, contents: Contents, selection: Selection, ending: str) -> Iterator[Line]:
        header = ending == "csv"
        for _ in self._as_firms(contents, guarded=selection.guarded):
            query = selection.as_csv(header=header) if ending == "csv" else selection.as_json()
            yield from self._tx.lines(
                ComposedStatement(f"export {selection.table.name}", query), **contents.person.params()
            )
            header = False

    def _reference_lines(self, contents: Contents, ending: str) -> Iterator[Line]:
        header = ending == "csv"
        for table in contents.tables:
            if not table.references:
                continue
            selection = contents.selections[table.table]
            for query in selection.references():
                for _ in self._as_firms(contents, guarded=selection.table.guarded):
                    copy = _copy(query, REFERENCE_COLUMNS, ending, header=header)
                    yield from self._tx.lines(
                        ComposedStatement(f"references in {table.table}", copy), **contents.person.params()
                    )
                    header = False

    def _document_lines(self, contents: Contents, ending: str) -> Iterator[Line]:
        header = ending == "csv"
        for _ in self._as_firms(contents, guarded=bool(contents.documents_guarded)):
            copy = _copy(_documents(), DOCUMENT_COLUMNS, ending, header=header, text=("name", "file_type"))
            yield from self._tx.lines(ComposedStatement("export documents", copy), **contents.person.params())
            header = False

    def _as_firms(self, contents: Contents, *, guarded: bool) -> Iterator[int | None]:
        for firm_id in contents.visits(guarded=guarded):
            become(self._tx, firm_id)
            yield firm_id


def _documents() -> sql.Composed:
    return part("privacy/export/documents_query")


def _copy(
    query: sql.Composed, columns: tuple[str, ...], ending: str, *, header: bool, text: tuple[str, ...] = ()
) -> sql.Composed:
    from psycopg import sql

    if ending != "csv":
        return template("privacy/export/query_as_json", query=query)
    shown = sql.SQL(", ").join(
        sql.SQL("{} AS {}").format(harmless(sql.Identifier(name)), sql.Identifier(name))
        if name in text
        else sql.Identifier(name)
        for name in columns
    )
    return template("privacy/export/query_as_csv", query=query, columns=shown, header=sql.Literal(header))
