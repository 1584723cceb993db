//! A tenant's life in the eyes of its callers: what a suspension or a deletion ends, on every server, and what begins again.
//! Leaves the second within which it happens to the service's own tests, where the clock is handed in.

use std::{collections::BTreeMap, time::Instant};

use prost::Message;
use stead_api::v1::{self, import_products_request::Step};
use stead_client::{Client, Error, Export, NewUser, Product};
use tokio::sync::mpsc;
use tonic::{Code, Status, Streaming};
use uuid::Uuid;

use crate::{
    fixture::{Refusal, Refused, SOON, Server, Tenant, raw, shared, stream, tenant},
    products,
    telemetry::get,
};

/// Enough that no export is over before it is read: far more than a connection holds.
const PRODUCTS: usize = 60;

/// Streams of a tenant that are under way on one server.
struct Underway {
    client: Client,
    import_id: Uuid,
    rows: mpsc::Sender<Vec<u8>>,
    settled: Streaming<Vec<u8>>,
    export: Export<Product>,
    seen: usize,
}

impl Underway {
    async fn begin(server: &Server, tenant: &Tenant) -> Self {
        let (client, import_id) = (server.client(&tenant.key), Uuid::new_v4());
        let (rows, settled) = stream(&client, "ProductService/ImportProducts").await.expect("an import");
        // On a connection of its own: what nobody reads yet would hold up everything else.
        let export = server.client(&tenant.key).products().export().items();
        let mut underway = Self { client, import_id, rows, settled, export, seen: 0 };
        assert_eq!(underway.open().await.expect("opened"), 1);
        assert_eq!(underway.import(1).await.expect("a row"), 2);
        assert!(underway.take().await.expect("a product"));
        underway
    }

    async fn say(&mut self, step: Step) -> Result<i64, Status> {
        // A stream that has ended takes nothing; its answer says why.
        let _ = self.rows.send(v1::ImportProductsRequest { step: Some(step) }.encode_to_vec()).await;
        let answer = self.settled.message().await?.expect("an answer");
        Ok(v1::ImportProductsResponse::decode(&*answer).expect("an answer").next_row)
    }

    async fn open(&mut self) -> Result<i64, Status> {
        self.say(Step::Start(v1::ImportProductsStart { import_id: self.import_id.to_string() })).await
    }

    async fn import(&mut self, row: i64) -> Result<i64, Status> {
        let sku = format!("{}-{row}", self.import_id);
        let product = v1::Product { sku, display_name: "A row".into(), ..Default::default() };
        self.say(Step::Chunk(v1::ImportProductsChunk { first_row: row, rows: vec![product] })).await
    }

    /// Takes the next product of the export; none when it is done.
    async fn take(&mut self) -> Result<bool, Error> {
        let is_there = self.export.next().await?.is_some();
        self.seen += usize::from(is_there);
        Ok(is_there)
    }

    /// Both streams end as refused, and neither has done its work.
    async fn is_cut(&mut self, refused: (Code, &str)) {
        let import = Refusal::from(&self.import(2).await.expect_err("the import is over"));
        assert!(import.is(refused.0, refused.1), "import: {import:?}");
        let export = loop {
            match self.take().await {
                Ok(true) => {}
                Ok(false) => panic!("the export came to its end"),
                Err(error) => break Err::<(), _>(error).refusal(),
            }
        };
        assert!(export.is(refused.0, refused.1), "export: {export:?}");
        assert!(self.seen < PRODUCTS, "{} were exported", self.seen);
    }

    /// Both streams go on where they stood.
    async fn goes_on(&mut self) {
        (self.rows, self.settled) = stream(&self.client, "ProductService/ImportProducts").await.expect("an import");
        assert_eq!(self.open().await.expect("opened again"), 2);
        assert_eq!(self.import(2).await.expect("a row"), 3);
        let token = self.export.resume_token().expect("some arrived").to_owned();
        self.export = self.client.products().export().resume(token).items();
        while self.take().await.expect("products") {}
        assert!(self.seen >= PRODUCTS, "{} of {PRODUCTS} were exported", self.seen);
    }
}

