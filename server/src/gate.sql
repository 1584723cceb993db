-- The start gate: run as the service's own role, it returns one sentence per fault and no row when all is well.
-- It trusts nothing of the schema but names: it reads only the system catalogues, which every role may read.
-- Not here: whether the schema's version fits the code, which only the code can say.
with me as (
  select r.oid, r.rolname, r.rolsuper, r.rolbypassrls, r.rolcreaterole, r.rolcreatedb, r.rolreplication
  from pg_catalog.pg_roles r
  where r.rolname = current_user
), house (schema, owner) as (
  values ('stead', 'stead_owner'), ('stead_journal', 'stead_journal'), ('stead_search', 'stead_search')
), spaces as (
  select n.oid, n.nspname, pg_catalog.pg_get_userbyid(n.nspowner) as owner, h.owner as wanted_owner
  from house h join pg_catalog.pg_namespace n on n.nspname = h.schema
), relations as (
  select c.oid, c.relname, c.relkind, c.relrowsecurity, c.relforcerowsecurity, c.reloptions, c.relacl,
    pg_catalog.pg_get_userbyid(c.relowner) as owner, s.wanted_owner, format('%s.%s', s.nspname, c.relname) as name,
    c.relkind in ('r', 'p') and c.relname <> '_sqlx_migrations' as guarded,
    c.relname ~ '^journal_[0-9]{4}_[0-9]{2}$' as month    -- attached or, once retention took it out, not
  from pg_catalog.pg_class c join spaces s on s.oid = c.relnamespace
  where c.relkind in ('r', 'p', 'v', 'm', 'f', 'S')
), policies as (
  select p.polname, p.polcmd, p.polpermissive, r.name as relation, r.relname,
    array(select coalesce(pg_catalog.pg_get_userbyid(nullif(o.oid, 0)), 'public')::text
      from unnest(p.polroles) as o (oid) order by 1) as roles,
    -- The same text whether or not the schema is in the search path.
    replace(pg_catalog.pg_get_expr(p.polqual, p.polrelid), 'stead.', '') as seen,
    replace(pg_catalog.pg_get_expr(p.polwithcheck, p.polrelid), 'stead.', '') as taken
  from pg_catalog.pg_policy p join relations r on r.oid = p.polrelid
), due (relname, seen) as (
  -- What the platform may destroy of each table, and so see the keys of.
  values
    ('tenants', '((id <> platform_tenant()) AND (delete_time < (now - ''30 days''::interval)))'),
    ('users', '((delete_time < (now - ''30 days''::interval)) OR (tenant_id = doomed))'),
    ('products', '((delete_time < (now - ''30 days''::interval)) OR (tenant_id = doomed))'),
    ('imports', '((update_time < (now - ''30 days''::interval)) OR (tenant_id = doomed))'),
    ('sessions', '(expire_time < (now - ''30 days''::interval))'),
    ('request_ids', '(create_time < (now - ''24:00:00''::interval))'),
    ('journal', '((tenant_id = tenant) AND (create_time < kept_since) AND (create_time < (now - ''30 days''::interval)))'),
    ('api_keys', '(tenant_id = doomed)')
), functions as (
  select f.oid, format('%s(%s)', f.oid::regproc, pg_catalog.pg_get_function_identity_arguments(f.oid)) as name,
    f.prosecdef, f.prosrc, f.proname, n.nspname, s.wanted_owner, pg_catalog.pg_get_userbyid(f.proowner) as owner,
    f.prorettype = 'trigger'::regtype as is_trigger, f.provolatile, pg_catalog.pg_get_function_sqlbody(f.oid) as body,
    coalesce(array_to_string(f.proconfig, ','), '') ~ '\msearch_path=pg_catalog, pg_temp' as pinned
  from pg_catalog.pg_proc f
  join pg_catalog.pg_namespace n on n.oid = f.pronamespace
  left join spaces s on s.oid = n.oid
), months as (
  select 'journal_' || to_char(date_trunc('month', pg_catalog.now() at time zone 'utc') + make_interval(months => m),
      'YYYY_MM') as relname
  from generate_series(0, 1) as m
)

-- Who asks.
select format('connected as %s: connect as stead_app, the only role whose view is one tenant', rolname) as fault
  from me where rolname <> 'stead_app'
