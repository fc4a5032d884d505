"""The page for the person that an export begins with."""

from __future__ import annotations

from typing import TYPE_CHECKING

from cp_ops.privacy.export.archive import Ending

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from cp_ops.privacy.export.archive import ArchivedTable

NAMES: dict[str, str] = {Ending.JSONL: "JSON Lines", Ending.CSV: "CSV"}
TEXT = """\
YOUR DATA

This archive holds what ConsultantPro stores about you, as you asked for under article 15 and 20 of the GDPR
or under the CCPA. It was read at one moment: nothing in it is older or newer than the rest.

What is in it
{files}
  manifest.json     every place that was searched, with the number of rows found there, also where there are none;
                    the size and the SHA-256 checksum of every file

What was found
{tables}

What is not in it
  Passwords, login tokens and other secrets. Data of other people: where a row is also about somebody else, their
  part is left empty. What other organisations store, and the contents of uploaded files: ask for a file by its
  number. Columns that were left out are listed in manifest.json under "withheld".

Dates and times are in UTC.{csv}
"""
CSV_NOTE = """ In the CSV files a text that a spreadsheet could take for a formula begins with an
apostrophe; the JSON files hold it unchanged."""


def readme(tables: Iterable[ArchivedTable], endings: Sequence[str], *, documents: int) -> str:
    """Write the page: in plain words, without a date, the same for the same contents."""
    found = [table for table in tables if table.rows or table.references]
    kinds = " and ".join(NAMES[ending] for ending in endings)
    files = [f"  tables/           what is about you, one file per kind of data ({kinds})"]
    if any(table.references for table in found):
        files.append("  references        what you did to data that is about others: which row, and when")
    if documents:
        files.append(
            f"  documents         the {documents} documents that you uploaded or that your company sees"
        )
    lines = [f"  {table.table:<44} {table.rows:>8} rows {table.references:>8} references" for table in found]
    return TEXT.format(
        files="\n".join(files), tables="\n".join(lines), csv=CSV_NOTE if Ending.CSV in endings else ""
    )
