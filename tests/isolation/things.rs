//! What a tenant has that another might ask for: one of everything, and a kept answer to every kind of write.
//! Leaves what is asked about it to `probes`.

use stead_api::v1;
use stead_client::{Client, NewApiKey, NewUser, ProductPatch, SessionsOf, UserId, UserPatch};
use uuid::Uuid;

use crate::{
    fixture::{Tenant, call, tenant},
    products,
};

/// Of the users who sign in.
pub(crate) const PASSWORD: &str = "correct horse";

/// What can be named.
#[derive(Debug, Clone)]
pub(crate) struct Things {
    pub(crate) product: Uuid,
    pub(crate) deleted_product: Uuid,
    pub(crate) user: Uuid,
    pub(crate) deleted_user: Uuid,
    pub(crate) key: Uuid,
    pub(crate) session: Uuid,
    pub(crate) entry: Uuid,
    pub(crate) tenant: Uuid,
    pub(crate) sku: String,
    pub(crate) email: String,
    pub(crate) username: String,
    pub(crate) slug: String,
    pub(crate) import: Uuid,
    pub(crate) request: Uuid,
    /// Stands in texts of the tenant that nobody else has.
    pub(crate) canary: String,
    pub(crate) tokens: Tokens,
    pub(crate) etags: Etags,
}

/// The etag of each thing that has one, as it is now.
#[derive(Debug, Clone)]
pub(crate) struct Etags {
    pub(crate) product: String,
    pub(crate) deleted_product: String,
    pub(crate) user: String,
    pub(crate) deleted_user: String,
    pub(crate) tenant: String,
}

/// A token of each list, and of each export.
#[derive(Debug, Clone)]
pub(crate) struct Tokens {
    pub(crate) products: String,
    pub(crate) revisions: String,
    pub(crate) export: String,
    pub(crate) users: String,
    pub(crate) keys: String,
    pub(crate) sessions: String,
    pub(crate) entries: String,
    pub(crate) exported_entries: String,
    pub(crate) search: String,
}

impl Things {
    /// What must stand in no answer to anybody else, as text and as bytes.
    pub(crate) fn secrets(&self) -> Vec<Vec<u8>> {
        let Self { product, deleted_product, user, deleted_user, key, session, entry, tenant, import, request, .. } =
            self;
        let ids = [product, deleted_product, user, deleted_user, key, session, entry, tenant, import, request];
        let both = |id: &Uuid| [id.to_string().into_bytes(), id.as_bytes().to_vec()];
        ids.into_iter().flat_map(both).chain([self.canary.clone().into_bytes()]).collect()
    }

    /// The same shapes, naming nothing: ids of the versions that real ones have, texts of the same length.
    pub(crate) fn invented(like: &Things) -> Things {
        // An id of the same moment, so that it leads to the same place to look.
        let sibling = |id: Uuid| {
            let mut bytes = *id.as_bytes();
            bytes[8..].copy_from_slice(&Uuid::new_v4().as_bytes()[8..]);
            Uuid::from_bytes(bytes)
        };
        let letter = |letter: char| match letter {
            'z' => 'y',
            letter if letter.is_ascii_alphanumeric() => 'z',
            sign => sign,
        };
        let other = |text: &str| text.chars().map(letter).collect::<String>();
        Things {
            product: sibling(like.product),
            deleted_product: sibling(like.deleted_product),
            user: sibling(like.user),
            deleted_user: sibling(like.deleted_user),
            key: sibling(like.key),
            session: sibling(like.session),
            entry: sibling(like.entry),
            tenant: sibling(like.tenant),
            sku: other(&like.sku),
            email: other(&like.email),
            username: other(&like.username),
            slug: other(&like.slug),
            import: Uuid::new_v4(),
            request: Uuid::new_v4(),
            canary: Uuid::new_v4().to_string(),
            tokens: Tokens {
                products: forged(&like.tokens.products),
                revisions: forged(&like.tokens.revisions),
                export: forged(&like.tokens.export),
                users: forged(&like.tokens.users),
                keys: forged(&like.tokens.keys),
                sessions: forged(&like.tokens.sessions),
                entries: forged(&like.tokens.entries),
                exported_entries: forged(&like.tokens.exported_entries),
                search: forged(&like.tokens.search),
            },
            etags: Etags {
                product: forged(&like.etags.product),
                deleted_product: forged(&like.etags.deleted_product),
                user: forged(&like.etags.user),
                deleted_user: forged(&like.etags.deleted_user),
                tenant: forged(&like.etags.tenant),
            },
        }
    }
}

