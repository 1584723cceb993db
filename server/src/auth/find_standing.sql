-- Whether the tenant and the user whom an issuer vouches for may act; always one row, as of a key.
select
  current_setting('stead.tenant', true) as "context?", found.roles as "roles?", found.live as "live?",
  found.tenant_suspended as "tenant_suspended?", found.require_etag as "require_etag?",
  found.plan as "plan?", found.limit_rate_per_second as "limit_rate_per_second?", found.limit_burst as "limit_burst?",
  found.limit_calls_in_flight as "limit_calls_in_flight?", found.limit_rows as "limit_rows?",
  found.limit_bytes as "limit_bytes?"
from (select) as always
left join (
  select
    u.roles, t.state = 'suspended' as tenant_suspended, t.require_etag,
    t.delete_time is null
      and ($2::uuid is null or u.id is not null and u.delete_time is null and u.state = 'active') as live,
    t.plan, t.limit_rate_per_second, t.limit_burst, t.limit_calls_in_flight, t.limit_rows, t.limit_bytes
  from stead.tenants t
  left join stead.users u on u.tenant_id = $1 and u.id = $2
  where t.id = $1
) as found on true
