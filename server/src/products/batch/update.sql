-- Changes products by masks of their own, all or none: a row for each, in the order of the request, or a row for each
-- that stands in the way. What changes nothing keeps its revision and writes no journal entry.
with ctx as materialized (
  select set_config('stead.request', $1, true), stead.now() as now
), u as materialized (
  select u.place, u.id, u.revision, u.sku, u.display_name, u.description, u.category, u.sets_price, u.price_currency,
    u.price_minor, u.sets_cost, u.cost_currency, u.cost_minor, u.quantity, u.tags, u.attributes, u.attributes_removed,
    u.attributes_set, u.language_code
  from unnest($3::uuid[], $4::bigint[], $6::text[], $7::text[], $8::text[], $9::text[], $10::boolean[], $11::text[],
      $12::bigint[], $13::boolean[], $14::text[], $15::bigint[], $16::bigint[], $17::jsonb[], $18::jsonb[],
      $19::jsonb[], $20::jsonb[], $21::text[]) with ordinality
    as u (id, revision, sku, display_name, description, category, sets_price, price_currency, price_minor, sets_cost,
      cost_currency, cost_minor, quantity, tags, attributes, attributes_removed, attributes_set,
      language_code, place)
), cur as materialized (
  -- Locked in the order of their skus, as creates and imports do, so that who waits for another does so in one order.
  -- What is to be written comes along: the planner counts on few rows, and would join a thousand to a thousand each with each.
  select
    u.place, p.id, p.sku, p.display_name, p.description, p.category, p.price_currency, p.price_minor,
    p.cost_currency, p.cost_minor, p.quantity, p.tags, p.attributes, p.language_code, p.revision, p.creator, p.updater,
    p.create_time, p.update_time, p.delete_time, u.revision as asked, u.sku as new_sku,
    u.display_name as new_display_name, u.description as new_description, u.category as new_category,
    u.price_currency as new_price_currency, u.price_minor as new_price_minor,
    u.cost_currency as new_cost_currency, u.cost_minor as new_cost_minor, u.quantity as new_quantity, u.tags as new_tags, u.language_code as new_language_code, u.sets_price, u.sets_cost,
    coalesce(u.attributes, p.attributes - array(select jsonb_array_elements_text(u.attributes_removed))
      || u.attributes_set) as new_attributes,
    u.attributes is null and u.attributes_set <> '{}' as merges
  from u
  join stead.products p on p.tenant_id = $2::uuid and p.id = u.id and p.delete_time is null
  order by p.sku, p.id
  for no key update of p
), hurdle as materialized (
  select u.place, u.id, 0 as revision, 'missing' as name
  from u where u.id not in (select cur.id from cur)
  union all
  select cur.place, cur.id, cur.revision, 'stale'
  from cur where cur.asked <> cur.revision
  union all
  -- A sku that another product gives up in the same batch counts as taken: else the order of the rows would decide.
  select cur.place, cur.id, cur.revision, 'sku'
  from cur
  join stead.products other
    on other.tenant_id = $2::uuid and other.sku = cur.new_sku and other.delete_time is null and other.id <> cur.id
  union all
  select cur.place, cur.id, cur.revision, 'attributes'
  from cur where cur.merges and not stead.struct_valid(cur.new_attributes)
), new as materialized (
  select
    cur.place, cur.id, cur.sku, cur.display_name, cur.description, cur.category, cur.price_currency, cur.price_minor,
    cur.cost_currency, cur.cost_minor, cur.quantity, cur.tags, cur.attributes, cur.language_code, cur.revision,
    cur.creator, cur.updater, cur.create_time, cur.update_time, cur.delete_time,
    coalesce(cur.new_sku, cur.sku) as new_sku,
    coalesce(cur.new_display_name, cur.display_name) as new_display_name,
    coalesce(cur.new_description, cur.description) as new_description,
    coalesce(cur.new_category, cur.category) as new_category,
    case when cur.sets_price then cur.new_price_currency else cur.price_currency end as new_price_currency,
    case when cur.sets_price then cur.new_price_minor else cur.price_minor end as new_price_minor,
    case when cur.sets_cost then cur.new_cost_currency else cur.cost_currency end as new_cost_currency,
    case when cur.sets_cost then cur.new_cost_minor else cur.cost_minor end as new_cost_minor,
    coalesce(cur.new_quantity, cur.quantity) as new_quantity,
    case when cur.new_tags is null then cur.tags else array(
      select t.tag from jsonb_array_elements_text(cur.new_tags) with ordinality as t (tag, place) order by t.place
    ) end as new_tags,
    cur.new_attributes,
    coalesce(cur.new_language_code, cur.language_code) as new_language_code
  from cur
  where not exists (select from hurdle)
), w as (
  update stead.products p set
    sku = new.new_sku, display_name = new.new_display_name, description = new.new_description,
    category = new.new_category, price_currency = new.new_price_currency, price_minor = new.new_price_minor,
    cost_currency = new.new_cost_currency, cost_minor = new.new_cost_minor, quantity = new.new_quantity,
    tags = new.new_tags, attributes = new.new_attributes, language_code = new.new_language_code,
    revision = p.revision + 1, updater = $5::text, update_time = greatest(ctx.now, p.update_time)
  from ctx, new
  -- What is locked is compared: the statement's own snapshot may show the row as it was before the wait for the lock.
  where p.tenant_id = $2::uuid and p.id = new.id
    and (
      new.sku, new.display_name, new.description, new.category, new.price_currency, new.price_minor,
      new.cost_currency, new.cost_minor, new.quantity, new.tags, new.attributes, new.language_code)
    is distinct from (
      new.new_sku, new.new_display_name, new.new_description, new.new_category, new.new_price_currency,
      new.new_price_minor, new.new_cost_currency, new.new_cost_minor, new.new_quantity, new.new_tags,
      new.new_attributes, new.new_language_code)
  returning
    new.place, p.id, p.sku, p.display_name, p.description, p.category, p.price_currency, p.price_minor,
    p.cost_currency, p.cost_minor, p.quantity, p.tags, p.attributes, p.language_code, p.revision, p.creator, p.updater,
    p.create_time, p.update_time, p.delete_time
), r as (
  select
    place, id, sku, display_name, description, category, price_currency, price_minor, cost_currency, cost_minor,
    quantity, tags, attributes, language_code, revision, creator, updater, create_time, update_time, delete_time
  from w
  union all
  select
    place, id, sku, display_name, description, category, price_currency, price_minor, cost_currency, cost_minor,
    quantity, tags, attributes, language_code, revision, creator, updater, create_time, update_time, delete_time
  from new
  where (
      new.sku, new.display_name, new.description, new.category, new.price_currency, new.price_minor,
      new.cost_currency, new.cost_minor, new.quantity, new.tags, new.attributes, new.language_code)
    is not distinct from (
      new.new_sku, new.new_display_name, new.new_description, new.new_category, new.new_price_currency,
      new.new_price_minor, new.new_cost_currency, new.new_cost_minor, new.new_quantity, new.new_tags,
      new.new_attributes, new.new_language_code)
), size as (
  select coalesce(sum(octet_length(r.description) + octet_length(r.attributes::text)), 0) <= 3145728 as whole from r
), kept as (
  -- The scalar sub-select keeps a large batch from being built as JSON only to be thrown away.
  select jsonb_agg(to_jsonb(r) order by r.place) as answer
  from r
  where $23::uuid is not null
    and (select sum(octet_length(description) + octet_length(attributes::text)) from r) <= 65536
), k as (
  insert into stead.request_ids (tenant_id, subject, method, request_id, request_hash, response, create_time)
  select $2::uuid, $5::text, $22::text, $23::uuid, $24::bytea,
    case when octet_length(kept.answer::text) <= 65536 then kept.answer else (
      select jsonb_build_object(
        'ids', jsonb_agg(r.id order by r.place), 'revisions', jsonb_agg(r.revision order by r.place))
      from r) end,
    ctx.now
  from kept, ctx
  where $23::uuid is not null and not exists (select from hurdle)
)
select
  place as "place!", hurdle as "hurdle?", whole as "whole!",
  id as "id!", sku as "sku!", display_name as "display_name!", description as "description!",
  category as "category!", price_currency as "price_currency?", price_minor as "price_minor?",
  cost_currency as "cost_currency?", cost_minor as "cost_minor?", quantity as "quantity!", tags as "tags!",
  attributes as "attributes!", language_code as "language_code!", revision as "revision!", creator as "creator!",
  updater as "updater!", create_time as "create_time!", update_time as "update_time!", delete_time as "delete_time?"
from (
  select r.place, null as hurdle, size.whole, r.id, r.sku, r.display_name,
    case when size.whole then r.description else '' end as description, r.category, r.price_currency, r.price_minor,
    r.cost_currency, r.cost_minor, r.quantity, r.tags,
    case when size.whole then r.attributes else '{}' end as attributes, r.language_code, r.revision,
    r.creator, r.updater, r.create_time, r.update_time, r.delete_time
  from r, size
  union all
  select hurdle.place, hurdle.name, false, hurdle.id, '', '', '', '', null, null, null, null, 0, '{}', '{}',
    '', hurdle.revision, '', '', ctx.now, ctx.now, null
  from hurdle, ctx
) as answer
order by place
