-- Whoever signs in with an address. There is always one row, so that an unknown address costs the same exchange as a known
-- one and a lost context is told from both.
select
  current_setting('stead.tenant', true) as "context?", found.id as "user_id?", found.state = 'active' as "active?",
  found.password_hash as "password_hash?"
from (select) as always
left join (
  select u.id, u.state, c.password_hash
  from stead.users u
  left join stead.user_credentials c on c.tenant_id = $1 and c.user_id = u.id
  where u.tenant_id = $1 and u.email_key = $2 and u.delete_time is null
) as found on true
