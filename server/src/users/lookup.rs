//! Finding users by what they are known by: one by email or username, many by their names.
//! It leaves the rules of emails and usernames to the model.

use futures_util::TryStreamExt;
use prost::Message;
use stead_api::v1;
use tonic::Response;
use uuid::Uuid;

use super::{cache, model::Handle, service::Service, store};
use crate::{
    error::{Error, Hurdle},
    mask::ReadMask,
    page::ANSWER_BYTES,
    principal::Call,
    rules::Violations,
};

/// The most names of one call.
const BATCH: usize = 1000;

impl Service {
    pub(super) async fn lookup(
        &self,
        call: Call,
        mut request: v1::LookupUserRequest,
    ) -> Result<Response<v1::User>, Error> {
        let mut violations = Violations::default();
        let handle = Handle::read(request.key.as_ref(), &mut violations);
        let mask = ReadMask::read(request.read_mask.take(), &mut violations);
        violations.into_result()?;
        let handle = handle.ok_or_else(|| Error::internal("a look-up goes by nothing and breaks no rule"))?;
        let name = handle.text().to_owned();
        let user = cache::by_handle(self, &call, &request, handle).await?;
        Ok(Response::new(mask.applied(user.ok_or(Error::NotFound { kind: "user", name })?)))
    }

    pub(super) async fn batch_get(
        &self,
        call: Call,
        request: v1::BatchGetUsersRequest,
    ) -> Result<Response<v1::BatchGetUsersResponse>, Error> {
        let mut violations = Violations::default();
        let ids = ids(&request.names, &mut violations);
        let mask = ReadMask::read(request.read_mask, &mut violations);
        violations.into_result()?;

        let mut db = self.db.app.tenant(call.principal.tenant).await?;
        // Before, since what is read row by row cannot be asked again.
        db.was_stale().await?;
        let (mut users, mut bytes, mut found) = (vec![], 0, vec![false; ids.len()]);
        let (mut rows, mut next) = (store::find_all(&mut db, &ids), 0);
        // One row at a time: profiles that a mask leaves out never stand in memory together.
        while let Some(user) = rows.try_next().await? {
            let at = next + ids[next..].iter().position(|id| *id == user.id).unwrap_or_default();
            (found[at], next) = (true, at + 1);
            let user: v1::User = mask.applied(user.into());
            bytes += user.encoded_len() + 6;
            if bytes > ANSWER_BYTES {
                return Err(Error::ResultTooLarge { fit: at });
            }
            users.push(user);
        }
        drop(rows);
        let mut absent = Violations::default();
        for (at, name) in request.names.iter().enumerate().filter(|(at, _)| !found[*at]) {
            let rule = format!("names `{name}`, which does not exist: check the name");
            absent.add_with_reason(Hurdle::NotFound.reason(), format!("names[{at}]"), rule);
        }
        if !absent.is_empty() && !request.allow_missing {
            return Err(Error::Entries { hurdle: Hurdle::NotFound, entries: absent });
        }
        Ok(Response::new(v1::BatchGetUsersResponse { users }))
    }
}

fn ids(names: &[String], violations: &mut Violations) -> Vec<Uuid> {
    match names.len() {
        1..=BATCH => {}
        0 => violations.add("names", format!("is empty: send 1 to {BATCH}")),
        many => violations.add("names", format!("has {many} entries, more than {BATCH}: send several batches")),
    }
    if names.len() > BATCH {
        return vec![];
    }
    names.iter().enumerate().map(|(at, name)| violations.name(&format!("names[{at}]"), "users", name)).collect()
}
