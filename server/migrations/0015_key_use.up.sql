-- When a key was last used, to the ten minutes: what nobody uses any more can be found and revoked.

alter table stead.api_keys add column last_use_time timestamptz;
grant update (last_use_time) on stead.api_keys to stead_app;

set local role stead_journal;

-- As before; a use is no change of the key.
create or replace function stead_journal.api_keys() returns trigger
  language plpgsql security definer set search_path = pg_catalog, pg_temp
as $$
declare
  whole stead.api_keys;
  image jsonb;
  o jsonb := '{}';
  n jsonb := '{}';
begin
  if tg_relid <> 'stead.api_keys'::regclass then
    perform stead_journal.refuse(tg_relid);
  end if;

  -- new.creator is the actor of the entry of creation; new.last_use_time tells of calls, not of the key.
  if tg_op = 'UPDATE' then
    if new.subject <> old.subject then
      o := o || jsonb_build_object('subject', old.subject); n := n || jsonb_build_object('subject', new.subject);
    end if;
    if new.display_name <> old.display_name then
      o := o || jsonb_build_object('display_name', old.display_name);
      n := n || jsonb_build_object('display_name', new.display_name);
    end if;
    if new.permissions <> old.permissions then
      o := o || jsonb_build_object('permissions', old.permissions);
      n := n || jsonb_build_object('permissions', new.permissions);
    end if;
    if new.secret_hash <> old.secret_hash then
      o := o || jsonb_build_object('secret', 'set'); n := n || jsonb_build_object('secret', 'changed');
    end if;
    if new.expire_time is distinct from old.expire_time then
      o := o || jsonb_build_object('expire_time', stead_journal.utc(old.expire_time));
      n := n || jsonb_build_object('expire_time', stead_journal.utc(new.expire_time));
    end if;
    if new.revoke_time is distinct from old.revoke_time then
      o := o || jsonb_build_object('revoke_time', stead_journal.utc(old.revoke_time));
      n := n || jsonb_build_object('revoke_time', stead_journal.utc(new.revoke_time));
    end if;
    if n <> '{}' or new.revision <> old.revision then
      perform stead_journal.write(new.tenant_id, 'apiKeys', new.id, new.revision, 'update', o, n, null);
    end if;
    return null;
  end if;

  if tg_op = 'DELETE' then
    whole := old;
  else
    whole := new;
  end if;
  image := jsonb_build_object(
    'subject', whole.subject, 'display_name', whole.display_name, 'permissions', whole.permissions,
    'expire_time', stead_journal.utc(whole.expire_time), 'revoke_time', stead_journal.utc(whole.revoke_time));
  if tg_op = 'INSERT' then
    perform stead_journal.write(new.tenant_id, 'apiKeys', new.id, new.revision, 'create', null, image, null);
  else
    perform stead_journal.write(old.tenant_id, 'apiKeys', old.id, old.revision, 'purge', image, null, null);
  end if;
  return null;
end
$$;

set local role stead_owner;
