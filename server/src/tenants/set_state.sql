-- Suspends or resumes a tenant: a row when it is now as asked (changed or so before), none when it is missing or at
-- another revision. A state that stood already keeps the revision and writes no journal entry.
with ctx as materialized (
  select set_config('stead.request', $1, true), stead.now() as now
), cur as materialized (
  select
    t.id, t.slug, t.display_name, t.plan, t.state, t.settings, t.require_etag, t.audit_retention_days, t.revision,
    t.create_time, t.update_time, t.delete_time
  from stead.tenants t, ctx
  where t.id = $2::uuid and t.delete_time is null and ($3::bigint is null or t.revision = $3)
  for no key update of t
), w as (
  update stead.tenants t set state = $4::text, revision = t.revision + 1, update_time = greatest(ctx.now, t.update_time)
  from ctx, cur
  where t.id = $2::uuid and cur.state <> $4::text
  returning
    t.id, t.slug, t.display_name, t.plan, t.state, t.settings, t.require_etag, t.audit_retention_days, t.revision,
    t.create_time, t.update_time, t.delete_time
), r as (
  select
    id, slug, display_name, plan, state, settings, require_etag, audit_retention_days, revision, create_time, update_time,
    delete_time
  from w
  union all
  select
    id, slug, display_name, plan, state, settings, require_etag, audit_retention_days, revision, create_time, update_time,
    delete_time
  from cur where not exists (select from w)
), k as (
  insert into stead.request_ids (tenant_id, subject, method, request_id, request_hash, response, create_time)
  select stead.platform_tenant(), $5::text, $6::text, $7::uuid, $8::bytea, to_jsonb(r), ctx.now
  from r, ctx where $7::uuid is not null
)
select
  id as "id!", slug as "slug!", display_name as "display_name!", plan as "plan!", state as "state!",
  settings as "settings!", require_etag as "require_etag!", audit_retention_days as "audit_retention_days!",
  revision as "revision!", create_time as "create_time!", update_time as "update_time!", delete_time as "delete_time?"
from r
