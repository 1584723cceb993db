//! What the calls are about: for each lane a tenant with some of everything, a tenant of somebody else, and the tenants that
//! an operator may do anything to.
//! Leaves what is asked about them to `cases`.

use sqlx::{AssertSqlSafe, Row};
use stead_client::{Client, NewApiKey, NewTenant, NewUser, ProductPatch, RawChannel, SessionsOf};
use stead_harness::messages::Book;
use uuid::Uuid;

use crate::{
    fixture::{Server, Tenant},
    products,
};

const PASSWORD: &str = "correct horse";

/// One lane's tenant, and who calls in it.
pub(super) struct Ground {
    /// The tenant's name.
    pub(super) name: String,
    pub(super) book: Book,
    pub(super) client: Client,
    pub(super) inside: RawChannel,
    pub(super) platform: RawChannel,
}

/// Makes the tenant of a lane, which knows `other` by name.
pub(super) async fn lay(server: &Server, other: &Tenant) -> Ground {
    let tenant = server.tenant().await;
    let mut book = Book::common();
    stock(&tenant, &mut book).await;
    people(&tenant, &mut book).await;
    tenants(server, &mut book).await;
    let product = other.client.products().list().items().next().await.expect("a list").expect("another's product");
    let user = other.client.users().list().items().next().await.expect("a list").expect("another's user");
    // Not its name: the platform's methods may do anything to a tenant that they are told of.
    for word in [product.id.to_string(), user.id.to_string(), product.sku, user.email] {
        book.learn_other(word);
    }
    // Connections of their own.
    let (inside, platform) = (server.client(&tenant.key).raw(), server.platform().raw());
    Ground { name: tenant.id.to_string(), book, client: tenant.client, inside, platform }
}

/// A tenant that nobody calls in.
pub(super) async fn bystander(server: &Server) -> Tenant {
    let tenant = server.tenant().await;
    let mut book = Book::common();
    stock(&tenant, &mut book).await;
    people(&tenant, &mut book).await;
    tenant
}

async fn stock(tenant: &Tenant, book: &mut Book) {
    let all = tenant.client.products();
    for at in 0..6 {
        let product = all.create(products::full(&format!("standing-{at}"))).send().await.expect("a product");
        all.update(product.id, ProductPatch::new().quantity(50)).send().await.expect("a second revision");
        if at == 0 {
            all.delete(product.id).send().await.expect("a deleted product");
            book.learn("deleted product", product.id.to_string());
        } else {
            book.learn("product", product.id.to_string());
            book.learn("known sku", product.sku);
        }
    }
    macro_rules! learn_token {
        ($kind:literal, $list:expr) => {
            let page = $list.page_size(1).pages().next().await.expect("a page").expect("a page");
            book.learn($kind, page.next_page_token.expect("another page"));
        };
    }
    learn_token!("token of products", all.list());
    learn_token!("token of entries", tenant.client.audit().list());
    let mut export = all.export().items();
    while export.next().await.expect("an export").is_some() {}
    book.learn("token of an export", export.resume_token().expect("a place to go on"));
    let entries = tenant.client.audit().list().items().collect().await.expect("entries");
    entries.iter().take(5).for_each(|entry| book.learn("entry", entry.id.to_string()));
}

async fn people(tenant: &Tenant, book: &mut Book) {
    let (users, auth) = (tenant.client.users(), tenant.client.auth());
    for at in 0..5 {
        let new = NewUser::new(format!("standing-{at}@example.com")).username(format!("standing-{at}"));
        let user = users.create(new).send().await.expect("a user");
        if at == 0 {
            users.delete(user.id).send().await.expect("a deleted user");
            book.learn("deleted user", user.id.to_string());
        } else {
            book.learn("user", user.id.to_string());
            book.learn("known email", user.email);
            book.learn("known username", format!("standing-{at}"));
        }
        let spare = auth.create_key(NewApiKey::new("services/spare")).send().await.expect("a key");
        book.learn("api key", spare.key.id.to_string());
    }
    // Not among those who are written, so that signing in goes on.
    let email = "signs-in@example.com";
    let user = users.create(NewUser::new(email).password(PASSWORD)).send().await.expect("a user with a password");
    for _ in 0..3 {
        let session = auth.create_session(&tenant.slug, email, PASSWORD).send().await.expect("a session").session;
        book.learn("session", session.id.to_string());
    }
    // Taken: a creation with one of them is refused.
    for (kind, word) in [("sku", "standing-1"), ("email", "standing-1@example.com"), ("username", "STANDING-1")] {
        book.learn(kind, word);
    }
    book.learn("slug", &tenant.slug);
    book.learn("own slug", &tenant.slug);
    book.learn("own email", email);
    book.learn("own password", PASSWORD);
    assert_eq!(auth.list_sessions(SessionsOf::User(user.id)).items().collect().await.expect("sessions").len(), 3);
}

/// Tenants for an operator to change, suspend and delete, which no lane calls in.
async fn tenants(server: &Server, book: &mut Book) {
    let all = server.platform();
    for at in 0..4 {
        let slug = format!("victim-{at}-{}", Uuid::new_v4().simple());
        let victim = all.tenants().create(NewTenant::new(&slug, "Anybody's")).send().await.expect("a tenant");
        if at == 0 {
            all.tenants().delete(victim.id).send().await.expect("a deleted tenant");
            book.learn("deleted tenant", victim.id.to_string());
        } else {
            book.learn("tenant", victim.id.to_string());
            book.learn("known slug", slug);
        }
    }
}

/// Every row of a tenant as it stands, as one text.
pub(super) async fn rows(server: &Server, tenant: Uuid) -> Vec<String> {
    let mut truth = server.truth().await;
    let tables = "select distinct c.relname::text from pg_class c join pg_attribute a on a.attrelid = c.oid
        where c.relnamespace = 'stead'::regnamespace and c.relkind in ('r', 'p') and not c.relispartition
          and a.attname = 'tenant_id' order by 1";
    let tables = sqlx::query(tables).fetch_all(&mut truth).await.expect("the catalogue");
    let mut rows = vec![];
    for table in tables.iter().map(|row| row.get::<String, _>(0)) {
        // When a key was last used is noted beside the calls.
        let query = format!(
            "select '{table} ' || coalesce(string_agg(fact::text, e'\\n' order by fact::text), '')
             from (select to_jsonb(row) - 'last_use_time' as fact from stead.{table} row where tenant_id = $1) facts"
        );
        let row = sqlx::query(AssertSqlSafe(query)).bind(tenant).fetch_one(&mut truth).await.expect("the rows");
        rows.push(row.get(0));
    }
    assert!(rows.len() > 5, "{rows:?}");
    rows
}
