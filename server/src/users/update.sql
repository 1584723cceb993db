-- Changes a user by mask: a row when it is now as asked (changed or so before), none when it is missing or at another
-- revision, or has a role above the caller. A change that changes nothing keeps the revision and writes no journal entry.
with ctx as materialized (
  select set_config('stead.request', $1, true), stead.now() as now
), cur as materialized (
  select
    u.id, u.email, u.email_key, u.username, u.display_name, u.roles, u.profile, u.state, u.last_login_time, u.revision,
    u.create_time, u.update_time, u.delete_time, u.username_key
  from stead.users u, ctx
  where u.tenant_id = $2::uuid and u.id = $3::uuid and u.delete_time is null
    and ($4::bigint is null or u.revision = $4) and not u.roles && $20::text[]
  for no key update of u
), new as (
  select
    coalesce($5::text, cur.email) as email,
    coalesce($6::text, cur.email_key) as email_key,
    case when $7::boolean then $8::text else cur.username end as username,
    case when $7::boolean then $9::text else cur.username_key end as username_key,
    coalesce($10::text, cur.display_name) as display_name,
    coalesce($11::text[], cur.roles) as roles,
    coalesce($12::jsonb, cur.profile - $13::text[] || $14::jsonb) as profile,
    coalesce($15::text, cur.state) as state
  from cur
), w as (
  update stead.users u set
    email = new.email, email_key = new.email_key, username = new.username, username_key = new.username_key,
    display_name = new.display_name, roles = new.roles, profile = new.profile, state = new.state,
    revision = u.revision + 1, update_time = greatest(ctx.now, u.update_time)
  from ctx, cur, new
  where u.tenant_id = $2::uuid and u.id = $3::uuid
    and (
      cur.email, cur.email_key, cur.username, cur.username_key, cur.display_name, cur.roles, cur.profile, cur.state)
    is distinct from (
      new.email, new.email_key, new.username, new.username_key, new.display_name, new.roles, new.profile, new.state)
  returning
    u.id, u.email, u.email_key, u.username, u.display_name, u.roles, u.profile, u.state, u.last_login_time, u.revision,
    u.create_time, u.update_time, u.delete_time
), r as (
  select
    id, email, email_key, username, display_name, roles, profile, state, last_login_time, revision, create_time,
    update_time, delete_time
  from w
  union all
  select
    id, email, email_key, username, display_name, roles, profile, state, last_login_time, revision, create_time,
    update_time, delete_time
  from cur where not exists (select from w)
), k as (
  insert into stead.request_ids (tenant_id, subject, method, request_id, request_hash, response, create_time)
  select $2::uuid, $16::text, $17::text, $18::uuid, $19::bytea, to_jsonb(r), ctx.now
  from r, ctx where $18::uuid is not null
)
select
  id as "id!", email as "email!", email_key as "email_key!", username as "username?", display_name as "display_name!",
  roles as "roles!", profile as "profile!", state as "state!", last_login_time as "last_login_time?",
  revision as "revision!", create_time as "create_time!", update_time as "update_time!", delete_time as "delete_time?"
from r
