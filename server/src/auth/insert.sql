-- Writes a key, its journal entry (by trigger) and its request id in one statement; what is kept of the answer has neither
-- the secret nor its hash.
with ctx as materialized (
  select set_config('stead.request', $1, true), stead.now() as now
), w as (
  insert into stead.api_keys (
    tenant_id, id, subject, display_name, permissions, secret_hash, creator, create_time, expire_time)
  select $2::uuid, $3::uuid, $4::text, $5::text, $6::text[], $7::bytea, $8::text, ctx.now, $9::timestamptz
  from ctx
  returning id, subject, display_name, permissions, creator, create_time, expire_time, revoke_time,
    last_use_time
), k as (
  insert into stead.request_ids (tenant_id, subject, method, request_id, request_hash, response, create_time)
  select $2::uuid, $8::text, $10::text, $11::uuid, $12::bytea, to_jsonb(w), w.create_time
  from w where $11::uuid is not null
)
select
  id as "id!", subject as "subject!", display_name as "display_name!", permissions as "permissions!",
  creator as "creator!", create_time as "create_time!", expire_time as "expire_time?", revoke_time as "revoke_time?",
  last_use_time as "last_use_time?"
from w
