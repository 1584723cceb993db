-- Writes a tenant, its journal entry (by trigger) and its request id in one statement.
with ctx as materialized (
  select set_config('stead.request', $1, true), stead.now() as now
), w as (
  insert into stead.tenants (id, slug, display_name, plan, settings, require_etag, audit_retention_days, create_time,
    update_time)
  select $2::uuid, $3::text, $4::text, $5::text, $6::jsonb, $7::boolean, $8::integer, ctx.now, ctx.now
  from ctx
  returning
    id, slug, display_name, plan, state, settings, require_etag, audit_retention_days, revision, create_time, update_time,
    delete_time
), k as (
  insert into stead.request_ids (tenant_id, subject, method, request_id, request_hash, response, create_time)
  select stead.platform_tenant(), $9::text, $10::text, $11::uuid, $12::bytea, to_jsonb(w), ctx.now
  from w, ctx where $11::uuid is not null
)
select
  id as "id!", slug as "slug!", display_name as "display_name!", plan as "plan!", state as "state!",
  settings as "settings!", require_etag as "require_etag!", audit_retention_days as "audit_retention_days!",
  revision as "revision!", create_time as "create_time!", update_time as "update_time!", delete_time as "delete_time?"
from w
