-- What a tenant stores, summed in the tenant's own context.
select
  coalesce(sum(products), 0)::bigint as "products!", coalesce(sum(users), 0)::bigint as "users!",
  coalesce(sum(bytes), 0)::bigint as "bytes!"
from stead.tenant_usage
where tenant_id = $1
