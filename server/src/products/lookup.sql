select
  id as "id!", sku as "sku!", display_name as "display_name!", description as "description!",
  category as "category!", price_currency as "price_currency?", price_minor as "price_minor?",
  cost_currency as "cost_currency?", cost_minor as "cost_minor?", quantity as "quantity!", tags as "tags!",
  attributes as "attributes!", language_code as "language_code!", revision as "revision!", creator as "creator!",
  updater as "updater!", create_time as "create_time!", update_time as "update_time!", delete_time as "delete_time?"
from stead.products
where tenant_id = $1 and sku = $2 and delete_time is null
