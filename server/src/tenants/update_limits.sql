-- Changes the limits that a tenant has for itself: a row when they are now as asked (changed or so before), none when it is
-- missing or at another revision. A change that changes nothing keeps the revision and writes no journal entry.
with ctx as materialized (
  select set_config('stead.request', $1, true), stead.now() as now
), cur as materialized (
  select
    t.id, t.plan, t.limit_rate_per_second, t.limit_burst, t.limit_calls_in_flight, t.limit_rows, t.limit_bytes, t.revision
  from stead.tenants t, ctx
  where t.id = $2::uuid and t.delete_time is null and ($3::bigint is null or t.revision = $3)
  for no key update of t
), new as (
  select
    case when $4::boolean then $5::integer else cur.limit_rate_per_second end as limit_rate_per_second,
    case when $6::boolean then $7::integer else cur.limit_burst end as limit_burst,
    case when $8::boolean then $9::integer else cur.limit_calls_in_flight end as limit_calls_in_flight,
    case when $10::boolean then $11::bigint else cur.limit_rows end as limit_rows,
    case when $12::boolean then $13::bigint else cur.limit_bytes end as limit_bytes
  from cur
), w as (
  update stead.tenants t set
    limit_rate_per_second = new.limit_rate_per_second, limit_burst = new.limit_burst,
    limit_calls_in_flight = new.limit_calls_in_flight, limit_rows = new.limit_rows, limit_bytes = new.limit_bytes,
    revision = t.revision + 1, update_time = greatest(ctx.now, t.update_time)
  from ctx, cur, new
  where t.id = $2::uuid
    and (
      cur.limit_rate_per_second, cur.limit_burst, cur.limit_calls_in_flight, cur.limit_rows, cur.limit_bytes)
    is distinct from (
      new.limit_rate_per_second, new.limit_burst, new.limit_calls_in_flight, new.limit_rows, new.limit_bytes)
  returning
    t.id, t.plan, t.limit_rate_per_second, t.limit_burst, t.limit_calls_in_flight, t.limit_rows, t.limit_bytes, t.revision
), r as (
  select id, plan, limit_rate_per_second, limit_burst, limit_calls_in_flight, limit_rows, limit_bytes, revision
  from w
  union all
  select id, plan, limit_rate_per_second, limit_burst, limit_calls_in_flight, limit_rows, limit_bytes, revision
  from cur where not exists (select from w)
), k as (
  insert into stead.request_ids (tenant_id, subject, method, request_id, request_hash, response, create_time)
  select stead.platform_tenant(), $14::text, $15::text, $16::uuid, $17::bytea, to_jsonb(r), ctx.now
  from r, ctx where $16::uuid is not null
)
select
  id as "id!", plan as "plan!", limit_rate_per_second as "limit_rate_per_second?", limit_burst as "limit_burst?",
  limit_calls_in_flight as "limit_calls_in_flight?", limit_rows as "limit_rows?", limit_bytes as "limit_bytes?",
  revision as "revision!"
from r
