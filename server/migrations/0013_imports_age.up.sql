-- Imports that are long over are found by their age and not by reading all of them. By the time of creation, which never
-- changes: on the last change, every chunk of an import would have to move its entry.
create index imports_create_time_idx on stead.imports (create_time);
grant select (create_time) on stead.imports to stead_platform;
