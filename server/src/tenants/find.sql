select
  id as "id!", slug as "slug!", display_name as "display_name!", plan as "plan!", state as "state!",
  settings as "settings!", require_etag as "require_etag!", audit_retention_days as "audit_retention_days!",
  revision as "revision!", create_time as "create_time!", update_time as "update_time!", delete_time as "delete_time?"
from stead.tenants
where id = $1
