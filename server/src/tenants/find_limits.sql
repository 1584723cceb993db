select
  id as "id!", plan as "plan!", limit_rate_per_second as "limit_rate_per_second?", limit_burst as "limit_burst?",
  limit_calls_in_flight as "limit_calls_in_flight?", limit_rows as "limit_rows?", limit_bytes as "limit_bytes?",
  revision as "revision!"
from stead.tenants
where id = $1 and delete_time is null
