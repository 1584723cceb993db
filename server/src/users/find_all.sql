-- In the order of the ids asked for, each as often as it is.
select
  u.id as "id!", u.email as "email!", u.email_key as "email_key!", u.username as "username?",
  u.display_name as "display_name!", u.roles as "roles!", u.profile as "profile!", u.state as "state!",
  u.last_login_time as "last_login_time?", u.revision as "revision!", u.create_time as "create_time!",
  u.update_time as "update_time!", u.delete_time as "delete_time?"
from unnest($2::uuid[]) with ordinality as asked (id, place)
join stead.users u on u.tenant_id = $1 and u.id = asked.id and u.delete_time is null
order by asked.place
