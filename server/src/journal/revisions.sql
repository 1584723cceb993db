-- The revisions between two numbers, oldest first. Both numbers, because with one and a limit PostgreSQL may sort the
-- whole history; the bounds in time leave few months to look in, and the clocks of servers that take each other's place
-- differ by less than an hour.
select
  revision as "revision!", action as "action!", coalesce(update_time, create_time) as "time!",
  case when action in ('update', 'delete') then old_values end as "old_values?",
  case when action in ('create', 'undelete') then new_values else image end as "whole?",
  actor as "actor!", db_role as "db_role!"
from stead.journal
where tenant_id = $1 and resource_id = $2 and resource_type = $3
  and create_time >= $4::timestamptz - interval '1 hour' and create_time < (select stead.now()) + interval '1 hour'
  and revision > $5 and revision <= $6 and action <> 'purge'
order by revision
