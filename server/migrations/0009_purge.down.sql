-- Loses the powers of 0009 and no row.

revoke delete on stead.tenants, stead.request_ids, stead.imports, stead.api_keys, stead.users, stead.products
  from stead_platform;
revoke select (tenant_id, subject, import_id, update_time) on stead.imports from stead_platform;
revoke select (tenant_id, id, delete_time) on stead.users, stead.products from stead_platform;
drop policy purge on stead.tenants;
drop policy purge on stead.request_ids;
drop policy purge_see on stead.request_ids;
drop policy purge on stead.imports;
drop policy purge_see on stead.imports;
drop policy purge on stead.api_keys;
drop policy purge_see on stead.api_keys;
drop policy purge on stead.users;
drop policy purge_see on stead.users;
drop policy purge on stead.products;
drop policy purge_see on stead.products;
drop index stead.products_delete_time_idx;
drop index stead.users_delete_time_idx;
drop function stead.doomed_tenant();
