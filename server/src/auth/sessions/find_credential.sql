-- A session with what else decides whether it holds; always one row, as of a key.
select
  current_setting('stead.tenant', true) as "context?", found.subject as "subject?", null::text[] as "permissions?",
  found.roles as "roles?", found.secret_hash as "secret_hash?", found.expire_time as "expire_time?",
  found.revoked as "revoked?", found.tenant_deleted as "tenant_deleted?", found.tenant_suspended as "tenant_suspended?",
  found.require_etag as "require_etag?", found.subject_live as "subject_live?", true as "used_lately?",
  found.plan as "plan?", found.limit_rate_per_second as "limit_rate_per_second?", found.limit_burst as "limit_burst?",
  found.limit_calls_in_flight as "limit_calls_in_flight?", found.limit_rows as "limit_rows?",
  found.limit_bytes as "limit_bytes?"
from (select) as always
left join (
  select
    'users/' || s.user_id as subject, u.roles, s.secret_hash, s.expire_time, s.revoke_time is not null as revoked,
    t.delete_time is not null as tenant_deleted, t.state = 'suspended' as tenant_suspended, t.require_etag,
    u.delete_time is null and u.state = 'active' as subject_live,
    t.plan, t.limit_rate_per_second, t.limit_burst, t.limit_calls_in_flight, t.limit_rows, t.limit_bytes
  from stead.sessions s
  join stead.tenants t on t.id = s.tenant_id
  join stead.users u on u.tenant_id = $1 and u.id = s.user_id
  where s.tenant_id = $1 and s.id = $2 and t.id = $1
) as found on true
