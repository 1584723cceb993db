-- Writes a user, the hash of the password if there is one, their journal entries (by trigger) and the request id in one
-- statement. What the request id keeps never holds the hash.
with ctx as materialized (
  select set_config('stead.request', $1, true), stead.now() as now
), w as (
  insert into stead.users (
    tenant_id, id, email, email_key, username, username_key, display_name, roles, profile, state, create_time,
    update_time)
  select $2::uuid, $3::uuid, $4::text, $5::text, $6::text, $7::text, $8::text, $9::text[], $10::jsonb, $11::text,
    ctx.now, ctx.now
  from ctx
  returning
    id, email, email_key, username, display_name, roles, profile, state, last_login_time, revision, create_time,
    update_time, delete_time
), c as (
  insert into stead.user_credentials (tenant_id, user_id, password_hash, update_time)
  select $2::uuid, w.id, $12::text, w.create_time
  from w where $12::text is not null
), k as (
  insert into stead.request_ids (tenant_id, subject, method, request_id, request_hash, response, create_time)
  select $2::uuid, $13::text, $14::text, $15::uuid, $16::bytea, to_jsonb(w), ctx.now
  from w, ctx where $15::uuid is not null
)
select
  id as "id!", email as "email!", email_key as "email_key!", username as "username?", display_name as "display_name!",
  roles as "roles!", profile as "profile!", state as "state!", last_login_time as "last_login_time?",
  revision as "revision!", create_time as "create_time!", update_time as "update_time!", delete_time as "delete_time?"
from w
