-- Marks a user as deleted: a row when it did, none when the user is missing or at another revision, or has a role above the
-- caller.
with ctx as materialized (
  select set_config('stead.request', $1, true), stead.now() as now
), w as (
  update stead.users u set delete_time = ctx.now, update_time = greatest(ctx.now, u.update_time), revision = u.revision + 1
  from ctx
  where u.tenant_id = $2::uuid and u.id = $3::uuid and u.delete_time is null
    and ($4::bigint is null or u.revision = $4) and not u.roles && $9::text[]
  returning
    u.id, u.email, u.email_key, u.username, u.display_name, u.roles, u.profile, u.state, u.last_login_time, u.revision,
    u.create_time, u.update_time, u.delete_time
), k as (
  insert into stead.request_ids (tenant_id, subject, method, request_id, request_hash, response, create_time)
  select $2::uuid, $5::text, $6::text, $7::uuid, $8::bytea, to_jsonb(w), ctx.now
  from w, ctx where $7::uuid is not null
)
select
  id as "id!", email as "email!", email_key as "email_key!", username as "username?", display_name as "display_name!",
  roles as "roles!", profile as "profile!", state as "state!", last_login_time as "last_login_time?",
  revision as "revision!", create_time as "create_time!", update_time as "update_time!", delete_time as "delete_time?"
from w