union all
select format('role %s is a superuser, whom row security does not bind: connect as stead_app', rolname)
  from me where rolsuper
union all
select format('role %s has BYPASSRLS, so row security does not bind it: take that from it', rolname)
  from me where rolbypassrls and not rolsuper
union all
select format('role %s may create roles, databases or replicas: alter role %s nocreaterole nocreatedb noreplication',
    rolname, rolname)
  from me where (rolcreaterole or rolcreatedb or rolreplication) and not rolsuper
union all
select format('role %s is a member of %s and could act as it: revoke %s from %s', me.rolname, r.rolname, r.rolname, me.rolname)
  from me, pg_catalog.pg_roles r
  where not me.rolsuper and r.oid <> me.oid and pg_catalog.pg_has_role(me.oid, r.oid, 'member')
union all
select format('role %s is a superuser or has BYPASSRLS, so row security does not bind it: take that from it', r.rolname)
  from me, pg_catalog.pg_roles r
  where r.rolname in (select owner from house union values ('stead_platform'), ('stead_backup'))
    and r.oid <> me.oid and (r.rolsuper or r.rolbypassrls)
union all
select format('role %s is a member of %s and could act as it: revoke %s from %s', p.rolname, r.rolname, r.rolname, p.rolname)
  from me, pg_catalog.pg_roles p, pg_catalog.pg_roles r
  where p.rolname in ('stead_platform', 'stead_backup') and p.oid <> me.oid and r.oid <> p.oid
    and not p.rolsuper and pg_catalog.pg_has_role(p.oid, r.oid, 'member')
union all
select format('role %s owns %s: alter its owner to stead_owner', me.rolname, r.name)
  from me join relations r on r.owner = me.rolname
union all
select 'session_replication_role is not origin, so the journal''s triggers would not fire: reset it for this role'
  where current_setting('session_replication_role') <> 'origin'
union all
select format('the database''s encoding is %s, not UTF8: lengths would be counted in something else than characters',
    current_setting('server_encoding'))
  where current_setting('server_encoding') <> 'UTF8'

-- What stands.
union all
select format('schema %s is missing: run deploy/roles.sql', h.schema)
  from house h where not exists (select from spaces s where s.nspname = h.schema)
union all
select format('schema %s belongs to %s: alter its owner to %s', nspname, owner, wanted_owner)
  from spaces where owner <> wanted_owner
union all
select format('role %s may create objects in schema %s: revoke create on schema %s', me.rolname, s.nspname, s.nspname)
  from me, spaces s
  where not me.rolsuper and s.owner <> me.rolname and pg_catalog.has_schema_privilege(me.oid, s.oid, 'create')
union all
select format('%s belongs to %s: alter its owner to %s', r.name, r.owner, r.wanted_owner)
  from relations r, me where r.owner <> r.wanted_owner and r.owner <> me.rolname
union all
select format('%s has row security %s: alter table %s %s row level security', name,
    case when relrowsecurity then 'that does not bind its owner' else 'switched off' end, name,
    case when relrowsecurity then 'force' else 'enable' end)
  from relations where guarded and not (relrowsecurity and relforcerowsecurity)
union all
select format('%s shows its owner''s view of the rows: only views with security_invoker may stand in schema stead', name)
  from relations
  where relkind in ('m', 'f') or relkind = 'v' and not coalesce('security_invoker=true' = any (reloptions), false)
union all
select format('%s may be %s by %s: revoke %s on %s', r.name, p.done, me.rolname, p.privilege, r.name)
  from relations r, me, (values ('truncate', 'emptied'), ('references', 'referenced'), ('trigger', 'given triggers'),
    ('delete', 'deleted from')) as p (privilege, done)
  where r.guarded and not me.rolsuper and r.owner <> me.rolname
    and pg_catalog.has_table_privilege(me.oid, r.oid, p.privilege)
union all
select format('%s may be read or moved on by %s, and its gaps tell how much others write: revoke all on sequence %s from %s',
    r.name, me.rolname, r.name, me.rolname)
  from relations r, me
  where r.relkind = 'S' and not me.rolsuper and r.owner <> me.rolname
    -- What the gaps of the cache's epoch tell is when servers lost Redis.
    and pg_catalog.has_sequence_privilege(me.oid, r.oid,
      case r.relname when 'cache_epoch' then 'update' else 'select, usage, update' end)
