"""The templates of export_user_data, filled for every table of the personal-data map that the schema has."""

from __future__ import annotations

from cp_ops.privacy.catalogue import read_catalogue
from cp_ops.privacy.export.person import Person
from cp_ops.privacy.export.selection import Selector
from cp_ops.privacy.personal_data import EMAIL, load_map
from cp_ops.runtime.database import Transaction
from cp_ops.runtime.outcome import Outcome
from tests.integration.privacy.prepared import prepare

NOBODY = Person(0, {"user": (0,), "membership": (), "portal_user": (), "client": (), "contact": ()})


def test_every_statement_about_a_mapped_table_fits_the_schema(runner):
    prepared = 0
    with runner.connect() as connection:
        catalogue = read_catalogue(Transaction(connection, "privacy/export", Outcome("test", dry_run=True)))
        present = load_map().present(catalogue)
        selector = Selector(present, catalogue, NOBODY, {})
        for name, (entry, _) in present.items():
            extract = selector.extract(name)
            queries = [
                *([extract.count()] if extract.condition is not None else ()),
                *([extract.count_references(), *extract.references()] if extract.authored else ()),
                *(
                    selector.by_address(name, column)
                    for column, key in entry.keys.items()
                    if key.names == EMAIL
                ),
            ]
            for query in filter(None, queries):
                prepare(connection, query)
                prepared += 1
    assert prepared > len(present) / 2
