-- The function knows the ids and nothing that is shown: the products are read under the caller's own policy.
with suggested as materialized (
  select ids from stead_search.suggest_products($1, $2, $3)
)
select p.id as "id!", p.sku as "sku!", p.display_name as "display_name!"
from suggested, unnest(suggested.ids) with ordinality as place (id, nth)
join stead.products as p on p.tenant_id = $1 and p.id = place.id and p.delete_time is null
order by place.nth
