-- Loses indexes and no row.

drop index stead.tenants_deleted_idx;
drop index stead.tenants_state_idx;
drop index stead.tenants_plan_idx;
drop index stead.users_deleted_idx;
drop index stead.users_viewers_idx;
drop index stead.users_editors_idx;
drop index stead.users_admins_idx;
drop index stead.users_owners_idx;
drop index stead.users_state_idx;
drop index stead.users_username_idx;
drop index stead.products_deleted_idx;
drop index stead.products_category_idx;
drop index stead.products_price_idx;
