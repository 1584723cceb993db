-- A kept answer, read with the columns' own types.
select
  id as "id!", subject as "subject!", display_name as "display_name!", permissions as "permissions!",
  creator as "creator!", create_time as "create_time!", expire_time as "expire_time?", revoke_time as "revoke_time?"
from jsonb_populate_record(null::stead.api_keys, $1)
