select
  id as "id!", subject as "subject!", display_name as "display_name!", permissions as "permissions!",
  creator as "creator!", create_time as "create_time!", expire_time as "expire_time?", revoke_time as "revoke_time?",
  last_use_time as "last_use_time?"
from stead.api_keys
where tenant_id = $1 and id = $2
