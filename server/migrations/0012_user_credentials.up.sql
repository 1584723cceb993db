-- A password can be taken away again. The service may delete no row, so its credentials stay without a hash.

alter table stead.user_credentials alter column password_hash drop not null;

set local role stead_journal;

-- That a password was set, changed or taken away, never what it or its hash is. Filed under its user.
create or replace function stead_journal.user_credentials() returns trigger
  language plpgsql security definer set search_path = pg_catalog, pg_temp
as $$
declare
  before text := case when tg_op <> 'INSERT' then old.password_hash end;
  after text := case when tg_op <> 'DELETE' then new.password_hash end;
begin
  if tg_relid <> 'stead.user_credentials'::regclass then
    perform stead_journal.refuse(tg_relid);
  end if;
  if after is distinct from before then
    perform stead_journal.write(coalesce(new.tenant_id, old.tenant_id), 'users', coalesce(new.user_id, old.user_id),
      null, 'update',
      jsonb_build_object('password', case when before is not null then 'set' end),
      jsonb_build_object('password',
        case when after is null then null when before is null then 'set' else 'changed' end), null);
  end if;
  return null;
end
$$;

set local role stead_owner;
