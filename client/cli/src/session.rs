//! What every command works with: the client that the settings describe, and the output.
//! It leaves where the settings come from to `settings`.

use stead_client::{Client, ClientBuilder, ErrorKind, TenantId};

use crate::{
    failure::{Exit, Failure},
    output::{Output, note},
    settings::Settings,
};

/// An open command.
#[derive(Debug)]
pub(crate) struct Session {
    pub(crate) client: Client,
    pub(crate) output: Output,
}

impl Session {
    pub(crate) async fn open(settings: &Settings) -> Result<Self, Failure> {
        Self::over(settings, builder(settings)?).await
    }

    /// Over a client that is set up otherwise than usual.
    pub(crate) async fn over(settings: &Settings, mut builder: ClientBuilder) -> Result<Self, Failure> {
        if settings.is_withheld && settings.credential.is_none() {
            note(
                "the context's credential is for its own endpoint and is not sent to this one: --key or STEAD_KEY names another",
            );
        }
        if let Some(secret) = &settings.credential {
            builder = builder.credentials(secret.value.credential().await?);
        }
        let client = built(builder)?;
        let client = if settings.is_strong { client.strong() } else { client };
        let client = match &settings.tenant {
            None => client,
            Some(tenant) => client.with_tenant(find_tenant(&client, &tenant.value).await?),
        };
        Ok(Self { client, output: Output::new(settings.output) })
    }
}

/// Everything but the credential and the tenant.
pub(crate) fn builder(settings: &Settings) -> Result<ClientBuilder, Failure> {
    let mut builder = Client::builder(&settings.endpoint.value)
        .deadline(settings.deadline)
        .user_agent(concat!("stead/", env!("CARGO_PKG_VERSION")));
    if let Some(path) = &settings.ca_certificate {
        let pem = std::fs::read(path);
        let pem = pem.map_err(|fault| Failure::usage(format!("cannot read {}: {fault}", path.display())))?;
        builder = builder.ca_certificate(pem);
    }
    if let Some(reason) = &settings.reason {
        builder = builder.reason(reason);
    }
    Ok(builder)
}

pub(crate) fn built(builder: ClientBuilder) -> Result<Client, Failure> {
    builder.build().map_err(|error| match error.kind() {
        ErrorKind::LocalReject { .. } => Failure::usage(error.message()),
        _ => error.into(),
    })
}

pub(crate) async fn find_tenant(client: &Client, tenant: &str) -> Result<TenantId, Failure> {
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
