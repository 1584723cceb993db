-- Moves the end of a session, never to an earlier time: a row when it did, none when the session is missing, over or not in
-- the caller's reach.
with ctx as materialized (
  select set_config('stead.request', $1, true), stead.now() as now
), w as (
  update stead.sessions s set
    expire_time = greatest(s.expire_time, least(ctx.now + $7::interval, s.absolute_expire_time)),
    revision = s.revision + 1
  from ctx
  where s.tenant_id = $2::uuid and s.id = $3::uuid and s.revoke_time is null and s.expire_time > ctx.now
    and (s.user_id = $4::uuid or $5::boolean and not exists (
      select from stead.users u where u.tenant_id = $2::uuid and u.id = s.user_id and u.roles && $6::text[]))
  returning
    s.id, s.user_id, s.peer_address, s.user_agent, s.create_time, s.expire_time, s.absolute_expire_time, s.revoke_time
), k as (
  insert into stead.request_ids (tenant_id, subject, method, request_id, request_hash, response, create_time)
  select $2::uuid, $8::text, $9::text, $10::uuid, $11::bytea, to_jsonb(w), ctx.now
  from w, ctx where $10::uuid is not null
)
select
  id as "id!", user_id as "user_id!", peer_address as "peer_address?", user_agent as "user_agent!",
  create_time as "create_time!", expire_time as "expire_time!", absolute_expire_time as "absolute_expire_time!",
  revoke_time as "revoke_time?"
from w
