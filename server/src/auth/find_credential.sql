-- A key with what else decides whether it holds. There is always one row, which names the context that was searched, so
-- that an unknown key costs the same exchange as a wrong secret and a lost context is told from both.
select
  current_setting('stead.tenant', true) as "context?", found.subject as "subject?", found.permissions as "permissions?",
  found.secret_hash as "secret_hash?", found.expire_time as "expire_time?", found.revoked as "revoked?",
  found.tenant_deleted as "tenant_deleted?", found.tenant_suspended as "tenant_suspended?",
  found.require_etag as "require_etag?", found.subject_live as "subject_live?"
from (select) as always
left join (
  select
    k.subject, k.permissions, k.secret_hash, k.expire_time, k.revoke_time is not null as revoked,
    t.delete_time is not null as tenant_deleted, t.state = 'suspended' as tenant_suspended, t.require_etag,
    -- Of services there is no record that could end.
    case when starts_with(k.subject, 'users/') then exists (
      select from stead.users u
      where u.tenant_id = $1 and u.id = substr(k.subject, 7)::uuid and u.delete_time is null and u.state = 'active'
        -- An id may be used again once its user is purged: the keys of the first are not the second's.
        and u.create_time <= k.create_time
    ) else true end as subject_live
  from stead.api_keys k
  join stead.tenants t on t.id = k.tenant_id
  where k.tenant_id = $1 and k.id = $2 and t.id = $1
) as found on true
