//! Bad input of every kind is refused as INVALID_ARGUMENT with every fault, and `validate_only` refuses as a write would and
//! leaves nothing.
//! Leaves each field's own bounds to its domain.

use prost::Message;
use stead_api::v1;
use stead_client::{NewTenant, NewUser, ProductPatch, Role, TenantPatch, UserPatch};
use tonic::{Code, Status};
use uuid::Uuid;

use crate::{
    fixture::{Refusal, Refused, Tenant, bytes_with, call, call_with, platform, raw, shared, tenant},
    products,
};

/// Everything that a write may leave behind.
async fn traces(tenant: &Tenant) -> Vec<i64> {
    let mut counts = vec![];
    for table in [
        "tenants",
        "users",
        "user_credentials",
        "api_keys",
        "sessions",
        "products",
        "imports",
        "request_ids",
        "journal",
    ] {
        counts.push(shared().await.count(table, tenant.id).await);
    }
    counts
}

/// What is no message at all, or a message with a text that is not UTF-8.
const MALFORMED: &[(&str, &[u8])] = &[
    ("a broken tag", &[0xff, 0xff, 0xff]),
    ("a length beyond the end", &[0x0a, 0x7f, b'x']),
    ("a field number of zero", &[0x00, 0x00]),
    ("a group that does not end", &[0x0b]),
    ("a wire type that does not exist", &[0x0f]),
    ("a varint without an end", &[0x08, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80]),
    ("another wire type for the first field", &[0x0d, 0, 0, 0, 0]),
];

#[tokio::test]
async fn what_does_not_decode_is_the_callers_fault_in_every_method() {
    let (tenant, platform) = (tenant().await, platform().await);
    for method in stead_api::METHODS.iter().filter(|method| method.path != "/stead.v1.AuthService/WhoAmI") {
        let client = if method.permission.starts_with("tenants.") { &platform } else { &tenant.client };
        for (what, bytes) in MALFORMED {
            let refusal = raw(client, method.path, bytes.to_vec()).await.refusal();
            assert!(refusal.is(Code::InvalidArgument, "MALFORMED_MESSAGE"), "{} with {what}: {refusal:?}", method.path);
        }
    }
}

#[tokio::test]
async fn text_that_is_not_utf_8_is_refused_wherever_it_stands() {
    let tenant = tenant().await;
    let before = traces(&tenant).await;
    // (method, the path of field numbers to a string)
    let places: &[(&str, &[u8])] = &[
        ("ProductService/GetProduct", &[1]),
        ("ProductService/LookupProduct", &[1]),
        ("ProductService/ListProducts", &[2]),
        ("ProductService/CreateProduct", &[1, 2]),
        ("ProductService/CreateProduct", &[1, 3]),
        ("ProductService/CreateProduct", &[1, 4]),
        ("ProductService/CreateProduct", &[1, 8]),
        ("ProductService/CreateProduct", &[1, 5, 1]),
        ("ProductService/CreateProduct", &[1, 9, 1, 1]),
        ("ProductService/UpdateProduct", &[2, 1]),
        ("SearchService/SearchProducts", &[1]),
        ("SearchService/SearchProducts", &[2, 2]),
        ("SearchService/SuggestProducts", &[1]),
        ("UserService/CreateUser", &[1, 2]),
        ("UserService/CreateUser", &[3]),
        ("AuthService/CreateApiKey", &[1, 4]),
        ("AuthService/CreateSession", &[3]),
        ("AuditService/GetAuditEntry", &[1]),
    ];
    for (method, path) in places {
        for text in [&b"\xff"[..], b"caf\xe9", b"\xed\xa0\x80", b"\xc0\x80", b"\xf5\x80\x80\x80"] {
            let message = path.iter().rev().fold(text.to_vec(), |inner, field| {
                let mut outer = vec![field << 3 | 2, inner.len() as u8];
                outer.extend(inner);
                outer
            });
            let refusal = raw(&tenant.client, method, message).await.refusal();
            assert!(refusal.is(Code::InvalidArgument, "MALFORMED_MESSAGE"), "{method} {path:?}: {refusal:?}");
        }
    }
    assert_eq!(traces(&tenant).await, before);
}

