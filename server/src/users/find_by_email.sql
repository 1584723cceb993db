select
  id as "id!", email as "email!", email_key as "email_key!", username as "username?", display_name as "display_name!",
  roles as "roles!", profile as "profile!", state as "state!", last_login_time as "last_login_time?",
  revision as "revision!", create_time as "create_time!", update_time as "update_time!", delete_time as "delete_time?"
from stead.users
where tenant_id = $1 and email_key = $2 and delete_time is null
