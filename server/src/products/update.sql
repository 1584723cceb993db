-- Changes a product by mask: a row when it is now as asked (changed or so before), none when it is missing or at another
-- revision. A change that changes nothing keeps the revision and writes no journal entry.
with ctx as materialized (
  select set_config('stead.request', $1, true), stead.now() as now
), cur as materialized (
  select
    p.id, p.sku, p.display_name, p.description, p.category, p.price_currency, p.price_minor, p.cost_currency,
    p.cost_minor, p.quantity, p.tags, p.attributes, p.language_code, p.revision, p.creator, p.updater, p.create_time,
    p.update_time, p.delete_time
  from stead.products p, ctx
  where p.tenant_id = $2::uuid and p.id = $3::uuid and p.delete_time is null
    and ($4::bigint is null or p.revision = $4)
  for no key update of p
), new as (
  select
    coalesce($6::text, cur.sku) as sku,
    coalesce($7::text, cur.display_name) as display_name,
    coalesce($8::text, cur.description) as description,
    coalesce($9::text, cur.category) as category,
    case when $10::boolean then $11::text else cur.price_currency end as price_currency,
    case when $10::boolean then $12::bigint else cur.price_minor end as price_minor,
    case when $13::boolean then $14::text else cur.cost_currency end as cost_currency,
    case when $13::boolean then $15::bigint else cur.cost_minor end as cost_minor,
    coalesce($16::bigint, cur.quantity) as quantity,
    coalesce($17::text[], cur.tags) as tags,
    coalesce($18::jsonb, cur.attributes - $19::text[] || $20::jsonb) as attributes,
    coalesce($21::text, cur.language_code) as language_code
  from cur
), w as (
  update stead.products p set
    sku = new.sku, display_name = new.display_name, description = new.description, category = new.category,
    price_currency = new.price_currency, price_minor = new.price_minor, cost_currency = new.cost_currency,
    cost_minor = new.cost_minor, quantity = new.quantity, tags = new.tags, attributes = new.attributes,
    language_code = new.language_code, revision = p.revision + 1, updater = $5::text,
    update_time = greatest(ctx.now, p.update_time)
  from ctx, cur, new
  -- What is locked is compared: the statement's own snapshot may show the row as it was before the wait for the lock.
  where p.tenant_id = $2::uuid and p.id = $3::uuid
    and (
      cur.sku, cur.display_name, cur.description, cur.category, cur.price_currency, cur.price_minor, cur.cost_currency,
      cur.cost_minor, cur.quantity, cur.tags, cur.attributes, cur.language_code)
    is distinct from (
      new.sku, new.display_name, new.description, new.category, new.price_currency, new.price_minor,
      new.cost_currency, new.cost_minor, new.quantity, new.tags, new.attributes, new.language_code)
  returning
    p.id, p.sku, p.display_name, p.description, p.category, p.price_currency, p.price_minor, p.cost_currency,
    p.cost_minor, p.quantity, p.tags, p.attributes, p.language_code, p.revision, p.creator, p.updater, p.create_time,
    p.update_time, p.delete_time
), r as (
  select
    id, sku, display_name, description, category, price_currency, price_minor, cost_currency, cost_minor, quantity,
    tags, attributes, language_code, revision, creator, updater, create_time, update_time, delete_time
  from w
  union all
  select
    id, sku, display_name, description, category, price_currency, price_minor, cost_currency, cost_minor, quantity,
    tags, attributes, language_code, revision, creator, updater, create_time, update_time, delete_time
  from cur where not exists (select from w)
), k as (
  insert into stead.request_ids (tenant_id, subject, method, request_id, request_hash, response, create_time)
  select $2::uuid, $5::text, $22::text, $23::uuid, $24::bytea, to_jsonb(r), ctx.now
  from r, ctx where $23::uuid is not null
)
select
  id as "id!", sku as "sku!", display_name as "display_name!", description as "description!",
  category as "category!", price_currency as "price_currency?", price_minor as "price_minor?",
  cost_currency as "cost_currency?", cost_minor as "cost_minor?", quantity as "quantity!", tags as "tags!",
  attributes as "attributes!", language_code as "language_code!", revision as "revision!", creator as "creator!",
  updater as "updater!", create_time as "create_time!", update_time as "update_time!", delete_time as "delete_time?"
from r
