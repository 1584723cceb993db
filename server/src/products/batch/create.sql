-- Creates products, all or none: a row for each, in the order of the request, or a row for each that stands in the way.
-- In the order of their skus, so that batches that wait for one another do so in one order.
with ctx as materialized (
  select set_config('stead.request', $1, true), stead.now() as now
), u as materialized (
  select u.place, u.id, u.sku, u.display_name, u.description, u.category, u.price_currency, u.price_minor,
    u.cost_currency, u.cost_minor, u.quantity, u.attributes, u.language_code,
    array(
      select t.tag from jsonb_array_elements_text(u.tags) with ordinality as t (tag, place) order by t.place
    ) as tags
  from unnest($3::uuid[], $4::text[], $5::text[], $6::text[], $7::text[], $8::text[], $9::bigint[], $10::text[],
      $11::bigint[], $12::bigint[], $13::jsonb[], $14::jsonb[], $15::text[]) with ordinality
    as u (id, sku, display_name, description, category, price_currency, price_minor, cost_currency, cost_minor,
      quantity, tags, attributes, language_code, place)
), hurdle as materialized (
  select u.place, 'sku' as name, u.id, 0 as revision
  from u join stead.products p on p.tenant_id = $2::uuid and p.sku = u.sku and p.delete_time is null
  union all
  select u.place, 'id', u.id, 0
  from u join stead.products p on p.tenant_id = $2::uuid and p.id = u.id
), w as (
  insert into stead.products (
    tenant_id, id, sku, display_name, description, category, price_currency, price_minor, cost_currency, cost_minor,
    quantity, tags, attributes, language_code, creator, updater, create_time, update_time)
  select $2::uuid, u.id, u.sku, u.display_name, u.description, u.category, u.price_currency, u.price_minor,
    u.cost_currency, u.cost_minor, u.quantity, u.tags, u.attributes, u.language_code, $16::text, $16::text,
    ctx.now, ctx.now
  from u, ctx
  where not exists (select from hurdle)
  order by u.sku collate "C"
  returning
    id, sku, display_name, description, category, price_currency, price_minor, cost_currency, cost_minor, quantity,
    tags, attributes, language_code, revision, creator, updater, create_time, update_time, delete_time
), r as (
  select
    u.place,
    w.id, w.sku, w.display_name, w.description, w.category, w.price_currency, w.price_minor, w.cost_currency,
    w.cost_minor, w.quantity, w.tags, w.attributes, w.language_code, w.revision, w.creator, w.updater, w.create_time,
    w.update_time, w.delete_time
  from w join u on u.id = w.id
), size as (
  select coalesce(sum(octet_length(r.description) + octet_length(r.attributes::text)), 0) <= 3145728 as whole from r
), kept as (
  -- The scalar sub-select keeps a large batch from being built as JSON only to be thrown away.
  select jsonb_agg(to_jsonb(r) order by r.place) as answer
  from r
  where $18::uuid is not null
    and (select sum(octet_length(description) + octet_length(attributes::text)) from r) <= 65536
), k as (
  insert into stead.request_ids (tenant_id, subject, method, request_id, request_hash, response, create_time)
  select $2::uuid, $16::text, $17::text, $18::uuid, $19::bytea,
    case when octet_length(kept.answer::text) <= 65536 then kept.answer else (
      select jsonb_build_object(
        'ids', jsonb_agg(r.id order by r.place), 'revisions', jsonb_agg(r.revision order by r.place))
      from r) end,
    ctx.now
  from kept, ctx
  where $18::uuid is not null and not exists (select from hurdle)
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
