//! One call of every method that leaves nothing behind but what may be there twice: reads, rehearsals, an import, a sign-in.
//! Leaves writes to the lives of `retries`, and when to give up to `steps`.

use prost::Message;
use stead_api::v1::{self, import_products_request::Step, lookup_user_request};
use stead_client::{NewApiKey, NewUser, ProductPatch, SessionsOf};
use uuid::Uuid;

use crate::{
    fixture::{Server, Tenant, mask},
    products,
};

pub(crate) const PASSWORD: &str = "correct horse";
/// Rows of each import.
pub(crate) const ROWS: i64 = 3;

/// Who calls.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum By {
    Tenant,
    /// An operator who acts inside the tenant.
    Operator,
    /// An operator outside of any.
    Platform,
    Stranger,
}

/// How an answer is judged.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Answer {
    /// By its bytes: it is the same each time.
    Same,
    /// It is one, and shows new names or times.
    Some,
    /// It is a refusal, in the midst of a transaction.
    Refusal,
}

/// A call.
pub(crate) struct Ask {
    pub(crate) method: &'static str,
    pub(crate) by: By,
    pub(crate) answer: Answer,
    /// Made anew for each call.
    pub(crate) messages: Box<dyn Fn() -> Vec<Vec<u8>> + Send + Sync>,
}

/// What a tenant has that is asked for.
#[derive(Debug)]
pub(crate) struct Ground {
    pub(crate) tenant: Tenant,
    product: String,
    deleted_product: String,
    user: String,
    email: String,
    deleted_user: String,
    key: String,
    session: String,
    entry: String,
}

impl Ground {
    pub(crate) async fn of(server: &Server) -> Self {
        let tenant = server.tenant().await;
        let products = tenant.client.products();
        let product = products.create(products::full("asked")).send().await.expect("a product").id;
        products.update(product, ProductPatch::new().quantity(5)).send().await.expect("a second revision");
        let gone = products.create(products::new("gone")).send().await.expect("a product").id;
        products.delete(gone).send().await.expect("deleted");
        let users = tenant.client.users();
        let email = format!("ada@{}.example.com", tenant.slug);
        let ada = users.create(NewUser::new(&email).password(PASSWORD)).send().await.expect("a user").id;
        let bob = users.create(NewUser::new("bob@example.com")).send().await.expect("a user").id;
        users.delete(bob).send().await.expect("deleted");
        let key = tenant.client.auth().create_key(NewApiKey::new("services/asked")).send().await.expect("a key").key.id;
        let made = server.stranger().auth().create_session(&tenant.slug, &email, PASSWORD).send().await;
        let session = made.expect("a session").session.id;
        let of_ada = tenant.client.auth().list_sessions(SessionsOf::User(ada)).items().collect().await;
        assert_eq!(of_ada.expect("a list").len(), 1);
        let entry = tenant.client.audit().list().items().next().await.expect("entries").expect("an entry").id;
        let [product, deleted_product] = [product, gone].map(|id| id.to_string());
        let [user, deleted_user] = [ada, bob].map(|id| id.to_string());
        let (key, session, entry) = (key.to_string(), session.to_string(), entry.to_string());
        Self { tenant, product, deleted_product, user, email, deleted_user, key, session, entry }
    }

    pub(crate) fn asks(&self) -> Vec<Ask> {
        [self.reads(), self.product_rehearsals(), self.other_rehearsals(), self.streams()]
            .into_iter()
            .flatten()
            .collect()
    }