union all
select format('%s may be written by %s, so entries could be forged: revoke insert, update on %s', r.name, me.rolname, r.name)
  from relations r, me
  where (r.relname = 'journal' or r.month) and not me.rolsuper and r.owner <> me.rolname
    and (pg_catalog.has_any_column_privilege(me.oid, r.oid, 'insert')
      or pg_catalog.has_any_column_privilege(me.oid, r.oid, 'update'))
union all
select format('%s.%s may be changed by %s, which would move a row to another tenant or name: revoke update (%s) on %s',
    r.name, a.attname, me.rolname, a.attname, r.name)
  from relations r, pg_catalog.pg_attribute a, me
  where r.guarded and a.attrelid = r.oid and a.attname in ('tenant_id', 'id') and not me.rolsuper
    and r.owner <> me.rolname and pg_catalog.has_column_privilege(me.oid, r.oid, a.attnum, 'update')
union all
select format('%s is granted to PUBLIC: revoke all on %s from public', r.name, r.name)
  from relations r where exists (select from pg_catalog.aclexplode(r.relacl) g where g.grantee = 0)

-- Who sees what.
union all
select format('policy %s on %s is for PUBLIC: drop it, a policy names the roles that it serves', polname, relation)
  from policies where 'public' = any (roles)
union all
select format('policy %s on %s is unknown or changed: drop it, or migrate to the schema that this server knows', polname, relation)
  from policies p
  where not 'public' = any (roles) and not coalesce(case p.polname
    when 'tenant' then p.polpermissive and roles <@ array['stead_app', 'stead_owner']
      and p.seen = format('(%s = ( SELECT current_tenant() AS current_tenant))',
        case p.relname when 'tenants' then 'id' else 'tenant_id' end)
      and coalesce(p.taken, p.seen) = p.seen
    when 'backup' then roles = array['stead_backup'] and p.polcmd = 'r'
    when 'search' then roles = array['stead_search'] and p.polcmd = case p.relname
      when 'products' then 'r' when 'product_search' then '*' when 'product_words' then '*' end
    when 'writer' then roles = array['stead_journal'] and p.polcmd = 'a' and p.relname = 'journal'
    when 'counter' then roles = array['stead_journal'] and p.polcmd = '*' and p.relname = 'tenant_usage'
    when 'owner_see' then roles = array['stead_owner'] and p.polcmd = 'r' and p.relname = 'tenants'
    when 'owner_change' then roles = array['stead_owner'] and p.polcmd = 'w' and p.relname = 'tenants'
    else roles = array['stead_platform'] and p.polpermissive and case
      when p.polname in ('platform_see', 'platform_create', 'platform_change') then
        p.polcmd = case p.polname when 'platform_see' then 'r' when 'platform_create' then 'a' else 'w' end
        and coalesce(p.seen, p.taken) = coalesce(p.taken, p.seen)
        and coalesce(p.seen, p.taken) =
          case p.relname when 'tenants' then '(id <> platform_tenant())' else '(tenant_id = platform_tenant())' end
      when p.polname in ('purge_see', 'purge') then
        p.polcmd = case p.polname when 'purge' then 'd' else 'r' end
        and replace(replace(replace(replace(p.seen, '( SELECT now() AS now)', 'now'),
            '( SELECT doomed_tenant() AS doomed_tenant)', 'doomed'),
            '( SELECT current_tenant() AS current_tenant)', 'tenant'),
            '( SELECT audit_kept_since() AS audit_kept_since)', 'kept_since')
          = (select d.seen from due d where d.relname = p.relname)
    end
  end, false)
union all
select format('%s has no policy %s: %s', r.name, w.polname, w.why)
  from relations r, (values
    ('tenant', 'the service would see nothing of it; run the migrations'),
    ('backup', 'a backup would hold none of its rows; create policy backup … for select to stead_backup using (true)')
  ) as w (polname, why)
  where r.guarded and (w.polname = 'backup' or not r.month)
    and not exists (select from policies p where p.relation = r.name and p.polname = w.polname)
union all
select format('%s cannot be read by stead_backup: grant select on %s to stead_backup', r.name, r.name)
  from relations r, pg_catalog.pg_roles b
  where r.guarded and b.rolname = 'stead_backup' and not pg_catalog.has_table_privilege(b.oid, r.oid, 'select')
