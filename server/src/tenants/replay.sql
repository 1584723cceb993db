-- A kept answer, read with the columns' own types.
select
  id as "id!", slug as "slug!", display_name as "display_name!", plan as "plan!", state as "state!",
  settings as "settings!", require_etag as "require_etag!", revision as "revision!", create_time as "create_time!",
  update_time as "update_time!", delete_time as "delete_time?"
from jsonb_populate_record(null::stead.tenants, $1)
