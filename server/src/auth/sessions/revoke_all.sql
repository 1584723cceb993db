-- Ends every session of a user: a row with how many, none when the user is missing or not in the caller's reach.
with ctx as materialized (
  select set_config('stead.request', $1, true), stead.now() as now
), u as materialized (
  select u.id
  from stead.users u
  where u.tenant_id = $2::uuid and u.id = $3::uuid and (u.id = $4::uuid or $5::boolean and not u.roles && $6::text[])
), w as (
  update stead.sessions s set revoke_time = ctx.now, revision = s.revision + 1
  from ctx, u
  where s.tenant_id = $2::uuid and s.user_id = u.id and s.revoke_time is null and s.expire_time > ctx.now
  returning s.id
), r as (
  select (select count(*) from w)::integer as revoked_count
  from u
), k as (
  insert into stead.request_ids (tenant_id, subject, method, request_id, request_hash, response, create_time)
  select $2::uuid, $7::text, $8::text, $9::uuid, $10::bytea, to_jsonb(r), ctx.now
  from r, ctx where $9::uuid is not null
)
select revoked_count as "revoked_count!" from r