union all
-- The checks of keys go past row security: what is unique among all tenants tells one what another has.
select format('index %s on %s does not begin with the tenant: drop it, what is unique in one tenant may stand in another',
    i.relname, r.name)
  from relations r
  join pg_catalog.pg_index x on x.indrelid = r.oid and x.indisunique
  join pg_catalog.pg_class i on i.oid = x.indexrelid
  where r.guarded and r.relname <> 'tenants' and not exists (
    select from pg_catalog.pg_attribute a
    where a.attrelid = r.oid and a.attnum = x.indkey[0] and a.attname = 'tenant_id')
union all
select format('foreign key %s on %s does not begin with the tenant: drop it, or it leads from one tenant''s rows to another''s',
    f.conname, r.name)
  from relations r
  join pg_catalog.pg_constraint f on f.conrelid = r.oid and f.contype = 'f'
  where r.guarded and not exists (
    select from pg_catalog.pg_attribute a, pg_catalog.pg_attribute b
    where a.attrelid = f.conrelid and a.attnum = f.conkey[1] and a.attname = 'tenant_id'
      and b.attrelid = f.confrelid and b.attnum = f.confkey[1]
      and b.attname = case (select t.relname from relations t where t.oid = f.confrelid)
        when 'tenants' then 'id' else 'tenant_id' end)
