-- Changes a tenant by mask: a row when it is now as asked (changed or so before), none when it is missing or at another
-- revision. A change that changes nothing keeps the revision and writes no journal entry.
with ctx as materialized (
  select set_config('stead.request', $1, true), stead.now() as now
), cur as materialized (
  select
    t.id, t.slug, t.display_name, t.plan, t.state, t.settings, t.require_etag, t.audit_retention_days, t.revision,
    t.create_time, t.update_time, t.delete_time
  from stead.tenants t, ctx
  where t.id = $2::uuid and t.delete_time is null and ($3::bigint is null or t.revision = $3)
  for no key update of t
), new as (
  select
    coalesce($4::text, cur.slug) as slug,
    coalesce($5::text, cur.display_name) as display_name,
    coalesce($6::text, cur.plan) as plan,
    coalesce($7::jsonb, cur.settings) as settings,
    coalesce($8::boolean, cur.require_etag) as require_etag,
    coalesce($9::integer, cur.audit_retention_days) as audit_retention_days
  from cur
), w as (
  update stead.tenants t set
    slug = new.slug, display_name = new.display_name, plan = new.plan, settings = new.settings,
    require_etag = new.require_etag, audit_retention_days = new.audit_retention_days, revision = t.revision + 1,
    update_time = greatest(ctx.now, t.update_time)
  from ctx, cur, new
  where t.id = $2::uuid
    and (cur.slug, cur.display_name, cur.plan, cur.settings, cur.require_etag, cur.audit_retention_days) is distinct from
      (new.slug, new.display_name, new.plan, new.settings, new.require_etag, new.audit_retention_days)
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
  select stead.platform_tenant(), $10::text, $11::text, $12::uuid, $13::bytea, to_jsonb(r), ctx.now
  from r, ctx where $12::uuid is not null
)
select
  id as "id!", slug as "slug!", display_name as "display_name!", plan as "plan!", state as "state!",
  settings as "settings!", require_etag as "require_etag!", audit_retention_days as "audit_retention_days!",
  revision as "revision!", create_time as "create_time!", update_time as "update_time!", delete_time as "delete_time?"
from r
