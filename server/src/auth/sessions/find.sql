select
  s.id as "id!", s.user_id as "user_id!", s.peer_address as "peer_address?", s.user_agent as "user_agent!",
  s.create_time as "create_time!", s.expire_time as "expire_time!", s.absolute_expire_time as "absolute_expire_time!",
  s.revoke_time as "revoke_time?", u.roles as "roles!",
  s.revoke_time is not null or s.expire_time <= stead.now() as "over!"
from stead.sessions s
join stead.users u on u.tenant_id = $1 and u.id = s.user_id
where s.tenant_id = $1 and s.id = $2