union all
select 'function stead.current_tenant() does not say which tenant the connection is in: run the migrations'
  from spaces s
  where s.nspname = 'stead' and exists (select from relations where guarded) and not exists (
    select from functions f
    where f.nspname = 'stead' and f.proname = 'current_tenant' and not f.prosecdef and f.provolatile = 's'
      and f.body = 'RETURN (NULLIF(current_setting(''stead.tenant''::text, true), ''''::text))::uuid')

-- What runs with another's rights.
union all
select format('function %s belongs to %s: alter its owner to %s', name, owner, wanted_owner)
  from functions where owner <> wanted_owner
union all
select format('function %s runs with the rights of %s from outside its schema: drop it', name, owner)
  from functions
  where prosecdef and owner in (select owner from house union values ('stead_platform'), ('stead_backup'))
    and wanted_owner is null
union all
select format('function %s runs with the rights of %s and is unknown: drop it, or migrate to the schema that this server knows',
    name, owner)
  from functions f
  where prosecdef and wanted_owner is not null and (nspname, proname) not in (
      ('stead', 'find_tenant'), ('stead', 'maintain_journal'), ('stead', 'retire_journal'),
      ('stead_journal', 'journal_access'), ('stead_journal', 'by_hand'),
      ('stead_journal', 'entries_removed'), ('stead_journal', 'month_removed'),
      ('stead_journal', 'usage_begins'), ('stead_journal', 'use_products'), ('stead_journal', 'use_users'),
      ('stead_search', 'find_products'), ('stead_search', 'suggest_products'), ('stead_search', 'forget_words'),
      ('stead_search', 'products'))
    and not (nspname = 'stead_journal' and is_trigger and exists (select from relations r where r.relname = f.proname))
union all
select format('function %s runs with the rights of %s on whatever its caller''s search path names: alter function %s set '
    'search_path = pg_catalog, pg_temp', name, owner, name)
  from functions where prosecdef and wanted_owner is not null and body is null and not pinned
union all
select format('function %s may be executed by PUBLIC: revoke execute on function %s from public', name, name)
  from functions
  where wanted_owner is not null and pg_catalog.has_function_privilege('public', oid, 'execute')

-- What is written down.
union all
select format('trigger %s on %s is disabled: alter table %s enable trigger %s', quote_ident(t.tgname), r.name, r.name,
    quote_ident(t.tgname))
  from pg_catalog.pg_trigger t join relations r on r.oid = t.tgrelid where t.tgenabled not in ('O', 'A')
union all
select format('%s has no journal trigger for every insert, update and delete: run the migrations', r.name)
  from relations r
  where r.guarded and not r.month and r.relname not in (
      'journal', 'imports', 'request_ids', 'product_search', 'product_words', 'tenant_usage')
    and not exists (
      select from pg_catalog.pg_trigger t join functions f on f.oid = t.tgfoid
      where t.tgrelid = r.oid and t.tgname = 'journal' and f.nspname = 'stead_journal' and f.proname = r.relname
        and f.prosecdef and t.tgtype = 29 and t.tgqual is null and t.tgattr = '')  -- 29: after, row, all three events
union all
select format('function %s may be executed by %s, which could shorten the journal: revoke execute on function %s from %s',
    f.name, me.rolname, f.name, me.rolname)
  from functions f, me
  where (f.nspname, f.proname) in (('stead', 'retire_journal'), ('stead_journal', 'month_removed'))
    and not me.rolsuper and pg_catalog.has_function_privilege(me.oid, f.oid, 'execute')
union all
select format('%s does not record what is removed from it: run the migrations', r.name)
  from relations r
  where r.relname = 'journal' and not exists (
      select from pg_catalog.pg_trigger t join functions f on f.oid = t.tgfoid
      where t.tgrelid = r.oid and f.nspname = 'stead_journal' and f.proname = 'entries_removed'
        and f.prosecdef and t.tgtype = 8 and t.tgqual is null)  -- 8: after, statement, delete
union all
select format('%s has no trigger %s, so %s: run the migrations', r.name, w.tgname, w.unseen)
  from relations r, (values
    ('journal_by_hand', 17, 'what the service never changes could be changed unseen'),  -- 17: after, row, update
    ('journal_emptied', 34, 'it could be emptied unseen')                               -- 34: before, statement, truncate
  ) as w (tgname, tgtype, unseen)
  where (exists (select from pg_catalog.pg_trigger t where t.tgrelid = r.oid and t.tgname = 'journal')
      or r.relname = 'journal' and w.tgname = 'journal_emptied')
    and not exists (
      select from pg_catalog.pg_trigger t join functions f on f.oid = t.tgfoid
      where t.tgrelid = r.oid and t.tgname = w.tgname and t.tgtype = w.tgtype and t.tgqual is null
        and f.nspname = 'stead_journal' and format('journal_%s', f.proname) = w.tgname)
union all
select format('%s has no trigger %s, so what is written would not be found: run the migrations', r.name, w.tgname)
  from relations r, (values ('search_insert', 13), ('search_update', 17)) as w (tgname, tgtype)  -- after, row
  where r.relname = 'products' and not exists (
      select from pg_catalog.pg_trigger t join functions f on f.oid = t.tgfoid
      where t.tgrelid = r.oid and t.tgname = w.tgname and t.tgtype = w.tgtype
        and f.nspname = 'stead_search' and f.proname = 'products' and f.prosecdef)
union all
select format('%s has no trigger %s, so what is stored would not be counted: run the migrations', r.name, w.tgname)
  from relations r
  join (values
    ('tenants', 'usage_begins', 5, 'usage_begins'),  -- after, row
    ('products', 'usage_insert', 4, 'use_products'), ('products', 'usage_update', 16, 'use_products'),  -- after, statement
    ('products', 'usage_delete', 8, 'use_products'), ('users', 'usage_insert', 4, 'use_users'),
    ('users', 'usage_update', 16, 'use_users'), ('users', 'usage_delete', 8, 'use_users')
  ) as w (relname, tgname, tgtype, proname) on w.relname = r.relname
  where not exists (
      select from pg_catalog.pg_trigger t join functions f on f.oid = t.tgfoid
      where t.tgrelid = r.oid and t.tgname = w.tgname and t.tgtype = w.tgtype and t.tgqual is null
        and f.nspname = 'stead_journal' and f.proname = w.proname and f.prosecdef)
union all
select format('%s.%s is unknown to the journal: name it in function stead_journal.%s()', r.name, a.attname, r.relname)
  from relations r
  join functions f on f.nspname = 'stead_journal' and f.proname = r.relname
  join pg_catalog.pg_attribute a on a.attrelid = r.oid and a.attnum > 0 and not a.attisdropped
  where r.guarded and a.attname not in ('tenant_id', 'id', 'user_id', 'create_time', 'update_time')
    and f.prosrc !~ ('\mnew\.' || a.attname || '\M')
union all
select format('the journal has no partition %s, and its writes would fail: run stead.maintain_journal() as stead_platform',
    m.relname)
  from months m
  where exists (select from relations where relname = 'journal')
    and not exists (
      select from relations r
      join pg_catalog.pg_inherits i on i.inhrelid = r.oid
      join relations j on j.oid = i.inhparent
      where r.relname = m.relname and j.relname = 'journal' and not i.inhdetachpending)
order by 1
