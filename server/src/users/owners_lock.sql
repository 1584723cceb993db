-- After a wait for somebody else's lock a row is looked at again: whoever is no owner by then is not returned.
-- The one who is to be written is locked with them, owner or not: two calls then lock in one order whomever they write.
select id as "id!", 'owner' = any (roles) and state = 'active' and delete_time is null as "owns!"
from stead.users
where tenant_id = $1 and (id = $2 or 'owner' = any (roles) and state = 'active' and delete_time is null)
order by id
for no key update
