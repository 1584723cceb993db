-- Loses an index and no row.

revoke select (create_time) on stead.imports from stead_platform;
drop index stead.imports_create_time_idx;