/// A token of the right length that nobody was given.
fn forged(token: &str) -> String {
    let at = token.len() / 2;
    let letter = if token.as_bytes()[at] == b'A' { "B" } else { "A" };
    format!("{}{letter}{}", &token[..at], &token[at + 1..])
}

/// A tenant with all of them.
pub(crate) async fn furnished() -> (Tenant, Things) {
    let tenant = tenant().await;
    let things = furnish(&tenant).await;
    (tenant, things)
}

/// Gives a fresh tenant all of them.
pub(crate) async fn furnish(tenant: &Tenant) -> Things {
    // One request id for all: it is kept by method.
    let (request, canary) = (Uuid::new_v4(), Uuid::new_v4().to_string());
    let sku = format!("only-{}", tenant.slug);
    let (product, deleted_product) = stock(&tenant.client, (&sku, &canary), request).await;
    let email = format!("only-{}@example.com", tenant.slug);
    let (user, deleted_user) = people(&tenant.client, (&email, &sku, &canary), request).await;
    let key = credentials(&tenant.client, &canary, request).await;
    let session = signed_in(tenant, user.into(), &email, request).await;
    let import = Uuid::new_v4();
    let mut rows = tenant.client.products().import(import).open().await.expect("an import");
    rows.send_chunk(1, vec![products::new("imported")]).await.expect("sent");
    rows.finish().await.expect("imported");
    let entry = tenant.client.audit().list().items().next().await.expect("entries").expect("an entry");
    Things {
        product,
        deleted_product,
        user,
        deleted_user,
        key,
        session,
        entry: entry.id.uuid(),
        tenant: tenant.id.uuid(),
        email,
        username: sku.clone(),
        sku,
        slug: tenant.slug.clone(),
        import,
        request,
        canary,
        tokens: tokens(&tenant.client, product).await,
        etags: etags(&tenant.client, [product, deleted_product], [user, deleted_user]).await,
    }
}

/// A product of several revisions and a deleted one; each write of a product once, under the request id.
async fn stock(client: &Client, (sku, canary): (&str, &str), request: Uuid) -> (Uuid, Uuid) {
    let all = client.products();
    let common = all.create(products::new("the-sku")).request_id(request).send().await;
    common.expect("a product with a sku that others have too");
    let product = all.create(products::full(sku).description(canary)).send().await.expect("a product").id;
    let change = [(product, ProductPatch::new().display_name("Changed"), None)];
    all.batch_update(change).request_id(request).send().await.expect("a changed product");
    all.adjust_quantity(product, 1).request_id(request).send().await.expect("an adjusted product");
    all.rollback(product, 1).request_id(request).send().await.expect("a product rolled back");
    let other = all.create(products::new("another")).send().await.expect("another product").id;
    let update = all.update(other, ProductPatch::new().quantity(1));
    update.request_id(request).send().await.expect("a changed product");
    all.delete(other).request_id(request).send().await.expect("a deleted product");
    all.undelete(other).request_id(request).send().await.expect("an undeleted product");
    all.delete(other).send().await.expect("a deleted product");
    let batch = all.batch_create([products::new("of-a-batch")]).request_id(request).send().await.expect("products");
    all.batch_delete(&batch).request_id(request).send().await.expect("deleted products");
    (product.uuid(), other.uuid())
}

