-- Adds to the quantity: a row when it did, none when the product is missing or the sum would leave 0 to 2^53.
-- Concurrent callers wait for one another at the row, and each judges the quantity that the one before it left.
with ctx as materialized (
  select set_config('stead.request', $1, true), stead.now() as now
), w as (
  update stead.products p set
    quantity = p.quantity + $4::bigint, update_time = greatest(ctx.now, p.update_time), revision = p.revision + 1, updater = $5::text
  from ctx
  where p.tenant_id = $2::uuid and p.id = $3::uuid and p.delete_time is null
    and p.quantity + $4::bigint between 0 and 9007199254740992
  returning
    p.id, p.sku, p.display_name, p.description, p.category, p.price_currency, p.price_minor, p.cost_currency,
    p.cost_minor, p.quantity, p.tags, p.attributes, p.language_code, p.revision, p.creator, p.updater, p.create_time,
    p.update_time, p.delete_time
), k as (
  insert into stead.request_ids (tenant_id, subject, method, request_id, request_hash, response, create_time)
  select $2::uuid, $5::text, $6::text, $7::uuid, $8::bytea, to_jsonb(w), ctx.now
  from w, ctx where $7::uuid is not null
)
select
  id as "id!", sku as "sku!", display_name as "display_name!", description as "description!",
  category as "category!", price_currency as "price_currency?", price_minor as "price_minor?",
  cost_currency as "cost_currency?", cost_minor as "cost_minor?", quantity as "quantity!", tags as "tags!",
  attributes as "attributes!", language_code as "language_code!", revision as "revision!", creator as "creator!",
  updater as "updater!", create_time as "create_time!", update_time as "update_time!", delete_time as "delete_time?"
from w
