-- What may be destroyed, by whom and when: the platform alone, and only what these policies call dead. A job
-- cannot go past them, whatever its statement says.

-- The context's tenant, if it was deleted more than 30 days ago.
-- (Checking a body that reads a table under row security takes row security.)
set local row_security = on;
create function stead.doomed_tenant() returns uuid
  language sql stable parallel safe
begin atomic
  select t.id
  from stead.tenants t
  where t.id = stead.current_tenant() and t.delete_time < stead.now() - interval '30 days';
end;
set local row_security = off;
grant execute on function stead.doomed_tenant() to stead_platform;

-- Purge goes by age across tenants; these hold marked rows alone, so ordinary writes do not touch them.
create index users_delete_time_idx on stead.users (delete_time) where delete_time is not null;
create index products_delete_time_idx on stead.products (delete_time) where delete_time is not null;

-- Two policies each, since a delete must also see; what is seen are keys and times, not contents.
create policy purge_see on stead.products for select to stead_platform using (
  delete_time < (select stead.now()) - interval '30 days' or tenant_id = (select stead.doomed_tenant()));
create policy purge on stead.products for delete to stead_platform using (
  delete_time < (select stead.now()) - interval '30 days' or tenant_id = (select stead.doomed_tenant()));
grant select (tenant_id, id, delete_time), delete on stead.products to stead_platform;

create policy purge_see on stead.users for select to stead_platform using (
  delete_time < (select stead.now()) - interval '30 days' or tenant_id = (select stead.doomed_tenant()));
create policy purge on stead.users for delete to stead_platform using (
  delete_time < (select stead.now()) - interval '30 days' or tenant_id = (select stead.doomed_tenant()));
grant select (tenant_id, id, delete_time), delete on stead.users to stead_platform;

-- Credentials go with their user, by its foreign key.

create policy purge_see on stead.api_keys for select to stead_platform
  using (tenant_id = (select stead.doomed_tenant()));
create policy purge on stead.api_keys for delete to stead_platform
  using (tenant_id = (select stead.doomed_tenant()));
grant delete on stead.api_keys to stead_platform;

create policy purge_see on stead.imports for select to stead_platform using (
  update_time < (select stead.now()) - interval '30 days' or tenant_id = (select stead.doomed_tenant()));
create policy purge on stead.imports for delete to stead_platform using (
  update_time < (select stead.now()) - interval '30 days' or tenant_id = (select stead.doomed_tenant()));
grant select (tenant_id, subject, import_id, update_time), delete on stead.imports to stead_platform;

create policy purge_see on stead.request_ids for select to stead_platform
  using (create_time < (select stead.now()) - interval '24 hours');
create policy purge on stead.request_ids for delete to stead_platform
  using (create_time < (select stead.now()) - interval '24 hours');
grant delete on stead.request_ids to stead_platform;

-- Last the tenant itself; foreign keys hold it while anything of it is left.
create policy purge on stead.tenants for delete to stead_platform
  using (id <> stead.platform_tenant() and delete_time < (select stead.now()) - interval '30 days');
grant delete on stead.tenants to stead_platform;
