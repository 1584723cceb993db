"""Imports and exports: both go on where a broken stream stopped."""

from __future__ import annotations

import uuid
from collections.abc import Iterator, Sequence
from itertools import islice
from typing import Any

from stead.v1.product_service_pb2 import (
    ExportProductsRequest,
    ImportProductsChunk,
    ImportProductsRequest,
    ImportProductsResponse,
    ImportProductsStart,
    Product,
)

from case import Case

# A chunk is settled whole: at most 500 rows and 1 MiB.
CHUNK_ROWS = 100


class Streams(Case):
    def test_an_import_settles_every_row_and_names_those_it_leaves_out(self) -> None:
        rows = [self.row(number) for number in range(1, 251)]
        rows[6].quantity = -1
        answers = self.load(str(uuid.uuid4()), rows)
        self.assertEqual([answer.next_row for answer in answers], [1, 101, 201, 251])
        last = answers[-1]
        self.assertEqual((last.created, last.updated, last.unchanged, last.failed), (249, 0, 0, 1))
        faults = [fault for answer in answers for fault in answer.faults]
        self.assertEqual([(fault.row, fault.violations[0].field) for fault in faults], [(7, "quantity")])
        self.assertEqual(len(self.skus(page_size=100)), 249)

    def test_an_import_goes_on_where_it_stopped(self) -> None:
        rows = [self.row(number) for number in range(1, 251)]
        import_id = str(uuid.uuid4())
        stopped = self.load(import_id, rows[:CHUNK_ROWS])[-1]
        self.assertEqual(stopped.next_row, 101)
        answers = self.load(import_id, rows[CHUNK_ROWS:], first_row=101)
        self.assertEqual(answers[0].next_row, 101, "the first answer says where to go on")
        self.assertEqual((answers[-1].next_row, answers[-1].created), (251, 250))
        again = self.load(str(uuid.uuid4()), rows)[-1]
        self.assertEqual((again.created, again.unchanged), (0, 250))

    def test_an_export_has_everything_and_goes_on_where_it_stopped(self) -> None:
        # Messages of an export have at most 1 MiB, so that these fill more than one.
        self.load(str(uuid.uuid4()), [self.row(number, description="x" * 8_000) for number in range(1, 201)])
        whole = self.exported()
        self.assertEqual(len(whole), len(set(whole)))
        self.assertLessEqual({product.name for product in self.every(page_size=100)}, set(whole))

        stream = self.products.ExportProducts(ExportProductsRequest())
        begun = next(stream)
        stream.cancel()
        # A small service runs one export at a time, and waits a moment until it knows that this one has ended.
        rest = self.exported(begun.resume_token)
        self.assertGreater(len(rest), 0)
        self.assertEqual([product.name for product in begun.products] + rest, whole)

    def row(self, number: int, **fields: Any) -> Product:
        return Product(sku=f"{self.prefix}{number:04}", display_name=f"Row {number}", **fields)

    def load(self, import_id: str, rows: Sequence[Product], first_row: int = 1) -> list[ImportProductsResponse]:
        """Runs an import to the end of these rows; each message is answered."""

        def messages() -> Iterator[ImportProductsRequest]:
            yield ImportProductsRequest(start=ImportProductsStart(import_id=import_id))
            remaining, row = iter(rows), first_row
            while chunk := list(islice(remaining, CHUNK_ROWS)):
                yield ImportProductsRequest(chunk=ImportProductsChunk(first_row=row, rows=chunk))
                row += len(chunk)

        return list(self.products.ImportProducts(messages()))

    def exported(self, resume_token: str = "") -> list[str]:
        """The names of all products, or of those behind a token."""
        answers = self.products.ExportProducts(ExportProductsRequest(resume_token=resume_token))
        return [product.name for answer in answers for product in answer.products]