    fn reads(&self) -> Vec<Ask> {
        use By::{Operator, Platform, Tenant};
        let (name, names) = (self.product.clone(), vec![self.product.clone()]);
        let get = v1::GetProductRequest { name: name.clone(), ..Default::default() };
        let by_sku = v1::LookupProductRequest { sku: "asked".into(), ..Default::default() };
        let deleted =
            v1::ListProductsRequest { show_deleted: true, filter: "sku = \"gone\"".into(), ..Default::default() };
        let revisions = v1::ListProductRevisionsRequest { name: name.clone(), ..Default::default() };
        let revision = v1::GetProductRevisionRequest { name, revision: 1 };
        let batch = v1::BatchGetProductsRequest { names, ..Default::default() };
        // Without the time of the last sign-in.
        let read_mask = || mask(["name", "email", "roles", "create_time"]);
        let user = v1::GetUserRequest { name: self.user.clone(), read_mask: read_mask(), ..Default::default() };
        let by_email = lookup_user_request::Key::Email(self.email.clone());
        let by_email = v1::LookupUserRequest { key: Some(by_email), read_mask: read_mask() };
        let names = vec![self.user.clone()];
        let users = v1::BatchGetUsersRequest { names, read_mask: read_mask(), ..Default::default() };
        let everybody = v1::ListUsersRequest { read_mask: read_mask(), ..Default::default() };
        let sessions = v1::ListSessionsRequest { user: "users/-".into(), page_size: 1, ..Default::default() };
        let tenant = v1::GetTenantRequest { name: self.tenant.id.to_string(), ..Default::default() };
        let slug = self.tenant.slug.clone();
        let tenants = v1::ListTenantsRequest { filter: format!("slug = \"{slug}\""), ..Default::default() };
        let by_slug = v1::LookupTenantRequest { slug, ..Default::default() };
        let limits = v1::GetTenantLimitsRequest { name: self.tenant.id.to_string() };
        let usage = v1::GetTenantUsageRequest { name: self.tenant.id.to_string() };
        let invalidate = v1::InvalidateCacheRequest { name: "tenants/current".to_owned() };
        let entry = v1::GetAuditEntryRequest { name: self.entry.clone() };
        let facets = ["category", "tags", "price"].map(str::to_owned).into();
        let search = v1::SearchProductsRequest { query: "asked".into(), facets, highlight: true, ..Default::default() };
        let suggest = v1::SuggestProductsRequest { prefix: "aske".into(), ..Default::default() };
        vec![
            same("ProductService/GetProduct", Tenant, &get),
            same("ProductService/GetProduct", Operator, &get),
            same("ProductService/LookupProduct", Tenant, &by_sku),
            same("ProductService/ListProducts", Tenant, &deleted),
            same("ProductService/BatchGetProducts", Tenant, &batch),
            same("ProductService/BatchGetProducts", Operator, &batch),
            same("ProductService/ListProductRevisions", Tenant, &revisions),
            same("ProductService/GetProductRevision", Tenant, &revision),
            same("SearchService/SearchProducts", Tenant, &search),
            same("SearchService/SearchProducts", Operator, &search),
            same("SearchService/SuggestProducts", Tenant, &suggest),
            same("UserService/GetUser", Tenant, &user),
            same("UserService/LookupUser", Tenant, &by_email),
            same("UserService/ListUsers", Operator, &everybody),
            same("UserService/BatchGetUsers", Tenant, &users),
            same("AuthService/WhoAmI", Tenant, &v1::WhoAmIRequest::default()),
            some("AuthService/ListApiKeys", Tenant, &v1::ListApiKeysRequest::default()),
            some("AuthService/ListSessions", Tenant, &sessions),
            same("TenantService/GetTenant", Platform, &tenant),
            same("TenantService/LookupTenant", Platform, &by_slug),
            same("TenantService/ListTenants", Platform, &tenants),
            same("TenantService/GetTenantLimits", Tenant, &limits),
            some("TenantService/GetTenantUsage", Tenant, &usage),
            same("TenantService/InvalidateCache", Tenant, &invalidate),
            same("AuditService/GetAuditEntry", Tenant, &entry),
            some("AuditService/ListAuditEntries", Tenant, &v1::ListAuditEntriesRequest::default()),
        ]
    }