/// Waits until a server refuses the key; then it refuses every method.
#[expect(clippy::print_stdout, reason = "a figure is for whoever reads the run")]
async fn refuses_everything(client: &Client, refused: (Code, &str)) {
    let started = Instant::now();
    let until = async {
        while raw(client, "AuthService/WhoAmI", vec![]).await.is_ok() {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(SOON, until).await.expect("the key stops working");
    println!("{} after {} ms", refused.1, started.elapsed().as_millis());
    // Those that take strangers look at no key.
    for method in stead_api::METHODS.iter().filter(|method| !method.anonymous) {
        let refusal = raw(client, method.path, vec![]).await.refusal();
        assert!(refusal.is(refused.0, refused.1), "{}: {refusal:?}", method.path);
    }
}

/// Reads and writes of each service, none of which is refused.
async fn takes_calls(client: &Client) {
    let made = client.products().create(products::new(&Uuid::new_v4().to_string())).send().await.expect("created");
    assert_eq!(client.products().get(made.id).send().await.expect("read"), made);
    client.products().list().page_size(1).items().next().await.expect("listed");
    client.products().batch_get([made.id]).send().await.expect("read together");
    client.products().adjust_quantity(made.id, 1).send().await.expect("adjusted");
    client.products().delete(made.id).send().await.expect("deleted");
    let user = NewUser::new(format!("{}@x.org", Uuid::new_v4().simple()));
    let user = client.users().create(user).send().await.expect("a user");
    client.users().delete(user.id).send().await.expect("deleted");
    client.auth().whoami().await.expect("known");
    client.audit().list().page_size(1).items().next().await.expect("listed");
    client.tenants().current().send().await.expect("its own tenant");
}

async fn filled() -> Tenant {
    let tenant = tenant().await;
    let large = |at: usize| products::new(&format!("large-{at}")).description("x".repeat(100 * 1024));
    for part in 0..3 {
        let some = (part * PRODUCTS / 3..(part + 1) * PRODUCTS / 3).map(large);
        tenant.client.products().batch_create(some).send().await.expect("created");
    }
    tenant
}

#[tokio::test]
async fn a_suspension_and_a_deletion_end_every_call_on_every_server_until_they_are_undone() {
    let tenant = filled().await;
    let first = shared().await;
    let second = Server::beside(&first.database, &[]).await;
    let (here, there) = (first.platform().tenants(), second.platform().tenants());
    let suspended = (Code::FailedPrecondition, "TENANT_SUSPENDED");
    let deleted = (Code::Unauthenticated, "CREDENTIAL_REFUSED");
    for (step, refused) in ["suspend", "delete"].into_iter().zip([suspended, deleted]) {
        let mut underway = [Underway::begin(first, &tenant).await, Underway::begin(&second, &tenant).await];
        let written = first.count("journal", tenant.id).await;
        match step {
            "suspend" => drop(here.suspend(tenant.id).send().await.expect("suspended")),
            _ => drop(there.delete(tenant.id).send().await.expect("deleted")),
        }
        for underway in &mut underway {
            refuses_everything(&underway.client, refused).await;
            underway.is_cut(refused).await;
        }
        assert_eq!(first.count("journal", tenant.id).await, written + 1, "only the {step} itself is written");
        match step {
            "suspend" => drop(there.resume(tenant.id).send().await.expect("resumed")),
            _ => drop(here.undelete(tenant.id).send().await.expect("brought back")),
        }
        // No refusal is remembered: the next call is taken, on either server.
        for underway in &mut underway {
            takes_calls(&underway.client).await;
            underway.goes_on().await;
        }
    }
    let (_, scrape) = get(second.admin, "/metrics").await;
    let counted = calls(&scrape);
    // Each was refused once at its headers and cut once in the middle, and neither counts as a success.
    let ended = |method: &str, code: &str| counted.get(&(method.to_owned(), code.to_owned())).copied();
    for method in ["ImportProducts", "ExportProducts"] {
        for code in ["FAILED_PRECONDITION", "UNAUTHENTICATED"] {
            assert_eq!(ended(method, code), Some(2), "{method} {code}: {counted:?}");
        }
    }
    assert_eq!(ended("ExportProducts", "OK"), Some(2), "{counted:?}");
}

/// How many calls ended how, by method and code.
pub(crate) fn calls(scrape: &str) -> BTreeMap<(String, String), u64> {
    let label = |line: &str, name: &str| {
        let value = line.split_once(&format!("{name}=\""))?.1.split_once('"')?.0;
        Some(value.rsplit('/').next().unwrap_or_default().to_owned())
    };
    let lines = scrape.lines().filter(|line| line.starts_with("rpc_server_call_duration_seconds_count"));
    let count = |line: &str| {
        let key = (label(line, "rpc_method")?, label(line, "rpc_response_status_code")?);
        Some((key, line.rsplit_once(' ')?.1.parse().ok()?))
    };
    lines.filter_map(count).collect()
}

#[tokio::test]
async fn an_operator_still_acts_inside_a_suspended_tenant_and_no_longer_inside_a_deleted_one() {
    let tenant = tenant().await;
    let (platform, first) = (shared().await.platform().tenants(), shared().await);
    let second = Server::beside(&first.database, &[]).await;
    let operators = [first, &second].map(|server| server.client(&first.platform_key).with_tenant(tenant.id));
    platform.suspend(tenant.id).send().await.expect("suspended");
    for operator in &operators {
        takes_calls(operator).await;
    }
    platform.delete(tenant.id).send().await.expect("deleted");
    for operator in &operators {
        let until = async {
            loop {
                match operator.products().list().items().next().await {
                    Ok(_) => tokio::task::yield_now().await,
                    Err(error) => break error,
                }
            }
        };
        let error = tokio::time::timeout(SOON, until).await.expect("refused soon");
        assert_eq!(error.reason(), Some("RESOURCE_NOT_FOUND"), "{error}");
    }
}