#[tokio::test]
async fn names_have_one_form() {
    let tenant = tenant().await;
    let id = Uuid::now_v7();
    let malformed = [
        String::new(),
        id.to_string(),
        "products/".into(),
        "products/x".into(),
        format!("products/{}", id.simple()),
        format!("products/{{{id}}}"),
        format!("products/urn:uuid:{id}"),
        format!("products/{id}/"),
        format!(" products/{id}"),
        format!("products/{id} "),
        format!("Products/{id}"),
        format!("users/{id}"),
        format!("tenants/{id}/products/{id}"),
        format!("products/{id}\0"),
        "products/../users".into(),
        "x".repeat(1_000_000),
    ];
    for name in malformed {
        let get = v1::GetProductRequest { name: name.clone(), ..Default::default() };
        call::<_, v1::Product>(&tenant.client, "ProductService/GetProduct", &get).await.refusal().breaks(&["name"]);
        let delete = v1::DeleteProductRequest { name: name.clone(), ..Default::default() };
        call::<_, v1::Product>(&tenant.client, "ProductService/DeleteProduct", &delete)
            .await
            .refusal()
            .breaks(&["name"]);
        let product = Some(v1::Product { name: name.clone(), ..Default::default() });
        let update = v1::UpdateProductRequest { product, ..Default::default() };
        call::<_, v1::Product>(&tenant.client, "ProductService/UpdateProduct", &update)
            .await
            .refusal()
            .breaks(&["product.name"]);
    }
    let product = tenant.client.products().create(products::new("case")).send().await.expect("created");
    let upper = v1::GetProductRequest {
        name: format!("products/{}", product.id.uuid().to_string().to_uppercase()),
        ..Default::default()
    };
    call::<_, v1::Product>(&tenant.client, "ProductService/GetProduct", &upper).await.expect("letters of either case");
}

#[tokio::test]
async fn every_method_that_takes_a_name_refuses_what_is_none() {
    let (tenant, platform) = (tenant().await, platform().await);
    for (method, client) in [
        ("ProductService/GetProduct", &tenant.client),
        ("UserService/GetUser", &tenant.client),
        ("UserService/DeleteUser", &tenant.client),
        ("AuthService/RevokeApiKey", &tenant.client),
        ("AuthService/ExtendSession", &tenant.client),
        ("AuthService/RevokeSession", &tenant.client),
        ("AuditService/GetAuditEntry", &tenant.client),
        ("TenantService/GetTenant", &platform),
        ("TenantService/DeleteTenant", &platform),
    ] {
        let id = Uuid::now_v7();
        for name in
            [String::new(), id.to_string(), format!("others/{id}"), format!("products/{id}/x"), "tenants/mine".into()]
        {
            // The name is the first field of each.
            let request = v1::RevokeApiKeyRequest { name: name.clone(), ..Default::default() };
            let refusal = raw(client, method, request.encode_to_vec()).await.refusal();
            assert_eq!(refusal.fields, ["name"], "{method} of {name:?}: {refusal:?}");
        }
    }
}

#[tokio::test]
async fn look_ups_refuse_what_no_key_can_be() {
    let tenant = tenant().await;
    for sku in ["".to_owned(), "x".repeat(101), "a\0b".into()] {
        tenant.client.products().lookup(sku).send().await.refusal().breaks(&["sku"]);
    }
    tenant
        .client
        .products()
        .lookup("ß".repeat(100))
        .send()
        .await
        .map(drop)
        .refusal()
        .is(Code::NotFound, "RESOURCE_NOT_FOUND");
    let platform = platform().await;
    for slug in ["".to_owned(), "x".repeat(64), "Acme".into(), "-a".into(), "a-".into(), "a\0".into(), "a.b".into()] {
        let request = v1::LookupTenantRequest { slug, ..Default::default() };
        call::<_, v1::Tenant>(&platform, "TenantService/LookupTenant", &request).await.refusal().breaks(&["slug"]);
    }
}

#[tokio::test]
async fn headers_that_mean_something_are_checked() {
    let tenant = tenant().await;
    let ask = async |name: &'static str, value: &str| {
        let answer = bytes_with(&tenant.client, "ProductService/ListProducts", vec![], |headers| {
            headers.insert(name, value.parse().expect("a header"));
        });
        answer.await
    };
    for timeout in ["5", "S", "123456789S", "-1S", "1s", "1.5S", ""] {
        ask("grpc-timeout", timeout).await.refusal().breaks(&["metadata.grpc-timeout"]);
    }
    ask("stead-reason", &"x".repeat(200)).await.expect("200 characters");
    ask("stead-reason", &"%C3%9F".repeat(200)).await.expect("200 characters of two bytes");
    for reason in [&"x".repeat(201), "%ff", "a%00b"] {
        ask("stead-reason", reason).await.refusal().breaks(&["metadata.stead-reason"]);
    }
}

#[tokio::test]
async fn what_is_larger_than_four_mebibytes_is_not_read() {
    let tenant = tenant().await;
    let product = v1::Product { description: "x".repeat(4 * 1024 * 1024), ..Default::default() };
    let request = v1::CreateProductRequest { product: Some(product), ..Default::default() };
    let refusal = call::<_, v1::Product>(&tenant.client, "ProductService/CreateProduct", &request).await.refusal();
    assert!(refusal.is(Code::InvalidArgument, "REQUEST_TOO_LARGE"), "{refusal:?}");
    let large = v1::Product { description: "x".repeat(4 * 1024 * 1024 - 1000), ..Default::default() };
    let request = v1::CreateProductRequest { product: Some(large), ..Default::default() };
    let refusal = call::<_, v1::Product>(&tenant.client, "ProductService/CreateProduct", &request).await.refusal();
    refusal.breaks(&["product.sku", "product.display_name", "product.description"]);
}

