"""The selection: the temporary table that holds which rows an erasure covers, within one firm. The rules are in `reach`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from psycopg import sql

from cp_ops.privacy.erasure.identifiers import Identifiers
from cp_ops.privacy.erasure.needles import addresses_in_text, any_within, numbers_in_text
from cp_ops.privacy.erasure.reach import (
    WHOLE,
    followed_to_parts,
    identifying_columns,
    keys_to_rows,
    mentioning_columns,
    onward_keys,
)
from cp_ops.privacy.firm_scope import rows_of_the_firm
from cp_ops.privacy.personal_data import EMAIL
from cp_ops.runtime.statements import ComposedStatement, template

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping
    from contextlib import AbstractContextManager

    from cp_ops.privacy.catalogue import Catalogue
    from cp_ops.privacy.erasure.reach import KeyToRows
    from cp_ops.privacy.personal_data import PersonalDataMap
    from cp_ops.runtime.database import Transaction
    from cp_ops.runtime.job import JobRun

Condition = tuple[sql.Composable, dict[str, Any]]
"""Which rows of a table, which the statement calls ``line``; and the values that it binds."""


def erasure_selection(run: JobRun) -> AbstractContextManager[None]:
    """Keep the temporary table ``erasure_selection``, also in a dry run."""
    return run.temporary_tables(["create_erasure_selection"], "drop_erasure_selection")


class ErasureSelection:
    """Fills the temporary table ``erasure_selection``.

    :param firm_id: the request's firm; rows of others are never selected, whatever points at them.
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
        # A key that leads to a row vouches for it, so a row of no firm may be the firm's. An address or a text that
        # happens to be the same vouches for nothing: there the row itself must name the firm.
        self.firm_scope = rows_of_the_firm(catalogue, firm_id, strict=False)
        self._strict_scope = rows_of_the_firm(catalogue, firm_id, strict=True)
        self.subjects: dict[str, set[int]] = {subject: set() for subject in mapped.subjects}
        self.identifiers = Identifiers()
        self.accounts: set[int] = set()
        self._pointed_at: dict[str, set[int]] = {subject: set() for subject in mapped.subjects}
        self._selected: dict[str, set[str]] = {}

    def start(self, table: str, ids: Iterable[int]) -> None:
        """Select the request's entity."""
        key = self._catalogue.tables[table].primary_key
        condition = sql.SQL("line.{} = ANY(%(ids)s)").format(sql.Identifier(key))
        self._select(table, WHOLE, (condition, {"ids": sorted(ids)}))

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
                for via, condition in self._conditions(table):
                    grown |= self._select(table, via, condition)

    def select_mentions(self) -> None:
        """Select the rows whose content mentions the person, once nothing leads any further.

        It comes last, as such a row is somebody else's: nothing is learned from it, and no key is followed from it.
        """
        known = (addresses_in_text(self.identifiers.addresses), numbers_in_text(self.identifiers.phones))
        params = {name: values for needles in known for name, values in needles.params.items()}
        for table, (entry, _) in self.present.items():
            scope = self._strict_scope.condition(table)
            for column in mentioning_columns(entry):
                mentioned = any_within(column, known)
                if mentioned is not None and scope is not None:
                    self._select(table, column, (sql.SQL("{} AND {}").format(mentioned, scope), params))

    def _select(self, table: str, via: str, condition: Condition) -> bool:
        rows, params = condition
        query = template(
            "privacy/erasure/select_rows",
            table=sql.Identifier(table),
            table_name=sql.Literal(table),
            key=sql.Identifier(self._catalogue.tables[table].primary_key),
            via=sql.Literal(via),
            condition=rows,
        )
        found = self._tx.execute(ComposedStatement(f"selecting rows of {table}", query), **params)
        if found:
            self._selected.setdefault(table, set()).add(via)
        return found > 0

    def _learn(self) -> bool:
        """Read the selected persons' own rows; tells whether anything new came of it."""
        before = self._known()
        for subject, table in self._map.subjects.items():
            if table in self.present:
                # A row that is not the person's for sure must teach nothing: its names and keys may be another's.
                vias = self._selected.get(table, set()) - self._map.passing(table)
                self._learn_from(subject, table, vias & {WHOLE}, whole=True)
                self._learn_from(subject, table, vias - {WHOLE}, whole=False)
        return self._known() != before

    def _known(self) -> tuple[int, int, int]:
        # What leads to further rows. Names and numbers do not: they are searched for at the end.
        ids = sum(map(len, self.subjects.values()))
        return ids, len(self.identifiers.addresses), len(self.accounts)

    def _learn_from(self, subject: str, table: str, vias: set[str], *, whole: bool) -> None:
        """Read the persons of a table: their ids, the keys that lead on, what identifies them.

        :param vias: the ways by which their rows were reached.
        """
        if not vias:
            return
        entry, facts = self.present[table]
        onward = onward_keys(entry, facts.primary_key, whole=whole)
        identifying = identifying_columns(entry)
        for row in self._rows_of_subject(table, [facts.primary_key, *onward, *identifying], vias):
            self.subjects[subject].add(row[facts.primary_key])
            self.identifiers.learn({name: row[name] for name in identifying})
            for column, names in onward.items():
                if row[column] is not None:
                    self._lead_on(names, row[column])

    def _rows_of_subject(self, table: str, columns: Iterable[str], vias: set[str]) -> list[dict[str, Any]]:
        facts = self._catalogue.tables[table]
        query = template(
            "privacy/erasure/rows_of_subject",
            columns=sql.SQL(", ").join(sql.SQL("line.{}").format(sql.Identifier(name)) for name in columns),
            table=sql.Identifier(table),
            table_name=sql.Literal(table),
            key=sql.Identifier(facts.primary_key),
            key_type=sql.SQL(facts.columns[facts.primary_key]),
        )
        return self._tx.rows(ComposedStatement(f"reading persons of {table}", query), vias=sorted(vias))

    def _lead_on(self, names: str, key: int) -> None:
        # An account may be used elsewhere, too. It is only noted here; whether it is erased is decided outside.
        if names == "user":
            self.accounts.add(key)
        else:
            self.subjects[names].add(key)
            self._pointed_at[names].add(key)

    def _conditions(self, table: str) -> Iterator[tuple[str, Condition]]:
        """Give the conditions under which rows of a table are covered, each with the way of these rows."""
        entry, facts = self.present[table]
        for key in keys_to_rows(entry, facts.primary_key):
            condition = self._by_address(table, key.column) if key.names == EMAIL else self._by_id(table, key)
            if condition is not None:
                yield key.via, condition
        for column, parent in entry.parents.items():
            followed = followed_to_parts(
                self._selected.get(parent.table, ()), entry, self._map.passing(parent.table)
            )
            if followed:
                yield WHOLE, self._of_parent(table, column, parent.table, followed)

    def _by_address(self, table: str, column: str) -> Condition | None:
        scope = self._strict_scope.condition(table)
        if scope is None or not self.identifiers.addresses:
            return None
        condition = sql.SQL("lower(line.{}) = ANY(%(values)s) AND {}").format(sql.Identifier(column), scope)
        return condition, {"values": sorted(self.identifiers.addresses)}

    def _by_id(self, table: str, key: KeyToRows) -> Condition | None:
        known: Mapping[str, set[int]] = self._pointed_at if key.is_own else self.subjects
        if not known[key.names]:
            return None
        condition = sql.SQL("line.{} = ANY(%(values)s) AND {}").format(
            sql.Identifier(key.column), self._own_scope(table)
        )
        return condition, {"values": sorted(known[key.names])}

    def _of_parent(self, table: str, column: str, parent: str, vias: list[str]) -> Condition:
        condition = sql.SQL(
            "line.{} IN (SELECT row_id::{} FROM erasure_selection WHERE table_name = {} AND via = ANY(%(vias)s)) AND {}"
        ).format(
            sql.Identifier(column),
            sql.SQL(self._catalogue.tables[table].columns[column]),
            sql.Literal(parent),
            self._own_scope(table),
        )
        return condition, {"vias": vias}

    def _own_scope(self, table: str) -> sql.Composable:
        # A table from which no key leads to a firm, such as `auth_user`: only the key that led here speaks for the row.
        return self.firm_scope.condition(table) or sql.SQL("true")
