"""What the tests of export_user_data share: archives that are opened again."""

from __future__ import annotations

import csv
import io
import json
import zipfile


class NoStore:
    """Folders need no store."""

    calls = 0


class Archive:
    """A finished archive, opened."""

    def __init__(self, data: bytes) -> None:
        self.data = data
        self.zip = zipfile.ZipFile(io.BytesIO(data))
        self.manifest = json.loads(self.zip.read("manifest.json"))
        self.tables = {table["table"]: table for table in self.manifest["tables"]}

    @property
    def text(self) -> str:
        return "".join(self.zip.read(name).decode() for name in self.zip.namelist())

    def rows(self, name):
        path = f"{name}.jsonl"
        if path not in self.zip.namelist():
            return []
        return [json.loads(line) for line in self.zip.read(path).decode().splitlines()]

    def table(self, name):
        return self.rows(f"tables/{name}")

    def csv(self, name):
        return list(csv.DictReader(io.StringIO(self.zip.read(f"{name}.csv").decode(), newline="")))
