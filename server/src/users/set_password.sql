-- Sets a live user's password, or removes it when there is no hash: a row when the user is there and has no role above the
-- caller. The user's row is locked first, so that this, a deletion and a sign-in take turns; it is not changed, for the
-- password is no part of its revision. The user's sessions end by a trigger.
with ctx as materialized (
  select set_config('stead.request', $1, true), stead.now() as now
), u as materialized (
  select
    u.id, u.email, u.email_key, u.username, u.display_name, u.roles, u.profile, u.state, u.last_login_time, u.revision,
    u.create_time, u.update_time, u.delete_time
  from stead.users u, ctx
  where u.tenant_id = $2::uuid and u.id = $3::uuid and u.delete_time is null
    and not u.roles && $9::text[]
  for no key update of u
), w as (
  insert into stead.user_credentials as c (tenant_id, user_id, password_hash, update_time)
  select $2::uuid, u.id, $4::text, ctx.now
  from u, ctx
  on conflict (tenant_id, user_id) do update set
    password_hash = excluded.password_hash, update_time = excluded.update_time
  where c.password_hash is distinct from excluded.password_hash
), k as (
  insert into stead.request_ids (tenant_id, subject, method, request_id, request_hash, response, create_time)
  select $2::uuid, $5::text, $6::text, $7::uuid, $8::bytea, to_jsonb(u), ctx.now
  from u, ctx where $7::uuid is not null
)
select
  id as "id!", email as "email!", email_key as "email_key!", username as "username?", display_name as "display_name!",
  roles as "roles!", profile as "profile!", state as "state!", last_login_time as "last_login_time?",
  revision as "revision!", create_time as "create_time!", update_time as "update_time!", delete_time as "delete_time?"
from u