    fn product_rehearsals(&self) -> Vec<Ask> {
        use By::{Operator, Tenant};
        let (name, validate_only) = (self.product.clone(), true);
        let new = |sku: &str| Some(v1::Product { sku: sku.into(), display_name: "New".into(), ..Default::default() });
        let create = v1::CreateProductRequest { product: new("dry"), validate_only, ..Default::default() };
        let taken = v1::CreateProductRequest { product: new("asked"), validate_only, ..Default::default() };
        let product = Some(v1::Product { name: name.clone(), quantity: 77, ..Default::default() });
        let update_mask = mask(["quantity"]);
        let update = v1::UpdateProductRequest { product, update_mask, validate_only, ..Default::default() };
        let delete = v1::DeleteProductRequest { name: name.clone(), validate_only, ..Default::default() };
        let nobody = "products/00000000-0000-4000-8000-000000000000".to_owned();
        let missing = v1::DeleteProductRequest { name: nobody, validate_only, ..Default::default() };
        let undelete =
            v1::UndeleteProductRequest { name: self.deleted_product.clone(), validate_only, ..Default::default() };
        let adjust =
            v1::AdjustProductQuantityRequest { name: name.clone(), delta: -1, validate_only, ..Default::default() };
        let rollback = v1::RollbackProductRequest { name, revision: 1, validate_only, ..Default::default() };
        let single = |product| v1::CreateProductRequest { product, ..Default::default() };
        let creates = v1::BatchCreateProductsRequest {
            requests: vec![single(new("dry-1")), single(new("dry-2"))],
            validate_only,
            ..Default::default()
        };
        let updates = v1::BatchUpdateProductsRequest {
            requests: vec![v1::UpdateProductRequest { validate_only: false, ..update.clone() }],
            validate_only,
            ..Default::default()
        };
        let deletes = v1::BatchDeleteProductsRequest {
            requests: vec![v1::DeleteProductRequest { validate_only: false, ..delete.clone() }],
            validate_only,
            ..Default::default()
        };
        vec![
            some("ProductService/CreateProduct", Tenant, &create),
            some("ProductService/CreateProduct", Operator, &create),
            ask("ProductService/CreateProduct", Tenant, Answer::Refusal, &taken),
            some("ProductService/UpdateProduct", Tenant, &update),
            some("ProductService/DeleteProduct", Tenant, &delete),
            ask("ProductService/DeleteProduct", Tenant, Answer::Refusal, &missing),
            some("ProductService/UndeleteProduct", Tenant, &undelete),
            some("ProductService/AdjustProductQuantity", Operator, &adjust),
            some("ProductService/RollbackProduct", Tenant, &rollback),
            some("ProductService/BatchCreateProducts", Tenant, &creates),
            some("ProductService/BatchUpdateProducts", Tenant, &updates),
            some("ProductService/BatchDeleteProducts", Tenant, &deletes),
        ]
    }

