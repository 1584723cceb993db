"""Products: standard methods, pages, filters, masks, etags, request ids, batches, stock."""

from __future__ import annotations

import uuid
from datetime import datetime, timedelta, timezone
from decimal import Decimal

import grpc
from google.protobuf import json_format
from google.protobuf.field_mask_pb2 import FieldMask
from stead.v1.list_pb2 import COUNT_MODE_EXACT, TOTAL_SIZE_KIND_EXACT
from stead.v1.product_service_pb2 import (
    AdjustProductQuantityRequest,
    BatchCreateProductsRequest,
    BatchGetProductsRequest,
    CreateProductRequest,
    DeleteProductRequest,
    GetProductRequest,
    ListProductsRequest,
    LookupProductRequest,
    Product,
    UndeleteProductRequest,
    UpdateProductRequest,
)

from case import Case
from connection import keyed
from money import amount, money

REPLAY = "stead-idempotent-replay"


class Products(Case):
    def test_what_is_created_is_read_back(self) -> None:
        attributes = {"cm": 40, "oak": True, "makers": ["Ada", None], "care": {"oil": "yearly"}}
        wanted = Product(
            sku=self.prefix + "board",
            display_name="Oak board",
            description="Ein Brett für den Käse 🧀",
            price=money(Decimal("12.50"), "EUR"),
            cost=money(Decimal("7"), "JPY"),
            quantity=2**53,
            tags=["wood", "kitchen"],
            attributes=attributes,
            category="kitchen/boards",
        )
        product_id = str(uuid.uuid4())
        created = self.products.CreateProduct(CreateProductRequest(product=wanted, product_id=product_id))
        self.assertEqual(created.name, f"products/{product_id}")
        self.assertEqual(self.products.GetProduct(GetProductRequest(name=created.name)), created)
        self.assertEqual(self.products.LookupProduct(LookupProductRequest(sku=wanted.sku)), created)

        for field, value in wanted.ListFields():
            self.assertEqual(getattr(created, field.name), value, field.name)
        self.assertEqual(amount(created.price), Decimal("12.50"))
        self.assertEqual(json_format.MessageToDict(created.attributes), attributes)
        self.assertEqual(created.revision, 1)
        self.assertFalse(created.HasField("delete_time"))
        age = datetime.now(timezone.utc) - created.create_time.ToDatetime(timezone.utc)
        self.assertLess(abs(age), timedelta(minutes=5))

    def test_a_read_mask_answers_with_its_fields_alone(self) -> None:
        product = self.create("board", attributes={"cm": 40, "colour": "brown"})
        mask = FieldMask(paths=["sku", "attributes.cm"])
        read = self.products.GetProduct(GetProductRequest(name=product.name, read_mask=mask))
        self.assertEqual(read, Product(sku=product.sku, attributes={"cm": 40}))

    def test_all_pages_together_have_each_product_once(self) -> None:
        for sku in "gcafbed":
            self.create(sku)
        listing = ListProductsRequest(
            filter=f'sku = "{self.prefix}*"', page_size=3, order_by="sku", count_mode=COUNT_MODE_EXACT
        )
        pages = []
        while True:
            page = self.products.ListProducts(listing)
            self.assertEqual((page.total_size, page.total_size_kind), (7, TOTAL_SIZE_KIND_EXACT))
            pages.append("".join(product.sku[-1] for product in page.products))
            if not page.next_page_token:
                break
            listing.page_token = page.next_page_token
        self.assertEqual(pages, ["abc", "def", "g"])

    def test_filters_and_orders(self) -> None:
        boards = [("a", "9.99", 3, ["oak"]), ("b", "10.50", 0, ["oak", "new"]), ("c", "99", 7, [])]
        for sku, price, stock, tags in boards:
            self.create(sku, price=money(Decimal(price), "EUR"), quantity=stock, tags=tags, category=f"shop/{sku}")
        self.create("dollar", price=money(Decimal("50"), "USD"))
        euros = 'price.currency_code = "EUR"'
        self.assertEqual(self.skus(filter=f"{euros} AND price >= 10.50", order_by="sku"), ["b", "c"])
        self.assertEqual(self.skus(filter=euros, order_by="price desc"), ["c", "b", "a"])
        self.assertEqual(self.skus(filter='tags:"oak" AND quantity > 0'), ["a"])
        self.assertEqual(self.skus(filter='(category = "shop/a" OR category = "shop/c")', order_by="sku"), ["a", "c"])
        self.assertEqual(self.skus(filter='NOT tags:"oak"', order_by="create_time desc"), ["dollar", "c"])
        read = self.every(filter="quantity = 7", read_mask=FieldMask(paths=["quantity"]))
        self.assertEqual(list(read), [Product(quantity=7)])

    def test_an_update_changes_what_its_mask_names(self) -> None:
        before = self.create("board", tags=["wood"], attributes={"cm": 40, "colour": "brown"})
        change = Product(name=before.name, etag=before.etag, display_name="Large board", attributes={"cm": 60})
        mask = FieldMask(paths=["display_name", "attributes.cm", "tags"])
        after = self.products.UpdateProduct(UpdateProductRequest(product=change, update_mask=mask))
        self.assertEqual((after.display_name, list(after.tags), after.revision), ("Large board", [], 2))
        self.assertEqual(json_format.MessageToDict(after.attributes), {"cm": 60, "colour": "brown"})
        self.assertNotEqual(after.etag, before.etag)

    def test_an_update_without_a_mask_changes_what_is_populated(self) -> None:
        before = self.create("board", quantity=3, tags=["wood"])
        after = self.products.UpdateProduct(UpdateProductRequest(product=Product(name=before.name, quantity=4)))
        self.assertEqual((after.quantity, after.display_name, after.tags), (4, before.display_name, before.tags))

    def test_a_deleted_product_is_hidden_until_it_is_undeleted(self) -> None:
        product = self.create("board")
        deleted = self.products.DeleteProduct(DeleteProductRequest(name=product.name, etag=product.etag))
        self.assertTrue(deleted.HasField("delete_time"))
        self.assertGreater(deleted.purge_time.ToDatetime(), deleted.delete_time.ToDatetime())
        self.assertEqual(self.skus(), [])
        self.assertEqual(self.skus(show_deleted=True), ["board"])
        back = self.products.UndeleteProduct(UndeleteProductRequest(name=product.name))
        self.assertFalse(back.HasField("delete_time"))
        self.assertEqual(self.skus(), ["board"])

    def test_batches_keep_the_order_asked_for(self) -> None:
        requests = [
            CreateProductRequest(product=Product(sku=self.prefix + sku, display_name=sku)) for sku in ("c", "a", "b")
        ]
        created = self.products.BatchCreateProducts(BatchCreateProductsRequest(requests=requests)).products
        self.assertEqual([product.display_name for product in created], ["c", "a", "b"])
        names = [product.name for product in reversed(created)]
        absent = f"products/{uuid.uuid4()}"
        read = self.products.BatchGetProducts(BatchGetProductsRequest(names=[*names, absent], allow_missing=True))
        self.assertEqual([product.name for product in read.products], names)
        read = self.products.BatchGetProducts(BatchGetProductsRequest(names=names[:1] * 2))
        self.assertEqual([product.name for product in read.products], names[:1] * 2)

    def test_a_write_that_is_sent_again_happens_once(self) -> None:
        product = Product(sku=self.prefix + "board", display_name="Oak board")
        request = CreateProductRequest(product=product, request_id=str(uuid.uuid4()))
        first, call = self.products.CreateProduct.with_call(request)
        self.assertNotIn(REPLAY, initial_metadata(call))
        again, call = self.products.CreateProduct.with_call(request)
        self.assertEqual(initial_metadata(call).get(REPLAY), "true")
        self.assertEqual(again, first)
        self.assertEqual(self.skus(), ["board"])

    def test_a_write_without_a_key_gets_one_and_other_requests_stay_as_they_are(self) -> None:
        request = CreateProductRequest(product=Product(sku=self.prefix + "board"))
        self.assertEqual(len({keyed(request).request_id for _ in range(2)}), 2)
        chosen, read = CreateProductRequest(request_id=str(uuid.uuid4())), GetProductRequest(name="products/x")
        self.assertIs(keyed(chosen), chosen)
        self.assertIs(keyed(read), read)
        self.assertEqual((request.request_id, keyed(None)), ("", None))

    def test_a_rehearsal_changes_nothing(self) -> None:
        product = Product(sku=self.prefix + "board", display_name="Oak board")
        answer = self.products.CreateProduct(CreateProductRequest(product=product, validate_only=True))
        self.assertEqual(answer.sku, product.sku)
        self.assertEqual(self.skus(), [])

    def test_stock_comes_in_and_goes_out(self) -> None:
        product = self.create("board", quantity=5)
        adjusted = self.products.AdjustProductQuantity(AdjustProductQuantityRequest(name=product.name, delta=-5))
        self.assertEqual((adjusted.quantity, adjusted.revision), (0, 2))
        refusal = self.refused(
            self.products.AdjustProductQuantity, AdjustProductQuantityRequest(name=product.name, delta=-1)
        )
        self.assertEqual((refusal.code, refusal.reason), (grpc.StatusCode.FAILED_PRECONDITION, "QUANTITY_INSUFFICIENT"))
        self.assertEqual(refusal.metadata["available"], "0")
        self.assertIn("QUANTITY_INSUFFICIENT", refusal.preconditions)


def initial_metadata(call: grpc.Call) -> dict[str, str | bytes]:
    return dict(call.initial_metadata())
