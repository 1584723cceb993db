-- Writes a product, its journal entry (by trigger) and its request id in one statement.
with ctx as materialized (
  select set_config('stead.request', $1, true), stead.now() as now
), w as (
  insert into stead.products (
    tenant_id, id, sku, display_name, description, category, price_currency, price_minor, cost_currency, cost_minor,
    quantity, tags, attributes, language_code, creator, updater, create_time, update_time)
  select $2::uuid, $3::uuid, $4::text, $5::text, $6::text, $7::text, $8::text, $9::bigint, $10::text, $11::bigint,
    $12::bigint, $13::text[], $14::jsonb, $15::text, $16::text, $16::text, ctx.now, ctx.now
  from ctx
  returning
    id, sku, display_name, description, category, price_currency, price_minor, cost_currency, cost_minor, quantity,
    tags, attributes, language_code, revision, creator, updater, create_time, update_time, delete_time
), k as (
  insert into stead.request_ids (tenant_id, subject, method, request_id, request_hash, response, create_time)
  select $2::uuid, $16::text, $17::text, $18::uuid, $19::bytea, to_jsonb(w), ctx.now
  from w, ctx where $18::uuid is not null
)
select
  id as "id!", sku as "sku!", display_name as "display_name!", description as "description!",
  category as "category!", price_currency as "price_currency?", price_minor as "price_minor?",
  cost_currency as "cost_currency?", cost_minor as "cost_minor?", quantity as "quantity!", tags as "tags!",
  attributes as "attributes!", language_code as "language_code!", revision as "revision!", creator as "creator!",
  updater as "updater!", create_time as "create_time!", update_time as "update_time!", delete_time as "delete_time?"
from w
