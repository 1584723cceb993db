"""What a refusal says: a code, a reason to decide by, and the details that belong to it."""

from __future__ import annotations

import uuid
from collections.abc import Callable

import grpc
from google.protobuf.field_mask_pb2 import FieldMask
from stead.v1.product_service_pb2 import (
    BatchCreateProductsRequest,
    BatchGetProductsRequest,
    CreateProductRequest,
    DeleteProductRequest,
    GetProductRequest,
    ListProductsRequest,
    Product,
    UpdateProductRequest,
)
from stead.v1.product_service_pb2_grpc import ProductServiceStub

from case import Case
from connection import connect
from refusal import Refusal


class Refusals(Case):
    def test_every_broken_rule_is_named_by_its_field(self) -> None:
        product = Product(sku="x" * 101, quantity=-1, tags=["new", "new"])
        request = CreateProductRequest(product=product, request_id="no uuid")
        refusal = self.told("INVALID_ARGUMENT", "FIELD_RULE_BROKEN", self.products.CreateProduct, request)
        fields = {"product.sku", "product.display_name", "product.quantity", "product.tags[1]", "request_id"}
        self.assertEqual(set(refusal.violations), fields)
        self.assertTrue(all(refusal.violations.values()))

    def test_what_does_not_exist_is_named(self) -> None:
        name = f"products/{uuid.uuid4()}"
        request = GetProductRequest(name=name)
        refusal = self.told("NOT_FOUND", "RESOURCE_NOT_FOUND", self.products.GetProduct, request)
        self.assertEqual(refusal.resource_name, name)

    def test_a_sku_that_is_taken_is_named_by_its_key(self) -> None:
        taken = Product(sku=self.create("board").sku, display_name="Another board")
        request = CreateProductRequest(product=taken)
        refusal = self.told("ALREADY_EXISTS", "RESOURCE_ALREADY_EXISTS", self.products.CreateProduct, request)
        self.assertEqual(dict(refusal.metadata), {"resource": "product", "field": "sku"})

    def test_a_stale_etag_is_answered_with_the_current_one(self) -> None:
        before = self.create("board")
        change = UpdateProductRequest(product=Product(name=before.name, etag=before.etag, quantity=1))
        after = self.products.UpdateProduct(change)
        refusal = self.told("ABORTED", "ETAG_MISMATCH", self.products.UpdateProduct, change)
        self.assertEqual(refusal.metadata["current_etag"], after.etag)
        request = DeleteProductRequest(name=before.name, etag=before.etag)
        self.told("ABORTED", "ETAG_MISMATCH", self.products.DeleteProduct, request)

    def test_a_request_id_belongs_to_one_request(self) -> None:
        request_id = str(uuid.uuid4())
        first = Product(sku=self.prefix + "first", display_name="First")
        self.products.CreateProduct(CreateProductRequest(product=first, request_id=request_id))
        other = Product(sku=self.prefix + "other", display_name="Other")
        request = CreateProductRequest(product=other, request_id=request_id)
        refusal = self.told("INVALID_ARGUMENT", "REQUEST_ID_REUSED", self.products.CreateProduct, request)
        self.assertIn("request_id", refusal.violations)
        self.assertEqual(self.skus(), ["first"])

    def test_a_page_token_belongs_to_one_list(self) -> None:
        self.create("a")
        self.create("b")
        by_sku = ListProductsRequest(filter=f'sku = "{self.prefix}*"', order_by="sku", page_size=1)
        token = self.products.ListProducts(by_sku).next_page_token
        by_name = ListProductsRequest(filter=by_sku.filter, order_by="display_name", page_token=token)
        refusal = self.told("INVALID_ARGUMENT", "PAGE_TOKEN_MISMATCH", self.products.ListProducts, by_name)
        self.assertIn("page_token", refusal.violations)
        forged = ListProductsRequest(page_token=token[:-1] + ("A" if token[-1] != "A" else "B"))
        self.told("INVALID_ARGUMENT", "PAGE_TOKEN_INVALID", self.products.ListProducts, forged)

    def test_a_filter_and_a_mask_say_what_they_do_not_know(self) -> None:
        request = ListProductsRequest(filter="colour = brown")
        refusal = self.told("INVALID_ARGUMENT", "FILTER_INVALID", self.products.ListProducts, request)
        self.assertIn("display_name", refusal.violations["filter"])
        change = UpdateProductRequest(product=self.create("board"), update_mask=FieldMask(paths=["colour"]))
        refusal = self.told("INVALID_ARGUMENT", "FIELD_RULE_BROKEN", self.products.UpdateProduct, change)
        self.assertTrue(any(field.startswith("update_mask") for field in refusal.violations), refusal)

    def test_a_batch_with_faults_changes_nothing(self) -> None:
        fine = Product(sku=self.prefix + "fine", display_name="Fine")
        requests = [CreateProductRequest(product=product) for product in (fine, Product(sku=self.prefix + "nameless"))]
        batch = BatchCreateProductsRequest(requests=requests)
        refusal = self.told("INVALID_ARGUMENT", "FIELD_RULE_BROKEN", self.products.BatchCreateProducts, batch)
        self.assertEqual(list(refusal.violations), ["requests[1].product.display_name"])
        self.assertEqual(self.skus(), [])

        names = [self.create("there").name, f"products/{uuid.uuid4()}", f"products/{uuid.uuid4()}"]
        request = BatchGetProductsRequest(names=names)
        refusal = self.told("NOT_FOUND", "RESOURCE_NOT_FOUND", self.products.BatchGetProducts, request)
        self.assertEqual(list(refusal.violations), ["names[1]", "names[2]"])

    def test_strangers_are_turned_away(self) -> None:
        for key in (None, "stead_key_made_up"):
            with self.subTest(key=key), connect(self.endpoint, key) as channel:
                products = ProductServiceStub(channel)
                self.told("UNAUTHENTICATED", "CREDENTIAL_REFUSED", products.ListProducts, ListProductsRequest())

    def told(self, code: str, reason: str, method: Callable[..., object], request: object) -> Refusal:
        refusal = self.refused(method, request)
        self.assertEqual((refusal.code, refusal.reason), (grpc.StatusCode[code], reason), refusal.message)
        self.assertIsNone(refusal.retry_delay, "none of these is mended by trying again")
        return refusal
