-- What lists may be filtered and ordered by: an index for each, the id last, so that a page is read where it lies.

-- The order by price, and the price in a currency. What has no price has its place before all others; the expressions
-- are the service's own, word for word, and no coalesce, which row security would not let an index serve. Costs every
-- insert an entry of about 60 bytes, and a change of price its place in the page (no HOT update).
create index products_price_idx on stead.products (
  tenant_id,
  (case when price_currency is null then '' else price_currency end),
  (case when price_minor is null then -1 else price_minor end),
  id);
-- A category in creation order. Costs what the one before costs, and the length of the category.
create index products_category_idx on stead.products (tenant_id, category, create_time, id);
-- The deleted ones in creation order. Costs deletes alone.
create index products_deleted_idx on stead.products (tenant_id, create_time, id) where delete_time is not null;

-- Users are written seldom, and rarely change in these.
create index users_username_idx on stead.users (tenant_id, username_key, id);
create index users_state_idx on stead.users (tenant_id, state, create_time, id);
-- The list of roles itself serves no index under row security; a user has an entry for each role it holds.
create index users_owners_idx on stead.users (tenant_id, create_time, id) where 'owner' = any (roles);
create index users_admins_idx on stead.users (tenant_id, create_time, id) where 'admin' = any (roles);
create index users_editors_idx on stead.users (tenant_id, create_time, id) where 'editor' = any (roles);
create index users_viewers_idx on stead.users (tenant_id, create_time, id) where 'viewer' = any (roles);
create index users_deleted_idx on stead.users (tenant_id, create_time, id) where delete_time is not null;

create index tenants_plan_idx on stead.tenants (plan, create_time, id);
create index tenants_state_idx on stead.tenants (state, create_time, id);
create index tenants_deleted_idx on stead.tenants (create_time, id) where delete_time is not null;