#[tokio::test]
async fn unknown_fields_are_passed_over() {
    let tenant = tenant().await;
    let mut message = v1::LookupProductRequest { sku: "nothing".into(), ..Default::default() }.encode_to_vec();
    message.extend([0xf8, 0x7f, 0x01]);
    assert!(
        raw(&tenant.client, "ProductService/LookupProduct", message)
            .await
            .refusal()
            .is(Code::NotFound, "RESOURCE_NOT_FOUND")
    );
}

#[tokio::test]
async fn validate_only_runs_each_write_and_leaves_nothing() {
    let tenant = tenant().await;
    let (client, platform) = (&tenant.client, platform().await);
    let product = client.products().create(products::full("standing")).send().await.expect("created");
    let owner = client.users().create(NewUser::new("o@x.org").role(Role::Owner)).send().await.expect("an owner");
    let user = client.users().create(NewUser::new("u@x.org").role(Role::Owner)).send().await.expect("a user");
    let before = traces(&tenant).await;

    let made = client.products().create(products::full("dry")).validate_only().send().await.expect("would be created");
    assert_eq!((made.sku.as_str(), made.revision), ("dry", 1));
    let patch = ProductPatch::new().quantity(77);
    let changed = client
        .products()
        .update(product.id, patch)
        .etag(&product.etag)
        .validate_only()
        .send()
        .await
        .expect("would be changed");
    assert_eq!((changed.quantity, changed.revision), (77, 2));
    let deleted = client.products().delete(product.id).validate_only().send().await.expect("would be deleted");
    assert!(deleted.delete_time.is_some());
    let made = client.users().create(NewUser::new("dry@x.org").password("long enough")).validate_only().send().await;
    assert_eq!(made.expect("would be created").email, "dry@x.org");
    client
        .users()
        .update(user.id, UserPatch::new().display_name("Dry"))
        .validate_only()
        .send()
        .await
        .expect("would be changed");
    client
        .users()
        .update(user.id, UserPatch::new().roles([]))
        .validate_only()
        .send()
        .await
        .expect("would lose its role");
    client.users().delete(owner.id).validate_only().send().await.expect("would be deleted");
    let slug = format!("dry-{}", Uuid::new_v4().simple());
    platform.tenants().create(NewTenant::new(&slug, "Dry")).validate_only().send().await.expect("would be created");
    platform
        .tenants()
        .update(tenant.id, TenantPatch::new().plan("dry"))
        .validate_only()
        .send()
        .await
        .expect("would be changed");
    platform.tenants().delete(tenant.id).validate_only().send().await.expect("would be deleted");

    assert_eq!(traces(&tenant).await, before);
    assert_eq!(client.products().get(product.id).send().await.expect("as it was"), product);
    assert_eq!(client.users().get(user.id).send().await.expect("as it was"), user);
    let standing = platform.tenants().get(tenant.id).send().await.expect("as it was");
    assert!(standing.plan == "standard" && standing.delete_time.is_none());
    assert!(platform.tenants().lookup(slug).send().await.refusal().is(Code::NotFound, "RESOURCE_NOT_FOUND"));
}

#[tokio::test]
async fn validate_only_refuses_what_the_write_would_be_refused_for() {
    let tenant = tenant().await;
    let products = tenant.client.products();
    let product = products.create(products::new("taken")).send().await.expect("created");
    let before = traces(&tenant).await;
    let taken = products.create(products::new("taken")).validate_only().send().await.refusal();
    assert!(taken.is(Code::AlreadyExists, "RESOURCE_ALREADY_EXISTS"));
    products.create(products::new("")).validate_only().send().await.refusal().breaks(&["product.sku"]);
    let stale =
        products.update(product.id, ProductPatch::new().quantity(1)).etag("\"stale\"").validate_only().send().await;
    assert!(stale.refusal().is(Code::Aborted, "ETAG_MISMATCH"));
    let missing = products.delete(Uuid::now_v7().into()).validate_only().send().await;
    assert!(missing.refusal().is(Code::NotFound, "RESOURCE_NOT_FOUND"));
    assert_eq!(traces(&tenant).await, before);
}

#[tokio::test]
async fn a_request_id_tried_with_validate_only_is_still_free() {
    let tenant = tenant().await;
    let request_id = Uuid::new_v4();
    let create = || tenant.client.products().create(products::new("rehearsed")).request_id(request_id);
    create().validate_only().send().await.expect("rehearsed");
    let made = create().send().await.expect("in earnest");
    assert_eq!(tenant.client.products().get(made.id).send().await.expect("there"), made);
}

#[tokio::test]
async fn a_deadline_that_has_passed_is_told_as_such() {
    let tenant = tenant().await;
    let request = v1::ListProductsRequest::default();
    let answer =
        call_with::<_, v1::ListProductsResponse>(&tenant.client, "ProductService/ListProducts", &request, |headers| {
            headers.insert("grpc-timeout", "1n".parse().expect("a header"));
        });
    let status: Status = answer.await.expect_err("too late");
    assert!(matches!(Refusal::from(&status).code, Code::DeadlineExceeded | Code::Cancelled), "{status}");
}
