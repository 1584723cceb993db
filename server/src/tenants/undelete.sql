-- Brings a deleted tenant back: a row when it did, none when the tenant is missing, live, at another revision, or so long
-- deleted that its purge is due. The minute is the purge's own: it may run no longer than that beside this statement, and
-- would otherwise have taken part of the tenant already.
with ctx as materialized (
  select set_config('stead.request', $1, true), stead.now() as now
), w as (
  update stead.tenants t set delete_time = null, update_time = greatest(ctx.now, t.update_time), revision = t.revision + 1
  from ctx
  where t.id = $2::uuid and t.delete_time > ctx.now - interval '30 days' + interval '1 minute'
    and ($3::bigint is null or t.revision = $3)
  returning
    t.id, t.slug, t.display_name, t.plan, t.state, t.settings, t.require_etag, t.audit_retention_days, t.revision,
    t.create_time, t.update_time, t.delete_time
), k as (
  insert into stead.request_ids (tenant_id, subject, method, request_id, request_hash, response, create_time)
  select stead.platform_tenant(), $4::text, $5::text, $6::uuid, $7::bytea, to_jsonb(w), ctx.now
  from w, ctx where $6::uuid is not null
)
select
  id as "id!", slug as "slug!", display_name as "display_name!", plan as "plan!", state as "state!",
  settings as "settings!", require_etag as "require_etag!", audit_retention_days as "audit_retention_days!",
  revision as "revision!", create_time as "create_time!", update_time as "update_time!", delete_time as "delete_time?"
from w
