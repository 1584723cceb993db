//! What every command works with: the client that the options describe, and the output.
//! It leaves the options' words to `cli`.

use stead_client::{Client, Credential, ErrorKind, TenantId};

use crate::{
    cli::Connection,
    failure::{Exit, Failure},
    output::Output,
};

/// An open command.
#[derive(Debug)]
pub(crate) struct Session {
    pub(crate) client: Client,
    pub(crate) output: Output,
}

impl Session {
    pub(crate) async fn open(connection: &Connection) -> Result<Self, Failure> {
        let mut builder = Client::builder(&connection.endpoint)
            .deadline(connection.deadline)
            .user_agent(concat!("stead/", env!("CARGO_PKG_VERSION")));
        if let Some(key) = connection.credential.as_deref().filter(|key| !key.is_empty()) {
            builder = builder.credentials(Credential::new(key));
        }
        if let Some(path) = &connection.ca_certificate {
            let pem = std::fs::read(path);
            let pem = pem.map_err(|fault| Failure::usage(format!("cannot read {}: {fault}", path.display())))?;
            builder = builder.ca_certificate(pem);
        }
        if let Some(reason) = &connection.reason {
            builder = builder.reason(reason);
        }
        let client = builder.build().map_err(|error| match error.kind() {
            ErrorKind::LocalReject { .. } => Failure::usage(error.message()),
            _ => error.into(),
        })?;
        let client = match &connection.acting_in {
            None => client,
            Some(tenant) => client.with_tenant(find_tenant(&client, tenant).await?),
        };
        Ok(Self { client, output: Output::new(connection.output) })
    }
}

async fn find_tenant(client: &Client, tenant: &str) -> Result<TenantId, Failure> {
    if let Ok(id) = tenant.parse() {
        return Ok(id);
    }
    match client.tenants().lookup(tenant).send().await {
        Ok(tenant) => Ok(tenant.id),
        Err(error) if *error.kind() == ErrorKind::Forbidden => Err(Failure::new(
            Exit::Refused,
            "--tenant is for keys of the platform: leave it out, your key names its tenant",
        )),
        Err(error) => Err(error.into()),
    }
}
