-- Revokes a key: a row when it did, none when the key is missing, was revoked before or acts as another user who has a role
-- above the caller.
with ctx as materialized (
  select set_config('stead.request', $1, true), stead.now() as now
), w as (
  update stead.api_keys a set revoke_time = ctx.now, revision = a.revision + 1
  from ctx
  where a.tenant_id = $2::uuid and a.id = $3::uuid and a.revoke_time is null
    and (a.subject = $4::text or not exists (
      select from stead.users u
      where u.tenant_id = $2::uuid and u.roles && $8::text[]
        and u.id = case when starts_with(a.subject, 'users/') then substr(a.subject, 7)::uuid end))
  returning
    a.id, a.subject, a.display_name, a.permissions, a.creator, a.create_time, a.expire_time, a.revoke_time,
    a.last_use_time
), k as (
  insert into stead.request_ids (tenant_id, subject, method, request_id, request_hash, response, create_time)
  select $2::uuid, $4::text, $5::text, $6::uuid, $7::bytea, to_jsonb(w), w.revoke_time
  from w where $6::uuid is not null
)
select
  id as "id!", subject as "subject!", display_name as "display_name!", permissions as "permissions!",
  creator as "creator!", create_time as "create_time!", expire_time as "expire_time?", revoke_time as "revoke_time?",
  last_use_time as "last_use_time?"
from w
