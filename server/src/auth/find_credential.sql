-- A key with what else decides whether it holds. There is always one row, which names the context that was searched, so
-- that an unknown key costs the same exchange as a wrong secret and a lost context is told from both.
select
  current_setting('stead.tenant', true) as "context?", found.subject as "subject?", found.permissions as "permissions?",
  found.roles as "roles?", found.secret_hash as "secret_hash?", found.expire_time as "expire_time?",
  found.revoked as "revoked?", found.tenant_deleted as "tenant_deleted?", found.tenant_suspended as "tenant_suspended?",
  found.require_etag as "require_etag?", found.subject_live as "subject_live?", found.used_lately as "used_lately?",
  found.plan as "plan?", found.limit_rate_per_second as "limit_rate_per_second?", found.limit_burst as "limit_burst?",
  found.limit_calls_in_flight as "limit_calls_in_flight?", found.limit_rows as "limit_rows?",
  found.limit_bytes as "limit_bytes?"
from (select) as always
left join (
  select
    k.subject, k.permissions, u.roles, k.secret_hash, k.expire_time, k.revoke_time is not null as revoked,
    t.delete_time is not null as tenant_deleted, t.state = 'suspended' as tenant_suspended, t.require_etag,
    -- Of services there is no record that could end.
    case when starts_with(k.subject, 'users/')
      then u.id is not null and u.delete_time is null and u.state = 'active' else true end as subject_live,
    coalesce(k.last_use_time > stead.now() - interval '10 minutes', false) as used_lately,
    t.plan, t.limit_rate_per_second, t.limit_burst, t.limit_calls_in_flight, t.limit_rows, t.limit_bytes
  from stead.api_keys k
  join stead.tenants t on t.id = k.tenant_id
  left join stead.users u
    on u.tenant_id = $1 and u.id = case when starts_with(k.subject, 'users/') then substr(k.subject, 7)::uuid end
      -- An id may be used again once its user is purged: the keys of the first are not the second's.
      and u.create_time <= k.create_time
  where k.tenant_id = $1 and k.id = $2 and t.id = $1
) as found on true
