-- After a wait for somebody else's lock a row is looked at again: whoever is no owner by then is not returned.
select id as "id!"
from stead.users
where tenant_id = $1 and 'owner' = any (roles) and state = 'active' and delete_time is null
order by id
for no key update
