-- The bounds in time are the id's own; they leave one month to look in.
select
  id as "id!", create_time as "create_time!", resource_type as "resource_type!", resource_id as "resource_id?",
  action as "action!", old_values as "old_values?", new_values as "new_values?", personal as "personal?",
  actor as "actor!", db_role as "db_role!", method as "method?", request_id as "request_id?", trace_id as "trace_id?",
  peer_address as "peer_address?", user_agent as "user_agent?", reason as "reason?"
from stead.journal
where tenant_id = $1 and create_time >= $2 and create_time < $3 and id = $4
