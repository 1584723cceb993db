"""What the tests share: a connection by STEAD_ENDPOINT and STEAD_KEY, names of their own, refusals, tidying up."""

from __future__ import annotations

import os
import unittest
import uuid
from collections.abc import Callable, Iterator
from typing import Any, ClassVar

import grpc
from stead.v1.auth_service_pb2_grpc import AuthServiceStub
from stead.v1.product_service_pb2 import (
    BatchDeleteProductsRequest,
    CreateProductRequest,
    DeleteProductRequest,
    ListProductsRequest,
    Product,
)
from stead.v1.product_service_pb2_grpc import ProductServiceStub
from stead.v1.tenant_service_pb2_grpc import TenantServiceStub
from stead.v1.user_service_pb2_grpc import UserServiceStub

from connection import connect
from refusal import Refusal


class Case(unittest.TestCase):
    """Tests that call a service. They make what they need under names of their own and delete it at the end, so that
    any tenant will do, one with a catalogue too."""

    endpoint: ClassVar[str]
    channel: ClassVar[grpc.Channel]
    auth: ClassVar[AuthServiceStub]
    products: ClassVar[ProductServiceStub]
    tenants: ClassVar[TenantServiceStub]
    users: ClassVar[UserServiceStub]

    @classmethod
    def setUpClass(cls) -> None:
        cls.endpoint = os.environ.get("STEAD_ENDPOINT", "http://127.0.0.1:50051")
        key = os.environ.get("STEAD_KEY")
        if not key:
            raise RuntimeError("set STEAD_KEY to an API key of your tenant")
        cls.channel = connect(cls.endpoint, key)
        cls.addClassCleanup(cls.channel.close)
        cls.auth = AuthServiceStub(cls.channel)
        cls.products = ProductServiceStub(cls.channel)
        cls.tenants = TenantServiceStub(cls.channel)
        cls.users = UserServiceStub(cls.channel)

    def setUp(self) -> None:
        self.prefix = f"py-{uuid.uuid4().hex[:12]}-"
        self.addCleanup(self._delete_products)

    def create(self, sku: str, **fields: Any) -> Product:
        """A product of this test; the sku gets the test's prefix."""
        fields.setdefault("display_name", f"Product {sku}")
        return self.products.CreateProduct(CreateProductRequest(product=Product(sku=self.prefix + sku, **fields)))

    def every(self, **request: Any) -> Iterator[Product]:
        """The products of this test, page by page; `filter` narrows them further."""
        own = f'sku = "{self.prefix}*"'
        narrowed = f"{own} AND {request.pop('filter')}" if "filter" in request else own
        listing = ListProductsRequest(filter=narrowed, **request)
        while True:
            page = self.products.ListProducts(listing)
            yield from page.products
            # An empty page may have a successor: the empty token is the only end mark.
            if not page.next_page_token:
                return
            listing.page_token = page.next_page_token

    def skus(self, **request: Any) -> list[str]:
        """Their skus in the order of the list, without the prefix."""
        return [product.sku.removeprefix(self.prefix) for product in self.every(**request)]

    def refused(self, method: Callable[..., object], request: object) -> Refusal:
        """The refusal that a call must meet."""
        with self.assertRaises(grpc.RpcError) as caught:
            method(request)
        refusal = Refusal.of(caught.exception)
        self.assertEqual(refusal.domain, "stead")
        self.assertRegex(refusal.trace_id or "", "^[0-9a-f]{32}$")
        return refusal

    def _delete_products(self) -> None:
        doomed = [DeleteProductRequest(name=product.name) for product in self.every(page_size=1000)]
        for start in range(0, len(doomed), 1000):
            self.products.BatchDeleteProducts(BatchDeleteProductsRequest(requests=doomed[start : start + 1000]))
