"""Which rows an erasure covers: from the request's entity along the keys of the personal-data map, within one firm."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from cp_ops.privacy.erasure.identifiers import (
    ADDRESS,
    NAME,
    PHONE,
    Identifiers,
)
from cp_ops.privacy.erasure.needles import addresses_in_text, numbers_in_text
from cp_ops.privacy.firm_scope import rows_of_the_firm
from cp_ops.privacy.personal_data import EMAIL, Erasure, Export, Role
from cp_ops.runtime.statements import ComposedStatement, template

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from psycopg import sql

    from cp_ops.privacy.catalogue import Catalogue, CatalogueTable
    from cp_ops.privacy.personal_data import MappedTable, PersonalDataMap
    from cp_ops.runtime.database import Transaction

WHOLE = ""
"""The `via` of a row that is covered as a whole."""


class Selection:
    """Fills the temporary table ``erasure_selection``.

    :param firm_id: the request's firm; rows of others are never selected, whatever points at them.
    :param own_accounts: tells which accounts belong to nobody else and may be erased; gets (user, portal user ids).
    """

    def __init__(
        self,
        tx: Transaction,
        mapped: PersonalDataMap,
        catalogue: Catalogue,
        firm_id: int,
    ) -> None:
        self._tx = tx
        self._map = mapped
        self._catalogue = catalogue
        self.present = mapped.present(catalogue)
        self.firm_scope = rows_of_the_firm(catalogue, firm_id, strict=False)
        self._strict_scope = rows_of_the_firm(catalogue, firm_id, strict=True)
        self.subjects: dict[str, set[int]] = {subject: set() for subject in mapped.subjects}
        self.identifiers = Identifiers()
        self.accounts: set[int] = set()
        self._pointed_at: dict[str, set[int]] = {subject: set() for subject in mapped.subjects}
        self._selected: dict[str, set[str]] = {}

    def start(self, table: str, ids: Iterable[int]) -> None:
        """Select the request's entity."""
        from psycopg import sql

        key = self._catalogue.tables[table].primary_key
        self._select(
            table, WHOLE, sql.SQL("line.{} = ANY(%(ids)s)").format(sql.Identifier(key)), ids=sorted(ids)
        )

    def erase_accounts(self, user_ids: Iterable[int]) -> None:
        """Cover these accounts as a whole."""
        self.subjects["user"] |= set(user_ids)
        self.start("auth_user", self.subjects["user"])

    def close(self) -> None:
        """Follow the keys until nothing new is found."""
        grown = True
        while grown:
            grown = self._learn()
            for table in self.present:
                for via, condition, params in self._conditions(table):
                    grown |= self._select(table, via, condition, **params)

    def mentions(self) -> None:
        """Select, once nothing leads any further, the rows whose content is searched: the map's `mentions`."""
        from psycopg import sql

        known = (addresses_in_text(self.identifiers.addresses), numbers_in_text(self.identifiers.phones))
        looked_for = [needles for needles in known if needles.patterns]
        for table, (entry, _) in self.present.items():
            scope = self._strict_scope.condition(table)
            for column, treated in entry.columns.items():
                if treated.mentions and looked_for and scope is not None:
                    mentioned = sql.SQL(" OR ").join(needles.within(column) for needles in looked_for)
                    params = {name: value for needles in looked_for for name, value in needles.params.items()}
                    self._select(table, column, sql.SQL("({}) AND {}").format(mentioned, scope), **params)

    def _select(self, table: str, via: str, condition: sql.Composable, **params: Any) -> bool:
        from psycopg import sql

        found = self._tx.execute(
            ComposedStatement(
                f"selecting rows of {table}",
                template(
                    "privacy/erasure/select_rows",
                    table=sql.Identifier(table),
                    table_name=sql.Literal(table),
                    key=sql.Identifier(self._catalogue.tables[table].primary_key),
                    via=sql.Literal(via),
                    condition=condition,
                ),
            ),
            **params,
        )
        if found:
            self._selected.setdefault(table, set()).add(via)
        return found > 0

    def _learn(self) -> bool:
        """Read the selected persons' own rows: their ids, keys that lead on, identifiers."""
        before = (sum(map(len, self.subjects.values())), len(self.identifiers.addresses), len(self.accounts))
        for subject, table in self._map.subjects.items():
            vias = {via for via in self._selected.get(table, ()) if via not in self._map.passing(table)}
            if table in self.present:
                self._learn_from(subject, table, vias & {WHOLE})
                self._learn_from(subject, table, vias - {WHOLE})
        after = (sum(map(len, self.subjects.values())), len(self.identifiers.addresses), len(self.accounts))
        return after != before

    def _learn_from(self, subject: str, table: str, vias: set[str]) -> None:
        """Read the persons of a table.

        From a row that is covered as a whole every key leads on: from a client to the prospect that it was. From one that
        only bears a person's address only those lead on that are this person's for sure: a prospect's lead may be a
        colleague of its contact.
        """
        from psycopg import sql

        if not vias:
            return
        entry, facts = self.present[table]
        onward = {
            column: key.names
            for column, key in entry.keys.items()
            if key.role is Role.ABOUT
            and key.names != EMAIL
            and column != facts.primary_key
            and (vias == {WHOLE} or key.export is not Export.NONE)
        }
        telling = [
            column
            for column, treated in entry.columns.items()
            if treated.erasure is not Erasure.KEEP
            and (ADDRESS.search(column) or PHONE.search(column) or NAME.match(column))
        ]
        columns = [facts.primary_key, *onward, *telling]
        rows = self._tx.rows(
            ComposedStatement(
                f"reading persons of {table}",
                template(
                    "privacy/erasure/rows_of_subject",
                    columns=sql.SQL(", ").join(
                        sql.SQL("line.{}").format(sql.Identifier(name)) for name in columns
                    ),
                    table=sql.Identifier(table),
                    table_name=sql.Literal(table),
                    key=sql.Identifier(facts.primary_key),
                    key_type=sql.SQL(facts.columns[facts.primary_key]),
                ),
            ),
            vias=sorted(vias),
        )
        for row in rows:
            self.subjects[subject].add(row[facts.primary_key])
            self.identifiers.learn({name: row[name] for name in telling})
            for column, names in onward.items():
                if row[column] is None:
                    continue
                if names == "user":
                    self.accounts.add(row[column])
                else:
                    self.subjects[names].add(row[column])
                    self._pointed_at[names].add(row[column])

    def _conditions(self, table: str) -> Iterator[tuple[str, sql.Composable, dict[str, Any]]]:
        from psycopg import sql

        entry, facts = self.present[table]
        for column, key in entry.keys.items():
            if key.role is Role.AUTHOR:
                continue
            name = sql.SQL("line.{}").format(sql.Identifier(column))
            if key.names == EMAIL:
                scope = self._strict_scope.condition(table)
                if scope is not None and self.identifiers.addresses:
                    addresses = sorted(self.identifiers.addresses)
                    condition = sql.SQL("lower({}) = ANY(%(values)s) AND {}").format(name, scope)
                    yield column, condition, {"values": addresses}
            elif ids := (self._pointed_at if column == facts.primary_key else self.subjects)[key.names]:
                whole = key.role is Role.BELONGS or column == facts.primary_key
                yield (
                    WHOLE if whole else column,
                    sql.SQL("{} = ANY(%(values)s) AND {}").format(name, self._own_scope(table)),
                    {"values": sorted(ids)},
                )
        yield from self._of_parents(table, entry, facts)

    def _of_parents(
        self, table: str, entry: MappedTable, facts: CatalogueTable
    ) -> Iterator[tuple[str, sql.Composable, dict[str, Any]]]:
        """Follow a parent; a part that names its own person follows only a parent that is covered as a whole."""
        from psycopg import sql

        del facts
        names_somebody = any(key.role is Role.ABOUT for key in entry.keys.values())
        for column, parent in entry.parents.items():
            vias = self._selected.get(parent.table, set())
            passing = self._map.passing(parent.table)
            followed = [via for via in vias if via == WHOLE or not (names_somebody or via in passing)]
            if followed:
                kind = self._catalogue.tables[table].columns[column]
                yield (
                    WHOLE,
                    sql.SQL(
                        "line.{} IN (SELECT row_id::{} FROM erasure_selection WHERE table_name = {} AND via = ANY(%(vias)s))"
                        " AND {}"
                    ).format(
                        sql.Identifier(column),
                        sql.SQL(kind),
                        sql.Literal(parent.table),
                        self._own_scope(table),
                    ),
                    {"vias": sorted(followed)},
                )

    def _own_scope(self, table: str) -> sql.Composable:
        from psycopg import sql

        return self.firm_scope.condition(table) or sql.SQL("true")
