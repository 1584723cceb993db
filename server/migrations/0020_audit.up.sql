-- What the audit log is asked for: an actor, a request, a collection, and the actions that are rare.

-- Each ordered as listings read it. Most entries tell of a creation or an update: of those alone an index would find too many.
create index journal_actor_idx on only stead.journal (tenant_id, actor, create_time, id);
create index journal_request_idx on only stead.journal (tenant_id, request_id, create_time, id) where request_id is not null;
create index journal_type_idx on only stead.journal (tenant_id, resource_type, create_time, id);
create index journal_action_idx on only stead.journal (tenant_id, action, create_time, id) where action not in ('create', 'update');
-- Built here where that takes no time. A month that has grown large is left to its operator, for building its indexes here would
-- hold up every write; until then it is read by time, only more slowly.
do $$
declare
  month regclass;
  name text;
  wanted record;
begin
  for month, name in
    select c.oid::regclass, c.relname
    from pg_inherits i join pg_class c on c.oid = i.inhrelid
    where i.inhparent = 'stead.journal'::regclass order by c.relname
  loop
    for wanted in
      select parent, name || replace(parent, 'journal', '') as index, columns
      from (values
        ('journal_actor_idx', '(tenant_id, actor, create_time, id)'),
        ('journal_request_idx', '(tenant_id, request_id, create_time, id) where request_id is not null'),
        ('journal_type_idx', '(tenant_id, resource_type, create_time, id)'),
        ('journal_action_idx', '(tenant_id, action, create_time, id) where action not in (''create'', ''update'')')
      ) as v (parent, columns)
    loop
      if pg_relation_size(month) <= 64 * 1024 * 1024 then
        execute format('create index %I on %s %s', wanted.index, month, wanted.columns);
        execute format('alter index stead.%I attach partition stead.%I', wanted.parent, wanted.index);
      else
        raise warning '% is large: run, outside a transaction, as stead_owner: create index concurrently % on % %; '
          'alter index stead.% attach partition stead.%;',
          month, wanted.index, month, wanted.columns, wanted.parent, wanted.index;
      end if;
    end loop;
  end loop;
end
$$;
