-- The oldest revision that is left.
select min(revision)
from stead.journal
where tenant_id = $1 and resource_id = $2 and resource_type = $3
  and create_time >= $4::timestamptz - interval '1 hour' and create_time < (select stead.now()) + interval '1 hour'
  and action <> 'purge'
