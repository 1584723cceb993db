"""Who calls, in which tenant, and the tenant's users."""

from __future__ import annotations

import uuid

import grpc
from google.protobuf import json_format
from google.protobuf.field_mask_pb2 import FieldMask
from stead.v1.auth_service_pb2 import (
    ApiKey,
    CreateApiKeyRequest,
    CreateSessionRequest,
    RevokeApiKeyRequest,
    RevokeSessionRequest,
    WhoAmIRequest,
)
from stead.v1.auth_service_pb2_grpc import AuthServiceStub
from stead.v1.product_service_pb2 import CreateProductRequest, ListProductsRequest
from stead.v1.product_service_pb2_grpc import ProductServiceStub
from stead.v1.tenant_service_pb2 import GetTenantRequest, Tenant
from stead.v1.user_service_pb2 import (
    ROLE_EDITOR,
    ROLE_VIEWER,
    BatchGetUsersRequest,
    CreateUserRequest,
    DeleteUserRequest,
    GetUserRequest,
    ListUsersRequest,
    LookupUserRequest,
    SetUserPasswordRequest,
    UndeleteUserRequest,
    UpdateUserRequest,
    User,
)

from case import Case
from connection import connect


class People(Case):
    def own_tenant(self) -> Tenant:
        return self.tenants.GetTenant(GetTenantRequest(name="tenants/current"))

    def test_the_credential_decides_the_tenant(self) -> None:
        me = self.auth.WhoAmI(WhoAmIRequest())
        own = self.own_tenant()
        self.assertEqual(own.name, me.tenant)
        self.assertEqual(own.state, Tenant.STATE_ACTIVE)
        self.assertFalse(me.platform)
        self.assertRegex(me.subject, "^(users|services)/")
        self.assertRegex(me.api_key, "^apiKeys/")
        self.assertIn("products.write", me.permissions)

    def test_a_key_may_do_what_it_was_given_and_no_more(self) -> None:
        wanted = ApiKey(subject="services/python-reader", permissions=["products.read"])
        made = self.auth.CreateApiKey(CreateApiKeyRequest(api_key=wanted))
        self.addCleanup(self.auth.RevokeApiKey, RevokeApiKeyRequest(name=made.api_key.name))
        with connect(self.endpoint, made.secret) as channel:
            products = ProductServiceStub(channel)
            products.ListProducts(ListProductsRequest(page_size=1))
            refusal = self.refused(products.CreateProduct, CreateProductRequest())
        self.assertEqual((refusal.code, refusal.reason), (grpc.StatusCode.PERMISSION_DENIED, "PERMISSION_MISSING"))
        self.assertEqual(refusal.metadata["permission"], "products.write")

    def test_a_user_signs_in_and_out(self) -> None:
        email, slug = f"ada-{uuid.uuid4().hex[:12]}@example.com", self.own_tenant().slug
        wanted = User(email=email, roles=[ROLE_VIEWER])
        user = self.users.CreateUser(CreateUserRequest(user=wanted, password="correct horse"))
        self.addCleanup(self.users.DeleteUser, DeleteUserRequest(name=user.name, allow_missing=True))
        with connect(self.endpoint, None) as channel:
            stranger = AuthServiceStub(channel)
            wrong = CreateSessionRequest(tenant=slug, email=email, password="incorrect horse")
            refusal = self.refused(stranger.CreateSession, wrong)
            made = stranger.CreateSession(CreateSessionRequest(tenant=slug, email=email, password="correct horse"))
        self.assertEqual((refusal.code, refusal.reason), (grpc.StatusCode.UNAUTHENTICATED, "CREDENTIAL_REFUSED"))
        with connect(self.endpoint, made.token) as channel:
            session = AuthServiceStub(channel)
            me = session.WhoAmI(WhoAmIRequest())
            self.assertEqual((me.session, me.subject), (made.session.name, user.name))
            self.assertEqual(list(me.permissions), ["products.read"])
            ended = session.RevokeSession(RevokeSessionRequest(name="sessions/current"))
        self.assertTrue(ended.HasField("revoke_time"))

    def test_the_life_of_a_user(self) -> None:
        ada = f"ada-{uuid.uuid4().hex[:12]}"
        wanted = User(
            email=f"{ada}@Example.com",
            username=ada,
            display_name="Ada",
            roles=[ROLE_EDITOR],
            profile={"team": "catalogue"},
        )
        created = self.users.CreateUser(CreateUserRequest(user=wanted, password="correct horse"))
        self.addCleanup(self.users.DeleteUser, DeleteUserRequest(name=created.name, allow_missing=True))
        self.assertEqual((created.email, created.state), (wanted.email, User.STATE_ACTIVE))
        self.assertNotIn("horse", json_format.MessageToJson(created))
        self.assertEqual(self.users.GetUser(GetUserRequest(name=created.name)), created)
        self.assertEqual(self.users.LookupUser(LookupUserRequest(email=wanted.email.upper())), created)
        self.assertEqual(self.users.LookupUser(LookupUserRequest(username=ada)), created)
        twice = BatchGetUsersRequest(names=[created.name] * 2)
        self.assertEqual(list(self.users.BatchGetUsers(twice).users), [created] * 2)
        found = self.users.ListUsers(ListUsersRequest(filter=f'username = "{ada}" AND role:"EDITOR"'))
        self.assertEqual(list(found.users), [created])

        change = User(name=created.name, etag=created.etag, roles=[ROLE_EDITOR, ROLE_VIEWER], profile={"desk": 7})
        mask = FieldMask(paths=["roles", "profile.desk"])
        updated = self.users.UpdateUser(UpdateUserRequest(user=change, update_mask=mask))
        self.assertEqual(list(updated.roles), [ROLE_EDITOR, ROLE_VIEWER])
        self.assertEqual(json_format.MessageToDict(updated.profile), {"team": "catalogue", "desk": 7})
        password = SetUserPasswordRequest(name=created.name, password="battery staple")
        self.assertEqual(self.users.SetUserPassword(password).etag, updated.etag)

        deleted = self.users.DeleteUser(DeleteUserRequest(name=created.name, etag=updated.etag))
        self.assertTrue(deleted.HasField("delete_time"))
        self.assertEqual(list(self.users.ListUsers(ListUsersRequest(filter=f'username = "{ada}"')).users), [])
        back = self.users.UndeleteUser(UndeleteUserRequest(name=created.name))
        self.assertFalse(back.HasField("delete_time"))
