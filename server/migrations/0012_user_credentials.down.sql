-- Loses rows that say no more than their absence does.

set local row_security = on;
do $$
declare
  tenant uuid;
begin
  for tenant in select id from stead.tenants loop
    perform set_config('stead.tenant', tenant::text, true);
    delete from stead.user_credentials where tenant_id = tenant and password_hash is null;
  end loop;
end
$$;
set local row_security = off;

alter table stead.user_credentials alter column password_hash set not null;

set local role stead_journal;

create or replace function stead_journal.user_credentials() returns trigger
  language plpgsql security definer set search_path = pg_catalog, pg_temp
as $$
begin
  if tg_relid <> 'stead.user_credentials'::regclass then
    perform stead_journal.refuse(tg_relid);
  end if;
  if tg_op = 'INSERT' then
    perform stead_journal.write(new.tenant_id, 'users', new.user_id, null, 'update',
      '{"password": null}', '{"password": "set"}', null);
  elsif tg_op = 'DELETE' then
    perform stead_journal.write(old.tenant_id, 'users', old.user_id, null, 'update',
      '{"password": "set"}', '{"password": null}', null);
  elsif new.password_hash <> old.password_hash then
    perform stead_journal.write(new.tenant_id, 'users', new.user_id, null, 'update',
      '{"password": "set"}', '{"password": "changed"}', null);
  end if;
  return null;
end
$$;

set local role stead_owner;