    fn other_rehearsals(&self) -> Vec<Ask> {
        use By::{Platform, Tenant};
        let (name, validate_only) = (self.user.clone(), true);
        let user = |name: &str, email: &str| {
            Some(v1::User { name: name.into(), email: email.into(), display_name: "Dry".into(), ..Default::default() })
        };
        let create = v1::CreateUserRequest { user: user("", "dry@example.com"), validate_only, ..Default::default() };
        let (user, update_mask) = (user(&name, ""), mask(["display_name"]));
        let update = v1::UpdateUserRequest { user, update_mask, validate_only, ..Default::default() };
        let delete = v1::DeleteUserRequest { name: name.clone(), validate_only, ..Default::default() };
        let undelete = v1::UndeleteUserRequest { name: self.deleted_user.clone(), validate_only, ..Default::default() };
        let bare = v1::SetUserPasswordRequest { name: name.clone(), validate_only, ..Default::default() };
        let api_key = Some(v1::ApiKey { subject: "services/dry".into(), ..Default::default() });
        let key = v1::CreateApiKeyRequest { api_key, validate_only, ..Default::default() };
        let revoke = v1::RevokeApiKeyRequest { name: self.key.clone(), validate_only, ..Default::default() };
        let extend = v1::ExtendSessionRequest { name: self.session.clone(), validate_only, ..Default::default() };
        let end = v1::RevokeSessionRequest { name: self.session.clone(), validate_only, ..Default::default() };
        let end_all = v1::RevokeUserSessionsRequest { user: name, validate_only, ..Default::default() };
        let tenant = self.tenant.id.to_string();
        let named = |name: &str, slug: &str| {
            Some(v1::Tenant { name: name.into(), slug: slug.into(), display_name: "Dry".into(), ..Default::default() })
        };
        let open = v1::CreateTenantRequest { tenant: named("", "dry-tenant"), validate_only, ..Default::default() };
        let (changed, update_mask) = (named(&tenant, ""), mask(["display_name"]));
        let change = v1::UpdateTenantRequest { tenant: changed, update_mask, validate_only, ..Default::default() };
        let close = v1::DeleteTenantRequest { name: tenant.clone(), validate_only, ..Default::default() };
        let suspend = v1::SuspendTenantRequest { name: tenant.clone(), validate_only, ..Default::default() };
        let burst = Some(v1::Limit { value: Some(77_777), ..Default::default() });
        let limits = Some(v1::TenantLimits { name: tenant.clone(), burst, ..Default::default() });
        let limit = v1::UpdateTenantLimitsRequest { limits, validate_only, ..Default::default() };
        let resume = v1::ResumeTenantRequest { name: tenant, validate_only, ..Default::default() };
        vec![
            some("UserService/CreateUser", Tenant, &create),
            some("UserService/UpdateUser", Tenant, &update),
            some("UserService/DeleteUser", Tenant, &delete),
            some("UserService/UndeleteUser", Tenant, &undelete),
            some("UserService/SetUserPassword", Tenant, &bare),
            some("AuthService/CreateApiKey", Tenant, &key),
            some("AuthService/RevokeApiKey", Tenant, &revoke),
            some("AuthService/ExtendSession", Tenant, &extend),
            some("AuthService/RevokeSession", Tenant, &end),
            some("AuthService/RevokeUserSessions", Tenant, &end_all),
            some("TenantService/CreateTenant", Platform, &open),
            some("TenantService/UpdateTenant", Platform, &change),
            some("TenantService/DeleteTenant", Platform, &close),
            some("TenantService/SuspendTenant", Platform, &suspend),
            some("TenantService/ResumeTenant", Platform, &resume),
            some("TenantService/UpdateTenantLimits", Platform, &limit),
        ]
    }

    fn streams(&self) -> Vec<Ask> {
        let (tenant, email, password) = (self.tenant.slug.clone(), self.email.clone(), PASSWORD.to_owned());
        let sign_in = v1::CreateSessionRequest { tenant, email, password };
        let import = || {
            let start = Step::Start(v1::ImportProductsStart { import_id: Uuid::new_v4().to_string() });
            let row = |row| v1::Product { sku: format!("row-{row}"), display_name: "Row".into(), ..Default::default() };
            let rows = (1..=ROWS).map(row).collect();
            let chunk = Step::Chunk(v1::ImportProductsChunk { first_row: 1, rows });
            let message = |step| v1::ImportProductsRequest { step: Some(step) }.encode_to_vec();
            vec![message(start), message(chunk)]
        };
        vec![
            some("ProductService/ExportProducts", By::Tenant, &v1::ExportProductsRequest::default()),
            some("AuditService/ExportAuditEntries", By::Tenant, &v1::ExportAuditEntriesRequest::default()),
            Ask {
                method: "ProductService/ImportProducts",
                by: By::Tenant,
                answer: Answer::Some,
                messages: Box::new(import),
            },
            some("AuthService/CreateSession", By::Stranger, &sign_in),
        ]
    }
}

fn ask(method: &'static str, by: By, answer: Answer, request: &impl Message) -> Ask {
    let message = request.encode_to_vec();
    Ask { method, by, answer, messages: Box::new(move || vec![message.clone()]) }
}

fn same(method: &'static str, by: By, request: &impl Message) -> Ask {
    ask(method, by, Answer::Same, request)
}

fn some(method: &'static str, by: By, request: &impl Message) -> Ask {
    ask(method, by, Answer::Some, request)
}
