-- Marks products as deleted, all or none: a row for each, in the order of the request, or a row for each that stands in
-- the way.
with ctx as materialized (
  select set_config('stead.request', $1, true), stead.now() as now
), u as materialized (
  select u.place, u.id, u.revision from unnest($3::uuid[], $4::bigint[]) with ordinality as u (id, revision, place)
), cur as materialized (
  -- Locked in the order of their skus, as creates and imports do, so that who waits for another does so in one order.
  select u.place, u.revision as asked, p.id, p.revision
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
), r as (
  update stead.products p set
    delete_time = ctx.now, update_time = greatest(ctx.now, p.update_time), revision = p.revision + 1, updater = $5::text
  from ctx, cur
  where p.tenant_id = $2::uuid and p.id = cur.id and not exists (select from hurdle)
  returning
    cur.place, p.id, p.sku, p.display_name, p.description, p.category, p.price_currency, p.price_minor,
    p.cost_currency, p.cost_minor, p.quantity, p.tags, p.attributes, p.language_code, p.revision, p.creator, p.updater,
    p.create_time, p.update_time, p.delete_time
), size as (
  select coalesce(sum(octet_length(r.description) + octet_length(r.attributes::text)), 0) <= 3145728 as whole from r
), kept as (
  -- The scalar sub-select keeps a large batch from being built as JSON only to be thrown away.
  select jsonb_agg(to_jsonb(r) order by r.place) as answer
  from r
  where $7::uuid is not null
    and (select sum(octet_length(description) + octet_length(attributes::text)) from r) <= 65536
), k as (
  insert into stead.request_ids (tenant_id, subject, method, request_id, request_hash, response, create_time)
  select $2::uuid, $5::text, $6::text, $7::uuid, $8::bytea,
    case when octet_length(kept.answer::text) <= 65536 then kept.answer else (
      select jsonb_build_object(
        'ids', jsonb_agg(r.id order by r.place), 'revisions', jsonb_agg(r.revision order by r.place))
      from r) end,
    ctx.now
  from kept, ctx
  where $7::uuid is not null and not exists (select from hurdle)
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
