//! `stead whoami`: who the service takes the caller for.
//! It leaves what the permissions mean to the service.

use stead_client::WhoAmI;

use crate::{
    failure::Failure,
    output::{Column, Shown, maybe_time},
    session::Session,
};

pub(crate) async fn run(session: &mut Session) -> Result<(), Failure> {
    let me = session.client.auth().whoami().await?;
    session.output.one(&me)
}

impl Shown for WhoAmI {
    const MANY: &'static str = "callers";
    const COLUMNS: &'static [Column] = &[Column::whole("SUBJECT"), Column::whole("TENANT")];

    fn cells(&self) -> Vec<String> {
        vec![self.subject.clone(), self.tenant.to_string()]
    }

    fn fields(&self) -> Vec<(&'static str, String)> {
        vec![
            ("subject", self.subject.clone()),
            ("tenant", self.tenant.to_string()),
            ("platform", self.platform.to_string()),
            ("api_key", self.api_key.map(|key| key.to_string()).unwrap_or_default()),
            ("session", self.session.map(|session| session.to_string()).unwrap_or_default()),
            ("issuer", self.issuer.clone().unwrap_or_default()),
            ("permissions", self.permissions.join(" ")),
            ("expire_time", maybe_time(self.expire_time)),
        ]
    }
}