/// A user and a deleted one; each write of a user once, under the request id.
async fn people(client: &Client, (email, username, canary): (&str, &str, &str), request: Uuid) -> (Uuid, Uuid) {
    let all = client.users();
    let common = NewUser::new("ada@example.com").username("ada");
    all.create(common).request_id(request).send().await.expect("a user with an address that others have too");
    let user = all.create(NewUser::new(email).username(username)).send().await.expect("a user").id;
    let renamed = all.update(user, UserPatch::new().display_name(canary)).request_id(request);
    renamed.send().await.expect("a renamed user");
    all.remove_password(user).request_id(request).send().await.expect("a user without a password");
    let gone = all.create(NewUser::new("gone@example.com")).send().await.expect("another user").id;
    all.delete(gone).request_id(request).send().await.expect("a deleted user");
    all.undelete(gone).request_id(request).send().await.expect("an undeleted user");
    all.delete(gone).send().await.expect("a deleted user");
    (user.uuid(), gone.uuid())
}

/// A key beside the client's own; one revoked under the request id.
async fn credentials(client: &Client, canary: &str, request: Uuid) -> Uuid {
    let all = client.auth();
    let spare = all.create_key(NewApiKey::new("services/spare").display_name(canary)).send().await.expect("a key");
    let lost = all.create_key(NewApiKey::new("services/lost")).request_id(request).send().await.expect("a key");
    all.revoke_key(lost.key.id).request_id(request).send().await.expect("a revoked key");
    spare.key.id.uuid()
}

/// Two sessions of a user; each write of a session once, under the request id.
async fn signed_in(tenant: &Tenant, user: UserId, email: &str, request: Uuid) -> Uuid {
    let all = tenant.client.auth();
    tenant.client.users().set_password(user, PASSWORD).send().await.expect("a user with a password");
    let sign_in = || all.create_session(&tenant.slug, email, PASSWORD).send();
    let gone = sign_in().await.expect("a session").session.id;
    all.extend_session(gone).request_id(request).send().await.expect("an extended session");
    all.revoke_session(gone).request_id(request).send().await.expect("a revoked session");
    all.revoke_user_sessions(user).request_id(request).send().await.expect("a user without sessions");
    sign_in().await.expect("a session").session.id.uuid()
}

/// The token behind the first thing of each list.
async fn tokens(client: &Client, product: Uuid) -> Tokens {
    macro_rules! behind_the_first {
        ($list:expr) => {
            $list.page_size(1).pages().next().await.expect("a page").expect("a page").next_page_token.expect("another")
        };
    }
    let mut export = client.products().export().items();
    while export.next().await.expect("an export").is_some() {}
    let mut exported_entries = client.audit().export().items();
    while exported_entries.next().await.expect("an export").is_some() {}
    let search = v1::SearchProductsRequest { query: "product".into(), page_size: 1, ..Default::default() };
    let searched = call::<_, v1::SearchProductsResponse>(client, "SearchService/SearchProducts", &search).await;
    let searched = searched.expect("found");
    Tokens {
        products: behind_the_first!(client.products().list().show_deleted(true)),
        revisions: behind_the_first!(client.products().revisions(product.into())),
        export: export.resume_token().expect("a place to go on").to_owned(),
        users: behind_the_first!(client.users().list()),
        keys: behind_the_first!(client.auth().list_keys()),
        sessions: behind_the_first!(client.auth().list_sessions(SessionsOf::Everybody)),
        entries: behind_the_first!(client.audit().list()),
        exported_entries: exported_entries.resume_token().expect("a place to go on").to_owned(),
        search: searched.into_inner().next_page_token,
    }
}

async fn etags(client: &Client, products: [Uuid; 2], users: [Uuid; 2]) -> Etags {
    let product =
        async |id: Uuid| client.products().get(id.into()).show_deleted(true).send().await.expect("a product").etag;
    let user = async |id: Uuid| client.users().get(id.into()).show_deleted(true).send().await.expect("a user").etag;
    Etags {
        product: product(products[0]).await,
        deleted_product: product(products[1]).await,
        user: user(users[0]).await,
        deleted_user: user(users[1]).await,
        tenant: client.tenants().current().send().await.expect("a tenant").etag,
    }
}
