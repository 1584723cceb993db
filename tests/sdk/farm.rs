//! Three servers on one database, each on a port that it keeps, and one client of all of them.
//! Leaves what is asked of them to `load`.

use stead_client::{Client, ClientBuilder, ProductId};
use stead_harness::Database;
use tokio::{net::TcpStream, time::timeout};

use crate::{
    fixture::{SOON, Server, Tenant},
    products,
};

pub(super) struct Farm {
    pub(super) servers: [Server; 3],
    pub(super) tenant: Tenant,
    pub(super) client: Client,
    /// One that stands throughout.
    pub(super) product: ProductId,
    settings: Vec<(&'static str, &'static str)>,
}

impl Farm {
    pub(super) async fn start() -> Self {
        Self::with(&[]).await
    }

    pub(super) async fn with(settings: &[(&'static str, &'static str)]) -> Self {
        Self::over(Database::fresh().await, settings).await
    }

    pub(super) async fn over(database: Database, settings: &[(&'static str, &'static str)]) -> Self {
        let first = Server::with(database, settings).await;
        let servers = [first.second(settings).await, first.second(settings).await, first];
        let tenant = servers[2].tenant().await;
        let product = tenant.client.products().create(products::new("standing")).send().await.expect("created").id;
        let endpoints = joined(&servers);
        let client = builder(&endpoints, &tenant).build().expect("a client");
        Self { servers, tenant, client, product, settings: settings.to_vec() }
    }

    pub(super) fn endpoints(&self) -> String {
        joined(&self.servers)
    }

    pub(super) fn endpoint(&self, nth: usize) -> String {
        self.servers[nth].endpoint()
    }

    /// A client of all three, to be set up further.
    pub(super) fn builder(&self) -> ClientBuilder {
        builder(&self.endpoints(), &self.tenant)
    }

    /// Lets a server finish, and waits until it is gone.
    pub(super) async fn terminate(&mut self, nth: usize) {
        self.servers[nth].running.terminate();
        self.gone(nth).await;
    }

    pub(super) async fn kill(&mut self, nth: usize) {
        self.servers[nth].running.kill();
        self.gone(nth).await;
    }

    async fn gone(&self, nth: usize) {
        let gone = async { while TcpStream::connect(self.servers[nth].address).await.is_ok() {} };
        timeout(SOON, gone).await.expect("it is gone");
    }

    /// Starts a server again, on the port that it had.
    pub(super) async fn start_again(&mut self, nth: usize) {
        let Server { database, running, address, admin, .. } = &mut self.servers[nth];
        *running = Server::program(database, *address, *admin, &self.settings).start();
        running.port(*address, SOON).await;
    }
}

fn joined(servers: &[Server; 3]) -> String {
    servers.each_ref().map(Server::endpoint).join(", ")
}

fn builder(endpoints: &str, tenant: &Tenant) -> ClientBuilder {
    Client::builder(endpoints).credentials(tenant.key.clone())
}
