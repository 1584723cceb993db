-- Begins a session: a row when it did, none when the user may no longer sign in or has another password by now. Both rows
-- are locked first, so that this and a change of password, a disabling and a deletion take turns.
with ctx as materialized (
  select set_config('stead.request', $1, true), stead.now() as now
), u as materialized (
  select u.id
  from ctx, stead.users u
  join stead.user_credentials c on c.tenant_id = $2::uuid and c.user_id = u.id
  where u.tenant_id = $2::uuid and u.id = $4::uuid and u.delete_time is null and u.state = 'active'
    and c.password_hash = $5::text
  for no key update of u, c
), l as (
  update stead.users x set last_login_time = greatest(x.last_login_time, ctx.now)
  from ctx, u
  where x.tenant_id = $2::uuid and x.id = u.id
), p as (
  -- The same password: its update_time stays.
  update stead.user_credentials c set password_hash = $6::text
  from u
  where c.tenant_id = $2::uuid and c.user_id = u.id and $6::text is not null
), w as (
  insert into stead.sessions (
    tenant_id, id, user_id, secret_hash, peer_address, peer_network, user_agent, create_time, expire_time,
    absolute_expire_time)
  select $2::uuid, $3::uuid, u.id, $7::bytea, $8::text, $9::text, $10::text, ctx.now,
    ctx.now + least($11::interval, $12::interval), ctx.now + $12::interval
  from ctx, u
  returning id, user_id, peer_address, user_agent, create_time, expire_time, absolute_expire_time, revoke_time
)
select
  id as "id!", user_id as "user_id!", peer_address as "peer_address?", user_agent as "user_agent!",
  create_time as "create_time!", expire_time as "expire_time!", absolute_expire_time as "absolute_expire_time!",
  revoke_time as "revoke_time?"
from w
