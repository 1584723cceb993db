//! Signing in: from tenant, address and password to a session, by a way that is as long for who is not there.
//! It leaves decoding to the service and hashing to `users`.

use std::time::Instant;

use zeroize::Zeroizing;

use super::{
    model::{Login, Session},
    store::{self, Account, Opening},
};
use crate::{
    auth::{
        Service,
        throttle::{self, Attempt, Refused},
        token::{Kind, Token},
        verify,
    },
    cache::Touched,
    error::Error,
    principal::{AnonymousCall, TenantId},
    users::{self, Verdict},
};

/// How often a password is looked at whose hash was replaced meanwhile, as two sign-ins at once do that renew it.
const LOOKS: usize = 3;

/// What a sign-in hears that fails, whatever it fails by.
const REFUSED: &str =
    "the sign-in failed: the tenant, the email or the password is not right, or the user may not sign in";

impl Service {
    /// Opens a session for whoever has the password.
    pub(super) async fn log_in(&self, call: &AnonymousCall, login: Login) -> Result<(Session, Token), Error> {
        let now = Instant::now();
        let network = throttle::network(call.facts.peer_address);
        let attempt = self.throttle.attempt(&login.tenant, &login.email_key, network.as_deref());
        let counted = match self.throttle.admit(now, attempt, false) {
            Err(Refused::Account(_)) if self.is_known_at(&login, network.as_deref()).await? => {
                self.throttle.admit(now, attempt, true)
            }
            counted => counted,
        }?;
        let opened = self.judge(call, &login, attempt, network.as_deref()).await;
        // A wrong password alone counts. A call that ends before its answer stays counted: it may have been one.
        if !matches!(opened, Err(Error::Unauthenticated(_))) {
            counted.give_back(Instant::now());
        }
        opened
    }

    async fn judge(
        &self,
        call: &AnonymousCall,
        login: &Login,
        attempt: Attempt,
        network: Option<&str>,
    ) -> Result<(Session, Token), Error> {
        for _ in 0..LOOKS {
            if let Some(opened) = self.look(call, login, attempt, network).await? {
                return Ok(opened);
            }
        }
        Err(Error::Unauthenticated(REFUSED))
    }

    /// Opens a session, unless the user was disabled, deleted or given another hash while the password was looked at.
    async fn look(
        &self,
        call: &AnonymousCall,
        login: &Login,
        attempt: Attempt,
        network: Option<&str>,
    ) -> Result<Option<(Session, Token)>, Error> {
        let (tenant, suspended, account) = self.find(login).await?;
        let kept = account.as_ref().and_then(|account| account.password_hash.clone());
        let password = Zeroizing::clone(&login.password);
        let verdict = self.hasher.verify(password, kept, call.deadline).await?;
        let (Verdict::Right { renewed }, Some(Account { user, active: true, password_hash: Some(password_hash) })) =
            (verdict, &account)
        else {
            if let Some(account) = account {
                self.aside.login_failed(call, tenant, account.user);
            }
            return Err(Error::Unauthenticated(REFUSED));
        };
        if suspended {
            return Err(verify::suspended());
        }
        self.throttle.open(Instant::now(), attempt)?;
        let token = Token::generate(Kind::Session, tenant);
        let opening = Opening {
            facts: call.journal_facts(&format!("users/{user}")),
            token: &token,
            user: *user,
            password_hash,
            renewed: renewed.as_deref(),
            peer_address: call.facts.peer_address.map(|address| address.to_canonical().to_string()),
            network,
            user_agent: &call.facts.user_agent,
            limits: &self.limits,
        };
        // The user tells when it was last signed in.
        let writing = self.cache.writing(users::cached(tenant), Touched::of([*user])).await;
        let mut db = self.db.app.tenant(tenant).await?;
        db.carry(writing);
        Ok(store::insert(&mut db, &opening).await?.map(|session| (session, token)))
    }

    /// Whom a sign-in is for. Two exchanges, whoever is there: for an unknown tenant the second searches the platform's own,
    /// where nobody signs in, and what it finds counts for nothing.
    async fn find(&self, login: &Login) -> Result<(TenantId, bool, Option<Account>), Error> {
        let found = self.find_tenant(login).await?;
        let (tenant, suspended) = found.unwrap_or((TenantId::PLATFORM, false));
        let mut db = self.db.app.tenant(tenant).await?;
        let account = store::find_account(&mut db, &login.email_key).await?;
        Ok((tenant, suspended, account.filter(|_| found.is_some())))
    }

    async fn find_tenant(&self, login: &Login) -> Result<Option<(TenantId, bool)>, Error> {
        let mut db = self.db.app.tenant(TenantId::PLATFORM).await?;
        Ok(store::find_tenant(&mut db, &login.tenant).await?)
    }

    async fn is_known_at(&self, login: &Login, network: Option<&str>) -> Result<bool, Error> {
        let found = self.find_tenant(login).await?;
        let mut db = self.db.app.tenant(found.map_or(TenantId::PLATFORM, |(tenant, _)| tenant)).await?;
        let known = store::is_known_at(&mut db, &login.email_key, network.unwrap_or_default()).await?;
        Ok(known && found.is_some())
    }
}
