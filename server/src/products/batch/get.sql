-- Reads live products in the order of their ids in the request; a missing one leaves a gap.
select
  u.place as "place!", null::text as "hurdle?", true as "whole!",
  p.id as "id!", p.sku as "sku!", p.display_name as "display_name!", p.description as "description!",
  p.category as "category!", p.price_currency as "price_currency?", p.price_minor as "price_minor?",
  p.cost_currency as "cost_currency?", p.cost_minor as "cost_minor?", p.quantity as "quantity!", p.tags as "tags!",
  p.attributes as "attributes!", p.language_code as "language_code!", p.revision as "revision!",
  p.creator as "creator!", p.updater as "updater!", p.create_time as "create_time!", p.update_time as "update_time!",
  p.delete_time as "delete_time?"
from unnest($2::uuid[]) with ordinality as u (id, place)
join stead.products p on p.tenant_id = $1 and p.id = u.id and p.delete_time is null
order by u.place
